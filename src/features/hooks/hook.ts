import type { LockMode } from '../../errors.ts'
import type { AcquireOptions } from '../../lock/options.ts'

/** What a hook is told of an operation before it runs. */
export interface HookEvent extends AcquireOptions {
  /**
   * The store's own name of the operation, without `Async` or `Sync`: `insert`, `update`, `find`, `write`,
   * `compactDatafile`, `transaction`, `view`. `insertMany` is reported as `insert`. Undefined for what the store does
   * without a method of its own, such as work that was given to NeDB's executor directly.
   */
  readonly name: string | undefined
  /** The arguments; empty for `transaction` and `view`. They are not copied: do not change them. */
  readonly args: readonly unknown[]
  /** `exclusive`: the operation may write. `shared`: it only reads. */
  readonly mode: LockMode
  /** Whether it is inside a transaction, another operation or a hold of one's own, so that the lock is already held. */
  readonly nested: boolean
  /** The transaction or operation that it belongs to, with which it is written or undone. */
  readonly partOf: HookEvent | undefined
  /** Whether the call blocks the thread (`LockedLowSync`): nothing can be awaited. */
  readonly blocking: boolean
  /** The data file. */
  readonly path: string
  /** The lock file. */
  readonly lockPath: string
}

/** What a hook is told of an operation after it has ended. */
export interface HookOutcome extends HookEvent {
  /** The time from when every hook had let it through to its end, in milliseconds, with the wait for the lock. */
  readonly durationMs: number
  /** Whether it has changed the file; false if it failed or was undone. */
  readonly changed: boolean
  /** What it threw; for a part of a transaction that was undone, what the transaction threw. Undefined: it succeeded. */
  readonly error: unknown
}

/**
 * Code that is called for every operation of a store object, also for those that nobody called (NeDB's compaction by a
 * timer). Hooks are called in the order in which they were added, and outside every hold of their caller.
 */
export interface Hook {
  /**
   * Called when the operation is issued, before it waits for the lock. If it throws or rejects, the operation is refused
   * with that error. A promise is awaited; operations that were issued later keep their place behind this one. With
   * `nested` the lock is held meanwhile, so be quick. With `blocking` a promise is a TypeError. The same store cannot be
   * used inside (LockDeadlockError).
   */
  before?(event: HookEvent): unknown
  /**
   * Called when the operation has ended and the lock is free again, before its caller continues. For a part of a
   * transaction, or of another operation, it is called when that has ended. A promise is not awaited. An error that it
   * throws is an uncaught exception, and the operation has succeeded all the same. It is not called if this hook, or one
   * before it, has refused the operation.
   */
  after?(outcome: HookOutcome): unknown
}
