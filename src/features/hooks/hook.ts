import type { LockMode } from '../../errors.ts'
import type { AcquireOptions } from '../../lock/options.ts'

/** What is known of an operation before it runs. */
export interface HookEvent extends AcquireOptions {
  /**
   * The store's own name for it, without `Async` or `Sync`: `insert`, `update`, `find`, `write`, `compactDatafile`,
   * `transaction`, `view`. Other names for the same thing (`insertMany`) are not told apart. Undefined for what the
   * store does without a method of its own, such as work that was given to NeDB's executor directly.
   */
  readonly name: string | undefined
  /** What the method was given; empty for `transaction` and `view`. Not copied: do not change it. */
  readonly args: readonly unknown[]
  /** `exclusive`: it may write. `shared`: it only reads. */
  readonly mode: LockMode
  /** Whether it is inside a transaction, another operation, or a hold of one's own: the lock is held already. */
  readonly nested: boolean
  /** The transaction or operation that it is a part of, and is written or undone with. */
  readonly partOf: HookEvent | undefined
  /** Whether the call blocks the thread (`LockedLowSync`): nothing can be awaited. */
  readonly blocking: boolean
  /** The data file. */
  readonly path: string
  /** The lock file. */
  readonly lockPath: string
}

/** The same operation once it has ended. */
export interface HookOutcome extends HookEvent {
  /** From when every hook had let it through to its end, in milliseconds: waiting for the lock is a part of it. */
  readonly durationMs: number
  /** Whether the file is another one now because of it; false for what failed or was undone. */
  readonly changed: boolean
  /** What it threw. For a part of a transaction that was undone: what the transaction threw. Undefined: it went well. */
  readonly error: unknown
}

/**
 * Code of one's own that is told of every operation of a store object, hidden ones (NeDB's compaction by a timer)
 * included. Hooks are called in the order in which they were added, and outside every hold of their caller.
 */
export interface Hook {
  /**
   * Called when the operation is issued, before it waits for the lock. A throw or rejection refuses the operation with
   * that error; a promise is awaited, and operations that were issued later keep their place behind this one. With
   * `nested` the lock is held meanwhile, so be quick; with `blocking` a promise is refused by a TypeError. The same
   * store cannot be used in here (LockDeadlockError).
   */
  before?(event: HookEvent): unknown
  /**
   * Called once it has ended and the lock is free again, before its caller goes on; for what is part of a transaction
   * or another operation, when that has ended. A promise is not awaited. What it throws is an uncaught exception and
   * not the operation's failure. Not called where this hook, or one before it, has refused the operation.
   */
  after?(outcome: HookOutcome): unknown
}
