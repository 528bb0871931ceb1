import type { Command } from 'commander'
import { lockPathOption, seconds, wholeNumber } from './arguments.ts'
import { addCleanCommand } from './clean.ts'
import { EXIT } from './exit-codes.ts'
import { failed } from './failed.ts'
import { addFileCommands } from './files/commands.ts'
import { abortWhenInterrupted, interrupted } from './interruption.ts'
import { print, writeOut } from './output.ts'
import { perform } from './program.ts'
import { addRunCommand } from './run.ts'
import { anySeed, MAX_SEED } from './seed.ts'
import { watchStatus } from './status/watch.ts'
import { status, statusText } from './status.ts'
import { addStressCommand } from './stress/command.ts'
import { DEFAULTS } from './stress/options.ts'
import { reported, reportPathFor } from './stress/page/option.ts'
import type { Compared } from './stress/page/verdict-words.ts'
import type { StressRun } from './stress/stress.ts'
import type { Verdict } from './stress/verdict.ts'

const WATCH_EVERY_MS = 1000

/** Every command, for `perform`. */
function addEveryCommand(root: Command): void {
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
    .addOption(lockPathOption())
    .option('--json', 'as one JSON object; with --watch one a line')
    .addHelpText('after', STATUS_NOTES)
    .action(runStatus)

  addStressCommand(root)

  root
    .command('demo')
    .description('many processes on NeDB and on lowdb, without a lock and with it; takes less than a minute')
    .option('--procs <n>', 'processes of each run', wholeNumber(1, 1000), DEFAULTS.procs)
    .option(
      '--seed <n>',
      'repeats the same plan of operations (default: random, and printed)',
      wholeNumber(0, MAX_SEED),
    )
    .option('--json', 'the verdicts as one JSON object')
    .option('--report <file>', 'one HTML page with plots')
    .addHelpText(
      'after',
      '\nExit codes: 0 the locked runs are clean, 1 they are not, 2 wrong usage, 3 too little contention to say so,\n125 no store is installed, it failed itself, or the report could not be written, 130 Ctrl-C',
    )
    .action(runDemo)

  addFileCommands(root)
  addCleanCommand(root)
}

const STATUS_NOTES = `
SINCE is how long it has held the lock, or waited; "-" is unknown. Of those who
wait, and on macOS of those who hold, only users of pslock are seen.

Exit codes: 0 free, 1 held, 2 wrong usage, 125 it cannot be looked at; with --watch
0 at Ctrl-C`

interface DemoFlags {
  readonly procs: number
  readonly seed?: number
  readonly json?: true
  readonly report?: string
}

async function runDemo(flags: DemoFlags, command: Command): Promise<void> {
  const { demo, demoExitCode, demoText, missingText } = await import('./demo.ts')
  const path = flags.report === undefined ? undefined : await reportPathFor(flags.report, command)
  abortWhenInterrupted()
  const runs: StressRun[] = []
  const result = await demo(flags.seed ?? anySeed(), flags.procs, interrupted, (run) => runs.push(run))
  const missing = missingText(result)
  if (missing !== undefined) print(`pslock: ${missing}\n`)
  process.exitCode = demoExitCode(result.runs)
  if (result.runs.length === 0) return
  line(flags.json ? JSON.stringify(result, undefined, 2) : demoText(result))
  if (path !== undefined) await reported(path, paired(runs))
}

/** Each store's two runs together. */
function paired(runs: readonly StressRun[]): Compared<StressRun>[] {
  return [...new Set(runs.map(({ verdict }) => verdict.store))].map((name) => {
    const of = (mode: Verdict['mode']) =>
      runs.find(({ verdict }) => verdict.store === name && verdict.mode === mode)
    return { locked: of('locked'), control: of('control') }
  })
}

interface StatusFlags {
  readonly json?: true
  /** In milliseconds. */
  readonly watch?: number | true
  readonly lockPath?: string
}

async function runStatus(file: string, flags: StatusFlags): Promise<void> {
  try {
    if (flags.watch !== undefined) {
      const everyMs = flags.watch === true ? WATCH_EVERY_MS : flags.watch
      await watchStatus(() => status(file, flags.lockPath), everyMs, flags.json ?? false)
      return
    }
    const found = await status(file, flags.lockPath)
    const columns = process.stdout.isTTY ? process.stdout.columns || 80 : undefined
    line(flags.json ? JSON.stringify(found, undefined, 2) : statusText(found, columns))
    process.exitCode = found.held ? EXIT.held : EXIT.free
  } catch (error) {
    failed(error)
  }
}

function line(text: string): void {
  writeOut(`${text}\n`)
}

await perform(addEveryCommand)
