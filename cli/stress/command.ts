import { tmpdir } from 'node:os'
import { type Command, Option } from 'commander'
import { killsOrRate, milliseconds, rate, wholeNumber } from '../base/arguments.ts'
import { failed } from '../base/failed.ts'
import { abortWhenInterrupted, interrupted } from '../base/interruption.ts'
import { print, writeOut } from '../base/output.ts'
import { DEFAULTS, STORES, type StressOptions } from './options.ts'
import { reported, reportPathFor } from './page/option.ts'
import { PROFILES, type ProfileName } from './profiles.ts'
import { anySeed, MAX_SEED } from './seed.ts'
import { missingPackage, missingText } from './stores/packages.ts'

/** What can be given on the command line. */
export interface StressFlags
  extends Omit<StressOptions, 'thinkMs' | 'sliceMs' | 'stallMs' | 'kill' | 'seconds' | 'chaos'> {
  readonly profile?: ProfileName
  readonly seconds?: number
  readonly kill: number | { readonly perSecond: number }
  readonly stop: number
  readonly compact: number
  readonly dump: number
  readonly vanillaOpen: number
  readonly slow: number
  readonly block: number
  readonly clockJump: boolean
  readonly think: number
  readonly slice?: number
  readonly stall: number
  readonly json?: true
  readonly report?: string
}

/** How many processes work on a server, unless it is said. */
const PROCS_ON_SERVER = 10

export function addStressCommand(root: Command): void {
  root
    .command('stress')
    .description('seeded work by many processes on one file, and the verdict on what became of it')
    .addOption(new Option('--store <name>', 'the store').choices(STORES).default(DEFAULTS.store))
    .addOption(
      new Option(
        '--profile <name>',
        'all kinds of trouble, for 20 s or for an hour; options override it',
      ).choices(Object.keys(PROFILES)),
    )
    .option(
      '--url <url>',
      'on a server (PostgreSQL) instead of a file: that of a database, without a name (NeDB)',
    )
    .option('--procs <n>', 'processes; on a server 10', wholeNumber(1, 1000), DEFAULTS.procs)
    .option('--ops <n>', 'operations of each process', wholeNumber(1), DEFAULTS.ops)
    .option(
      '--seconds <n>',
      'work for this long, instead of a number of operations',
      wholeNumber(1, 1_000_000),
    )
    .option(
      '--seed <n>',
      'repeats the same plan of operations (default: random, and printed)',
      wholeNumber(0, MAX_SEED),
    )
    .option('--unlocked', 'the control: the vanilla library without a lock', false)
    .option(
      '--kill <n or n/s>',
      'kill -9 this many processes while they work, never all; n/s: so many a second, and each is started again',
      killsOrRate,
      0,
    )
    .option('--stop <n/s>', 'SIGSTOP so many a second, each for up to half a second', rate, 0)
    .option('--compact <n/s>', 'compact the file so often (NeDB)', rate, 0)
    .option('--dump <n/s>', 'dump the store so often, and check each dump', rate, 0)
    .option(
      '--vanilla-open <n/s>',
      'copy the file under the lock so often, and open it with the vanilla library',
      rate,
      0,
    )
    .option('--slow <n>', 'so many processes take their time inside transactions', wholeNumber(0), 0)
    .option('--block <n>', 'so many processes block their event loop now and then', wholeNumber(0), 0)
    .option('--clock-jump', 'the wall clock of every other process jumps by days', false)
    .option(
      '--think <ms>',
      'longest random pause between operations; 0: none',
      milliseconds,
      DEFAULTS.thinkMs,
    )
    .option('--slice <ms>', "the store's sliceMs (default: the store's own)", milliseconds)
    .addOption(
      new Option('--durability <kind>', "the store's durability")
        .choices(['process', 'disk'])
        .default(DEFAULTS.durability),
    )
    .option('--dir <folder>', 'where the temporary folder is made', tmpdir())
    .option(
      '--stall <ms>',
      'a process without progress for this long has hung',
      milliseconds,
      DEFAULTS.stallMs,
    )
    .option('--keep', 'leave data and ledgers where they are, and say where', false)
    .option('--json', 'the verdict as one JSON object')
    .option(
      '--report <file>',
      'one HTML page with plots, beside a short control without a lock, which is run after it',
    )
    .addHelpText('after', EXIT_CODES)
    .action(runStress)
}

const EXIT_CODES = `
With --url it makes a store of its own in the database, and removes it (not with
--keep). What is about a file is left out: the control without a lock, compactions, copies
of the file. The server itself is left alone.

Exit codes: 0 clean, 1 losses or errors found (with --unlocked they are expected), 2 wrong usage,
3 not enough contention to prove anything (not with --unlocked or one process), 130 Ctrl-C (the
verdict is then on what was done so far), 125 it failed itself: the store is not installed,
no such folder, or clean, but the report could not be written

Enough contention is 0.25 hand-overs between processes per operation; with --think 0 and time slices it is
min(20, ops / 4) turns for every process that was not killed.`

async function runStress(given: StressFlags, command: Command): Promise<void> {
  const options = { ...optionsOf(given, command), url: await ownUrl(given, command) }
  const missing = missingPackage(options.store)
  if (missing !== undefined) return failed(new Error(missingText(options.store, missing)))
  const path = given.report === undefined ? undefined : await reportPathFor(given.report, command)
  if (options.url !== undefined && path !== undefined)
    print('pslock: there is no control without a lock on a server, where only pslock keeps a store\n')
  const [{ stress }, { report }, { progressDisplay }] = await Promise.all([
    import('./stress.ts'),
    import('./report.ts'),
    import('./progress.ts'),
  ])
  abortWhenInterrupted()
  const display = progressDisplay(`${options.store}${options.unlocked ? ' unlocked' : ''}`)
  const run = await stress(options, display.show, interrupted).finally(display.stop)
  writeOut(`${given.json ? JSON.stringify(run.verdict, undefined, 2) : report(run)}\n`)
  // The signal that interrupted it has set the code already.
  if (!run.verdict.interrupted) process.exitCode = run.verdict.exitCode
  if (path !== undefined) {
    const { withControl } = await import('./control.ts')
    const compared = await withControl(run, options, interrupted)
    await reported(path, [compared])
  }
}

/** Of a store of its own in the database. */
async function ownUrl({ url }: StressFlags, command: Command): Promise<string | undefined> {
  if (url === undefined) return undefined
  try {
    return (await import('./server.ts')).ownStore(url)
  } catch (error) {
    return command.error(`error: ${(error as Error).message}`)
  }
}

/** The profile's options, overridden by those that were given. */
function optionsOf(given: StressFlags, command: Command): StressOptions {
  const wasGiven = (name: string) => command.getOptionValueSource(name) === 'cli'
  const profile: Partial<StressFlags> = given.profile ? PROFILES[given.profile] : {}
  const chosen = Object.fromEntries(Object.entries(profile).filter(([name]) => !wasGiven(name)))
  if (wasGiven('ops')) {
    if (wasGiven('seconds')) command.error('error: give either --ops or --seconds, not both')
    delete chosen.seconds
  }
  const isOnServer = given.url !== undefined
  // Each has two connections, and a server 100 of them.
  const procs = isOnServer && !given.profile && !wasGiven('procs') ? PROCS_ON_SERVER : given.procs
  const flags = { ...given, procs, ...chosen } as StressFlags
  refuse(command, flags, wasGiven)
  const { unlocked, store } = flags
  return {
    store,
    procs: flags.procs,
    ops: flags.seconds === undefined ? flags.ops : Number.POSITIVE_INFINITY,
    seconds: flags.seconds,
    seed: given.seed ?? anySeed(),
    unlocked,
    kill: typeof flags.kill === 'number' ? flags.kill : 0,
    chaos: {
      killsPerSecond: typeof flags.kill === 'number' ? 0 : flags.kill.perSecond,
      stopsPerSecond: flags.stop,
      // What a profile asks for, and this store or the control does not have, is left out.
      compactionsPerSecond: unlocked || isOnServer || store === 'lowdb' ? 0 : flags.compact,
      dumpsPerSecond: unlocked ? 0 : flags.dump,
      copiesPerSecond: unlocked || isOnServer ? 0 : flags.vanillaOpen,
      slow: unlocked ? 0 : Math.min(flags.slow, flags.procs),
      block: flags.block,
      clockJump: flags.clockJump,
    },
    thinkMs: flags.think,
    sliceMs: flags.slice,
    durability: flags.durability,
    dir: flags.dir,
    keep: flags.keep,
    stallMs: flags.stall,
  }
}

function refuse(command: Command, flags: StressFlags, wasGiven: (name: string) => boolean): void {
  if (typeof flags.kill === 'number' && flags.kill >= flags.procs) {
    command.error(
      `error: --kill must leave one of the ${flags.procs} processes alive; a rate (5/s) starts them again`,
    )
  }
  if (flags.store === 'lowdb' && wasGiven('compact')) {
    command.error('error: the file of lowdb has nothing that --compact could compact')
  }
  for (const [name, flag] of [
    ['unlocked', '--unlocked'],
    ['compact', '--compact'],
    ['vanillaOpen', '--vanilla-open'],
    ['slice', '--slice'],
  ] as const) {
    if (flags.url !== undefined && wasGiven(name)) {
      command.error(`error: ${flag} is about a file: it cannot be had together with --url`)
    }
  }
  if (flags.url !== undefined && flags.store === 'lowdb') {
    command.error('error: on a server there are nedb and nedb-promises to put under stress')
  }
  for (const [name, flag] of [
    ['compact', '--compact'],
    ['dump', '--dump'],
    ['vanillaOpen', '--vanilla-open'],
    ['slow', '--slow'],
  ] as const) {
    if (flags.unlocked && wasGiven(name)) {
      command.error(`error: ${flag} needs the lock: it cannot be had together with --unlocked`)
    }
  }
}
