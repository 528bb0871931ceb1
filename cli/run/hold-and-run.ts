import { type LockMode, LockTimeoutError, LockUnsupportedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { isInGitFolder } from '../base/git-folder.ts'
import { print } from '../base/output.ts'
import { type Ending, runCommand } from './command.ts'
import { GroupWitness } from './group-witness.ts'
import { heldBy, shortPath } from './held-by.ts'
import { passOn } from './pass-on.ts'
import { endBy, isFatal, onSignals, PASSED_ON, relay } from './signals.ts'
import { type WaitingNotice, waitingNotice } from './waiting-notice.ts'

export interface RunOptions {
  readonly mode: LockMode
  /** Longest wait for the lock; 0 does not wait, `Infinity` waits for ever. */
  readonly timeoutMs: number
  /** What it ends with when the lock was not free in time. */
  readonly conflictExitCode: number
  /** Whether SIGHUP is ignored, here and by the command. */
  readonly nohup: boolean
  /** Descriptors that the command gets besides stdin, stdout and stderr, under the same numbers. */
  readonly passFds: readonly number[]
  /** Where the lock file is, if not at its usual place. */
  readonly lockPath: string | undefined
  /** Whether the command has no descriptor of the lock: then it is free when the command itself has ended. */
  readonly close: boolean
  /** Neither says that it waits nor that it gave up; failures are still told. */
  readonly quiet: boolean
}

const NO_NOTICE: WaitingNotice = { stop: () => {} }

/** The lock's own number in the command: above those that scripts use (`exec 3>log`, up to 9). */
export const LOCK_FD = 10

/** Node gives the command all signals back as they were; the shell leaves them so, but this one. */
const IGNORING_SIGHUP = ['sh', '-c', `trap '' HUP; exec "$@"`, 'sh']

/**
 * Holds the lock of a file while a command runs, and says how that ended. The lock is free when the command itself has
 * ended, whatever it left running in the background; without `close`, when all of that has ended.
 * @throws LockIoError, LockUnsupportedError
 */
export async function holdAndRun(
  file: string,
  words: readonly string[],
  options: RunOptions,
): Promise<Ending> {
  const { mode, timeoutMs, lockPath } = options
  await using lock = new PsLock(file, { lockPath })
  requireNotGits(lock.path)
  const notice = options.quiet ? NO_NOTICE : waitingNotice(lock)
  let receive = (signal: NodeJS.Signals) => {
    if (!isFatal(signal)) return
    // Whatever we wait for, or have just got, the kernel takes back.
    notice.stop()
    endBy(signal)
  }
  onSignals((signal) => {
    if (signal !== 'SIGHUP' || !options.nohup) receive(signal)
  })
  try {
    using _held = await lock.acquire({ mode, timeoutMs }).finally(notice.stop)
    using passedOn = passOn(lock, options.mode)
    const { environment, fd } = passedOn
    const descriptors = new Map(options.passFds.map((passed) => [passed, passed]))
    if (!options.close && fd !== undefined) descriptors.set(freeFrom(LOCK_FD, descriptors), fd)
    const program = options.nohup ? [...IGNORING_SIGHUP, ...words] : words
    using witness = new GroupWitness(PASSED_ON)
    await witness.isReady
    return await runCommand(program, { environment, descriptors }, (child) => {
      receive = (signal) => void relay(child, signal, witness)
    })
  } catch (error) {
    if (!(error instanceof LockTimeoutError)) throw error
    if (!options.quiet) print(`pslock: ${notFree(error)}\n`)
    return { code: options.conflictExitCode }
  }
}

function freeFrom(first: number, taken: ReadonlyMap<number, number>): number {
  let fd = first
  while (taken.has(fd)) fd++
  return fd
}

/** @throws where the lock file would stand in git's way */
function requireNotGits(path: string): void {
  if (!isInGitFolder(path)) return
  throw new LockUnsupportedError(
    `${shortPath(path)} is in a folder of git: git locks its files by creating <file>.lock, and refuses as long as one is ` +
      'there. Lock something outside, or put the lock file elsewhere by --lock-path.',
    { path },
  )
}

function notFree({ path, holders, waitedMs }: LockTimeoutError): string {
  const who = heldBy(holders)
  const when = waitedMs === 0 ? 'is not free' : `was not free within ${(waitedMs / 1000).toFixed(1)} s`
  return `${shortPath(path)} ${when}${who === undefined ? '' : `: ${who}`}`
}
