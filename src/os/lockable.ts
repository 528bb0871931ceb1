import type { LockHolder, LockMode, PsLockError } from '../errors.ts'

/** What stands for a lock between processes: `LockFile` (flock), or `LockFolder` (proper-lockfile) where there is no flock. */
export interface Lockable {
  readonly path: string
  /** The open descriptor that carries the lock; undefined where it is not open, or where none carries it. */
  readonly fd: number | undefined
  /** Whether the path still names what is open, and locked, here. */
  readonly isCurrent: boolean
  /** Asks once, without waiting: true when it is ours now, false when it is busy. */
  tryLock(mode: LockMode, thorough?: boolean): boolean
  /** Gives it back, if it is ours. */
  unlock(): void
  /** As `unlock`, and closes what is open. */
  close(): void
  /** Who else holds it, as far as can be seen from here. */
  holders(): LockHolder[]
  /** How often a waiter asks that nobody can wake, in milliseconds, where asking costs more than a system call. */
  readonly slowPaceMs?: number | undefined
  /** Why the lock that was granted last is not, or not safely, ours any more. The kernel never takes a flock away. */
  readonly failure?: PsLockError | undefined
  /** Looks whether the lock is still ours, and reports it where it is not. */
  verify?(): void
}
