import { closeSync, fstatSync, lstatSync, unlinkSync } from 'node:fs'
import { errnoOf, LockIoError, PsLockError } from '../errors.ts'
import { closeLocked, tryFlock } from '../os/flock.ts'
import { kernelHolders, ownerOf } from '../os/lock-owners.ts'
import { openToLook } from '../os/open-files.ts'
import { monotonicMs } from '../os/processes.ts'
import { readQueue } from './wait-queue.ts'

/**
 * What became of a lock file. `used`: somebody holds it, or waits for it. `foreign`: nothing shows that it is pslock's.
 * `empty`: a lock file of an earlier version of pslock is empty, and so may be that of any other program.
 */
export type Removal = 'removed' | 'used' | 'foreign' | 'empty' | 'missing'

export interface RemovalOptions {
  /** Whether an empty one may be removed too. */
  readonly empty?: boolean
  /** Only say what would become of it. */
  readonly dryRun?: boolean
}

/** A waiter that has asked within this time is active. Dead waiters prevent a removal for no longer. */
const IN_EARNEST_MS = 10_000

/**
 * Removes a lock file and the file of its line, if nobody uses them.
 *
 * It is done under the lock. Whoever has opened the file before, and gets its lock afterwards, looks whether the path still
 * names it, as pslock does after each grant, and begins again with a new one. Programs that lock it without pslock
 * do not look: where one of them waits in the kernel it is left alone, and only one that is just between its open(2) and
 * its flock(2) would be left with a lock that excludes nobody.
 * @throws LockIoError, LockUnsupportedError
 */
export function removeLockFile(
  path: string,
  { empty = false, dryRun = false }: RemovalOptions = {},
): Removal {
  try {
    return removed(path, empty, dryRun)
  } catch (cause) {
    throw cause instanceof PsLockError ? cause : removalFailure(path, cause)
  }
}

function removed(path: string, empty: boolean, dryRun: boolean): Removal {
  const lock = openPlain(path)
  if (lock === undefined || lock === 'foreign') return lock ?? 'missing'
  let turns: number | 'foreign' | undefined
  try {
    // Before it is locked, not even for a moment: others' lock files are none of our business.
    const owner = ownerOf(lock)
    if (owner === 'others') return 'foreign'
    if (owner === 'nobody' && !empty) return 'empty'
    if (!tryFlock(lock, 'exclusive', path) || !isNamed(path, lock)) return 'used'
    if (ownerOf(lock) !== owner) return 'foreign'
    turns = openPlain(`${path}.turn`)
    if (turns === 'foreign') return 'foreign'
    if (turns !== undefined && isWaitedIn(turns, `${path}.turn`)) return 'used'
    if (kernelHolders(path).some(({ state }) => state === 'waiting')) return 'used'
    if (dryRun) return 'removed'
    if (turns !== undefined) unlink(`${path}.turn`)
    unlink(path)
    return 'removed'
  } finally {
    if (typeof turns === 'number') closeLocked(turns, `${path}.turn`)
    closeLocked(lock, path)
  }
}

/** For reading only, which is enough to lock it and to remove it; `foreign` where it is nothing that we would make. */
function openPlain(path: string): number | 'foreign' | undefined {
  try {
    const found = lstatSync(path)
    if (!found.isFile() || found.nlink !== 1) return 'foreign'
    const fd = openToLook(path)
    if (fstatSync(fd).ino === found.ino) return fd
    closeSync(fd)
    return 'foreign'
  } catch (cause) {
    const code = errnoOf(cause)
    if (code === 'ENOENT') return undefined
    throw new LockIoError(`cannot open the lock file ${path}: ${code ?? cause}.`, { path, cause })
  }
}

function isNamed(path: string, fd: number): boolean {
  const named = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  const open = fstatSync(fd, { bigint: true })
  return named?.ino === open.ino && named.dev === open.dev
}

/** A place in the line is taken under the lock of its file: as long as we have that, nobody joins. */
function isWaitedIn(fd: number, path: string): boolean {
  if (!tryFlock(fd, 'exclusive', path) || !isNamed(path, fd)) return true
  const now = monotonicMs()
  return readQueue(fd).slots.some(({ seenMs }) => Math.abs(now - seenMs) < IN_EARNEST_MS)
}

function unlink(path: string): void {
  try {
    unlinkSync(path)
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw removalFailure(path, cause)
  }
}

function removalFailure(path: string, cause: unknown): LockIoError {
  return new LockIoError(`cannot remove the lock file ${path}: ${errnoOf(cause) ?? cause}.`, { path, cause })
}
