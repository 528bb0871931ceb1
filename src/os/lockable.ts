import type { LockHolder, LockMode, PsLockError } from '../errors.ts'

/** What stands for a lock between processes: `LockFile` (flock), or `LockFolder` (proper-lockfile) where there is no flock. */
export interface Lockable {
  readonly path: string
  /** The open descriptor that carries the lock; undefined where it is not open, or where none carries it. */
  readonly fd: number | undefined
  /**
   * Whether it is asked of an ancestor that holds it for this process too: nobody else can have it meanwhile, so there is
   * no line to stand in.
   */
  readonly isPassedOn?: boolean
  /** Whether the path still names what is open, and locked, here. */
  readonly isCurrent: boolean
  /** Whether the path is known to name something else, or nothing, by now: others may have a lock of this name. */
  readonly isGone?: boolean
  /** Asks once, without waiting: true when it is ours now, false when it is busy. */
  tryLock(mode: LockMode, thorough?: boolean): boolean
  /** Gives it back, if it is ours. */
  unlock(): void
  /**
   * The descriptor that carries the lock, to be copied into other processes. From now on `unlock` only closes it: the
   * lock lasts as long as any copy. Undefined where no descriptor carries it.
   */
  passOn?(): number | undefined
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
