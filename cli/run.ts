import { type Command, CommanderError, Option } from 'commander'
import { harmless } from '../src/errors.ts'
import { lockPathOption, seconds, wholeNumber } from './base/arguments.ts'
import { EXIT } from './base/exit-codes.ts'
import { failed } from './base/failed.ts'
import { isServerUrl } from './base/server-url.ts'
import type { Ending } from './run/command.ts'
import { descriptorList, jobserver, notInherited } from './run/descriptors.ts'
import { holdAndRun, LOCK_FD } from './run/hold-and-run.ts'
import type { RunOptions } from './run/options.ts'
import { endBy, isStartedByNohup } from './run/signals.ts'

interface RunFlags {
  readonly shared?: true
  /** In milliseconds. */
  readonly timeout: number
  readonly wait: boolean
  readonly conflictExitCode: number
  readonly close: boolean
  readonly lockPath?: string
  readonly passFds?: readonly number[]
  readonly nohup?: true
  readonly quiet?: true
}

const NOTES = `
The lock is that of new PsLock(file): flock(2) on <file>.lock, or on <file>
itself where it ends in .lock. What the command starts may take the same lock
again through pslock (a store, a PsLock, pslock run): it is inside this hold, by
turns. With --shared such a lock can only be shared. Other programs, such as
flock(1), would wait for their own parent, in vain.

The command has stdin, stdout and stderr to itself, so there is no --json; of
other descriptors those of --pass-fds, and make's jobserver. While it waits,
pslock says on stderr for whom.

SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT and SIGWINCH
are passed on. Those that the terminal sends, such as Ctrl-C, or somebody to the
whole process group, reach the command from there, once: for that a small shell
watches in the group. Started by nohup, or with --nohup, SIGHUP is ignored; nohup is
known by the shell's variable "_" or by a parent that ignores SIGHUP itself.

The lock is free when the command has ended, whatever that left running in the
background; but kill -9 of pslock frees it at once, and the command goes on
without it. With --no-close the command, and all that inherits its descriptor
${LOCK_FD}, (or the next free one), share the lock until they have ended, whatever happens
to pslock.
Programs that close what they inherit, as Node and Python do for those that they
start, do not pass it on to their own children.

postgres://host/database#name is the PgLock of that name, between machines. The
password may be in PGPASSWORD or in ~/.pgpass. What the command starts is not inside
this hold: it must not take the same lock again. If the connection is lost, so is the
lock: that is said on stderr, and the command is sent SIGTERM within 5 s.

Exit codes: the command's own, and
  128 + n  (in a shell) signal n ended the command, or the wait: 130 is Ctrl-C
  ${EXIT.conflict}       not free in time (see --conflict-exit-code)
  ${EXIT.lost}       the lock on a server was lost, whatever the command ended with
  ${EXIT.failed}      the lock cannot be had at all
  126      the command cannot be executed
  127      the command was not found
  2        wrong usage`

/** `pslock run`: holds the lock of a file while a command runs, like flock(1). */
export function addRunCommand(root: Command): void {
  root
    .command('run')
    .description('hold the lock of a file, or of a name on a server, while a command runs, like flock(1)')
    .usage('[options] <file> -- <command> [arguments...]')
    .argument(
      '<file>',
      'the data file, or anything else to guard; it need not exist. Or postgres://host/database#name',
    )
    .argument('<command...>', 'the command and its arguments, behind "--"')
    .option('-s, --shared', 'together with other shared holders')
    .addOption(
      new Option('-w, --timeout <seconds>', 'longest wait; 0: do not wait, Infinity: for ever')
        .argParser(seconds(0))
        .default(30_000, '30'),
    )
    .addOption(new Option('-n, --no-wait', 'give up at once when the lock is not free').conflicts('timeout'))
    .option(
      '-E, --conflict-exit-code <n>',
      'the exit code when the lock was not free in time',
      wholeNumber(0, 255),
      EXIT.conflict,
    )
    .addOption(lockPathOption())
    .option('-o, --close', 'the command does not inherit the lock', true)
    .option('--no-close', 'it does, as with flock(1): the lock lasts until all of it has ended')
    .option('--pass-fds <list>', 'more descriptors for the command: 3, or 3,4', descriptorList)
    .option('--nohup', 'SIGHUP is ignored, here and by the command (as if started by nohup)')
    .option('-q, --quiet', 'say neither that it waits nor that it gave up')
    .addHelpText('after', NOTES)
    .action(run)
}

async function run(file: string, words: string[], flags: RunFlags, command: Command): Promise<void> {
  // commander forgets where the "--" was, and without it would take the command's own options for ours.
  const behind = process.argv.slice(process.argv.indexOf('--') + 1)
  if (!process.argv.includes('--') || behind.length !== words.length) {
    command.error('error: put "--" between the file and the command: pslock run db.json -- make report')
  }
  const passFds = [...new Set([...(flags.passFds ?? []), ...jobserver()])]
  const closed = notInherited(passFds)
  if (closed !== undefined) command.error(`error: descriptor ${closed} of --pass-fds is not open`)
  try {
    const ending = await held(file, words, command, {
      mode: flags.shared ? 'shared' : 'exclusive',
      timeoutMs: flags.wait ? flags.timeout : 0,
      conflictExitCode: flags.conflictExitCode,
      close: flags.close,
      lockPath: flags.lockPath,
      passFds,
      nohup: flags.nohup ?? isStartedByNohup(),
      quiet: flags.quiet ?? false,
    })
    if ('signal' in ending) endBy(ending.signal)
    else process.exitCode = ending.code
  } catch (error) {
    if (error instanceof CommanderError) throw error
    failed(error)
  }
}

/** Under the lock of a file, or that of a name on a server: what is needed for that is loaded only then. */
async function held(file: string, words: string[], command: Command, options: RunOptions): Promise<Ending> {
  if (!isServerUrl(file)) return holdAndRun(file, words, options)
  if (options.lockPath !== undefined) command.error('error: --lock-path is for files')
  if (!options.close)
    command.error('error: --no-close is for files: a lock on a server is that of a connection')
  const { holdOnServerAndRun } = await import('./run/on-server.ts')
  try {
    return await holdOnServerAndRun(file, words, options)
  } catch (error) {
    if (error instanceof TypeError) command.error(`error: ${harmless(error.message)}`)
    throw error
  }
}
