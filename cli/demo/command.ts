import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Command, Option } from 'commander'
import { wholeNumber } from '../base/arguments.ts'
import { EXIT } from '../base/exit-codes.ts'
import { failed } from '../base/failed.ts'
import { abortWhenInterrupted, interrupted } from '../base/interruption.ts'
import { print, writeOut } from '../base/output.ts'
import { duration } from '../base/table.ts'
import { DEFAULTS } from '../stress/options.ts'
import { reported, reportPathFor } from '../stress/page/option.ts'
import type { Compared } from '../stress/page/verdict-words.ts'
import { anySeed, MAX_SEED } from '../stress/seed.ts'
import type { StressRun } from '../stress/stress.ts'
import type { Verdict } from '../stress/verdict.ts'
import { BOUNDS, DEFAULT_KNOBS, type NumberKnob, WAYS, type Way } from './knobs.ts'

export function addDemoCommand(root: Command): void {
  const knob = (flags: string, name: NumberKnob, text: string) => {
    const [least, most] = BOUNDS[name]
    return new Option(flags, `with --insert: ${text}`)
      .argParser(wholeNumber(least, most))
      .default(DEFAULT_KNOBS[name])
  }
  root
    .command('demo')
    .description('many processes on NeDB and on lowdb, without a lock and with it; takes about a minute')
    .option('--procs <n>', 'processes of each run', wholeNumber(1, 1000), DEFAULTS.procs)
    .option(
      '--seed <n>',
      'repeats the same plan of operations (default: random, and printed)',
      wholeNumber(0, MAX_SEED),
    )
    .option('--json', 'the verdicts as one JSON object')
    .option('--report <file>', 'one HTML page with plots')
    .option('--web', 'instead a page in the browser: processes insert into one file, and you watch')
    .option(
      '--port <n>',
      'with --web: the port, on this machine alone (default: a free one)',
      wholeNumber(0, 65_535),
    )
    .option('--insert <file>', 'instead inserts records into the file of the page, from another terminal')
    .addOption(new Option('--way <way>', 'with --insert: how').choices(WAYS).default(DEFAULT_KNOBS.way))
    .addOption(knob('--num <n>', 'num', 'how many records'))
    .addOption(knob('--delay <ms>', 'delayMs', 'a pause between two records'))
    .addOption(knob('--sleep <ms>', 'sleepMs', 'how long the lock is kept with each record'))
    .addOption(knob('--timeout <ms>', 'timeoutMs', 'how long it waits for the lock'))
    .addHelpText('after', DEMO_NOTES)
    .action(runDemo)
}

const DEMO_NOTES = `
--web prints an address to open in a browser. The page there says how to call --insert.

Exit codes: 0 the locked runs are clean, 1 they are not, 2 wrong usage, 3 too little contention to say so,
125 no store is installed, it failed itself, or the report could not be written, 130 Ctrl-C.
--web: 0 at Ctrl-C. --insert: 0 all records are in, 1 some are not.`

interface DemoFlags {
  readonly procs: number
  readonly seed?: number
  readonly json?: true
  readonly report?: string
  readonly web?: true
  readonly port?: number
  readonly insert?: string
  readonly way: Way
  readonly num: number
  readonly delay: number
  readonly sleep: number
  readonly timeout: number
}

/** What each option is an option of. */
const OPTIONS_OF = {
  web: ['web', 'port'],
  insert: ['insert', 'way', 'num', 'delay', 'sleep', 'timeout'],
  table: ['procs', 'seed', 'json', 'report'],
} as const

async function runDemo(flags: DemoFlags, command: Command): Promise<void> {
  const what = flags.web ? 'web' : flags.insert === undefined ? 'table' : 'insert'
  for (const name of Object.values(OPTIONS_OF).flat()) {
    const isForThis = (OPTIONS_OF[what] as readonly string[]).includes(name)
    if (command.getOptionValueSource(name) === 'cli' && !isForThis)
      command.error(
        `error: --${name} is not for ${what === 'table' ? 'the demo without --web or --insert' : `--${what}`}`,
      )
  }
  if (what === 'web') return (await import('./web.ts')).serveDemo(flags.port ?? 0)
  if (what === 'insert') return insert(flags.insert as string, flags, command)
  return showTable(flags, command)
}

async function insert(file: string, flags: DemoFlags, command: Command): Promise<void> {
  const { way, num, delay, sleep, timeout } = flags
  const folder = dirname(file)
  if (!existsSync(folder))
    command.error(`error: there is no folder ${folder}: copy the command from the page, or create the folder`)
  const { insertAll } = await import('./inserter.ts')
  // Of the journal of SQLite it leaves what is there.
  const options = {
    way,
    num,
    delayMs: delay,
    sleepMs: sleep,
    timeoutMs: timeout,
    wal: false,
    compacts: false,
  }
  try {
    const tally = await insertAll(file, options)
    const error = tally.error === undefined ? '' : ` (${tally.error})`
    writeOut(
      `${tally.done} inserted, ${tally.failed} refused${error}, longest wait ${duration(tally.longestMs)}\n`,
    )
    process.exitCode = tally.done === num ? EXIT.clean : EXIT.damaged
  } catch (error) {
    failed(error)
  }
}

async function showTable(flags: DemoFlags, command: Command): Promise<void> {
  const { demo, demoExitCode, demoText, missingText } = await import('../stress/demo.ts')
  const path = flags.report === undefined ? undefined : await reportPathFor(flags.report, command)
  abortWhenInterrupted()
  const runs: StressRun[] = []
  const result = await demo(flags.seed ?? anySeed(), flags.procs, interrupted, (run) => runs.push(run))
  const missing = missingText(result)
  if (missing !== undefined) print(`pslock: ${missing}\n`)
  process.exitCode = demoExitCode(result.runs)
  if (result.runs.length === 0) return
  writeOut(`${flags.json ? JSON.stringify(result, undefined, 2) : demoText(result)}\n`)
  if (path !== undefined) await reported(path, paired(runs))
  if (!flags.json) writeOut('\nThe same in a browser, to watch and to play with: pslock demo --web\n')
}

/** Each store's two runs together. */
function paired(runs: readonly StressRun[]): Compared<StressRun>[] {
  return [...new Set(runs.map(({ verdict }) => verdict.store))].map((name) => {
    const of = (mode: Verdict['mode']) =>
      runs.find(({ verdict }) => verdict.store === name && verdict.mode === mode)
    return { locked: of('locked'), control: of('control') }
  })
}
