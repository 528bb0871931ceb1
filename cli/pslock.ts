#!/usr/bin/env node
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { Command, CommanderError, Option } from 'commander'
import { milliseconds, seconds, wholeNumber } from './arguments.ts'
import { EXIT } from './exit-codes.ts'
import { failed } from './failed.ts'
import { addFileCommands } from './files/commands.ts'
import { addRunCommand } from './run.ts'
import { watchStatus } from './status/watch.ts'
import { status, statusText } from './status.ts'
import { DEFAULTS, STORES, type StressOptions } from './stress/options.ts'

interface StressFlags extends Omit<StressOptions, 'thinkMs' | 'sliceMs' | 'stallMs'> {
  readonly think: number
  readonly slice?: number
  readonly stall: number
  readonly json?: true
}

const interruption = new AbortController()
const MAX_SEED = 2 ** 32 - 1
const WATCH_EVERY_MS = 1000

function program(): Command {
  const root = new Command('pslock')
    .description('A lock between processes on any file, and process-safe embedded databases.')
    .version(packageVersion())
    .exitOverride()
    .showHelpAfterError('(pslock --help, or pslock <command> --help, says what there is)')

  addRunCommand(root)

  root
    .command('status')
    .description('who holds the lock of a file, and who waits for it')
    .argument('<file>', 'the data file (or its lock file, ending in .lock)')
    .option(
      '--watch [seconds]',
      'again and again until Ctrl-C, every second unless given',
      seconds(0.1, 86_400, 'Write --watch behind the file, or --watch=2.'),
    )
    .option('--json', 'as one JSON object; with --watch one a line')
    .addHelpText('after', STATUS_NOTES)
    .action(runStatus)

  root
    .command('stress')
    .description('seeded work by many processes on one file, and the verdict on what became of it')
    .addOption(new Option('--store <name>', 'the store').choices(STORES).default(DEFAULTS.store))
    .option('--procs <n>', 'processes', wholeNumber(1, 1000), DEFAULTS.procs)
    .option('--ops <n>', 'operations of each process', wholeNumber(1), DEFAULTS.ops)
    .option(
      '--seed <n>',
      'repeats the same plan of operations (default: random, and printed)',
      wholeNumber(0, MAX_SEED),
    )
    .option('--unlocked', 'the control: the vanilla library without a lock', false)
    .option('--kill <n>', 'kill -9 this many processes while they work, never all', wholeNumber(0), 0)
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
    .addHelpText('after', EXIT_CODES)
    .action(runStress)

  root
    .command('demo')
    .description('many processes on NeDB and on lowdb, without a lock and with it; takes less than a minute')
    .option('--procs <n>', 'processes of each run', wholeNumber(1, 1000), DEFAULTS.procs)
    .option(
      '--seed <n>',
      'repeats the same plan of operations (default: random, and printed)',
      wholeNumber(0, MAX_SEED),
    )
    .option('--json', 'the four verdicts as one JSON object')
    .addHelpText(
      'after',
      '\nExit codes: 0 both locked runs are clean, 1 otherwise, 2 wrong usage, 130 Ctrl-C',
    )
    .action(runDemo)

  addFileCommands(root)

  return root
}

const EXIT_CODES = `
Exit codes: 0 clean, 1 losses or errors found (with --unlocked they are expected), 2 wrong usage,
3 not enough contention to prove anything (not with --unlocked or one process), 130 Ctrl-C

Enough contention is 0.25 hand-overs between processes per operation; with --think 0 and time slices it is
min(20, ops / 4) turns for every process that was not killed.`

const STATUS_NOTES = `
SINCE is how long it has held the lock, or waited; "-" is unknown. Of those who
wait, and on macOS of those who hold, only users of pslock are seen.

Exit codes: 0 free, 1 held, 2 wrong usage, 125 it cannot be looked at; with --watch
0 at Ctrl-C`

async function runStress(flags: StressFlags, command: Command): Promise<void> {
  if (flags.kill >= flags.procs)
    command.error(`error: --kill must leave one of the ${flags.procs} processes alive`)
  const { think: thinkMs, slice: sliceMs, stall: stallMs, json, ...rest } = flags
  const options: StressOptions = { ...rest, thinkMs, sliceMs, stallMs, seed: flags.seed ?? anySeed() }
  const [{ stress }, { report }, { progressDisplay }] = await Promise.all([
    import('./stress/stress.ts'),
    import('./stress/report.ts'),
    import('./progress.ts'),
  ])
  abortWhenInterrupted()
  const display = progressDisplay(`${options.store}${options.unlocked ? ' unlocked' : ''}`)
  const verdict = await stress(options, display.show, interruption.signal).finally(display.stop)
  print(json ? JSON.stringify(verdict, undefined, 2) : report(verdict))
  process.exitCode = verdict.exitCode
}

async function runDemo(flags: { procs: number; seed?: number; json?: true }): Promise<void> {
  const { demo, demoText } = await import('./demo.ts')
  abortWhenInterrupted()
  const result = await demo(flags.seed ?? anySeed(), flags.procs, interruption.signal)
  print(flags.json ? JSON.stringify(result, undefined, 2) : demoText(result))
  process.exitCode = result.clean ? EXIT.clean : EXIT.damaged
}

async function runStatus(file: string, flags: { json?: true; watch?: number | true }): Promise<void> {
  try {
    if (flags.watch !== undefined) {
      await watchStatus(file, flags.watch === true ? WATCH_EVERY_MS : flags.watch, flags.json ?? false)
      return
    }
    const found = await status(file)
    print(flags.json ? JSON.stringify(found, undefined, 2) : statusText(found, process.stdout.columns))
    process.exitCode = found.held ? EXIT.held : EXIT.free
  } catch (error) {
    failed(error)
  }
}

function anySeed(): number {
  return randomInt(MAX_SEED)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function packageVersion(): string {
  const above = import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json'
  return (JSON.parse(readFileSync(new URL(above, import.meta.url), 'utf8')) as { version: string }).version
}

/** For what has processes to end and folders to remove; the other commands have ways of their own. */
function abortWhenInterrupted(): void {
  for (const [name, code] of [
    ['SIGINT', EXIT.interrupted],
    ['SIGTERM', 143],
  ] as const) {
    process.on(name, () => {
      process.exitCode = code
      interruption.abort()
    })
  }
}

try {
  await program().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT.usage
  else if (!interruption.signal.aborted) {
    process.stderr.write(`pslock: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = EXIT.damaged
  }
}
