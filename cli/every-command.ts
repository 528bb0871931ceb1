import type { Command } from 'commander'
import { harmless } from '../src/errors.ts'
import { lockPathOption, seconds } from './base/arguments.ts'
import { EXIT } from './base/exit-codes.ts'
import { failed } from './base/failed.ts'
import { writeOut } from './base/output.ts'
import { perform } from './base/program.ts'
import { isServerUrl } from './base/server-url.ts'
import { addCleanCommand } from './clean.ts'
import { addDemoCommand } from './demo/command.ts'
import { addFileCommands } from './files/commands.ts'
import { addRunCommand } from './run.ts'
import { type Status, status, statusText } from './status/status.ts'
import { watchStatus } from './status/watch.ts'
import { addStressCommand } from './stress/command.ts'

const WATCH_EVERY_MS = 1000

/** Every command, for `perform`. */
function addEveryCommand(root: Command): void {
  addRunCommand(root)

  root
    .command('status')
    .description('who holds the lock of a file, or of a name on a server, and who waits for it')
    .argument('<file>', 'the data file (or its lock file, ending in .lock), or postgres://host/database#name')
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

  addDemoCommand(root)
  addFileCommands(root)
  addCleanCommand(root)
}

const STATUS_NOTES = `
SINCE is how long it has held the lock, or waited; "-" is unknown. Of those who
wait, and on macOS of those who hold, only users of pslock are seen.

Of a name on a server, OF says which lock it is: that of the store of this name,
or the PgLock. COMMAND is the name of the program's file.

Exit codes: 0 free, 1 held, 2 wrong usage, 125 it cannot be looked at; with --watch
0 at Ctrl-C`

interface StatusFlags {
  readonly json?: true
  /** In milliseconds. */
  readonly watch?: number | true
  readonly lockPath?: string
}

async function runStatus(file: string, flags: StatusFlags, command: Command): Promise<void> {
  if (isServerUrl(file)) return runServerStatus(file, flags, command)
  await showStatus(() => status(file, flags.lockPath), flags)
}

async function runServerStatus(url: string, flags: StatusFlags, command: Command): Promise<void> {
  if (flags.lockPath !== undefined) command.error('error: --lock-path is for files')
  const { ServerStatus } = await import('./status/on-server.ts')
  try {
    await using found = new ServerStatus(url)
    await showStatus(() => found.now(), flags)
  } catch (error) {
    command.error(`error: ${harmless((error as Error).message)}`)
  }
}

async function showStatus(look: () => Promise<Status>, flags: StatusFlags): Promise<void> {
  try {
    if (flags.watch !== undefined) {
      const everyMs = flags.watch === true ? WATCH_EVERY_MS : flags.watch
      await watchStatus(look, everyMs, flags.json ?? false)
      return
    }
    const found = await look()
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
