import { LockTimeoutError, LockUnsupportedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { isInGitFolder } from '../base/git-folder.ts'
import { print } from '../base/output.ts'
import { type Ending, runCommand } from './command.ts'
import { GroupWitness } from './group-witness.ts'
import { shortPath } from './held-by.ts'
import { IGNORING_SIGHUP, NO_NOTICE, notFree, type RunOptions } from './options.ts'
import { passOn } from './pass-on.ts'
import { PASSED_ON, receiveSignals } from './signals.ts'
import { waitingNotice } from './waiting-notice.ts'

/** The lock's own number in the command: above those that scripts use (`exec 3>log`, up to 9). */
export const LOCK_FD = 10

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
  const passSignalsTo = receiveSignals(options, notice.stop)
  try {
    using _held = await lock.acquire({ mode, timeoutMs }).finally(notice.stop)
    using passedOn = passOn(lock, options.mode)
    const { environment } = passedOn
    const descriptors = new Map(options.passFds.map((passed) => [passed, passed]))
    if (!options.close)
      for (const fd of passedOn.descriptors) descriptors.set(freeFrom(LOCK_FD, descriptors), fd)
    const program = options.nohup ? [...IGNORING_SIGHUP, ...words] : words
    using witness = new GroupWitness(PASSED_ON)
    await witness.isReady
    return await runCommand(program, { environment, descriptors }, (child) => passSignalsTo(child, witness))
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
