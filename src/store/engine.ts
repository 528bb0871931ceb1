import { ConflictError, type LockMode, StoreIoError, TransactionError } from '../errors.ts'
import type { Observed } from './operation.ts'
import { Scope } from './scope.ts'

/** How a commit ended. */
export interface Commit {
  /** How many operations of the batch, from the first on, are in the file now. */
  readonly committed: number
  /** What stopped the one after those. */
  readonly error?: unknown
  /**
   * Others have changed meanwhile what the batch was run on. All of it is undone: it runs again, but for the user's own code, which
   * fails with `error`.
   */
  readonly isToRepeat?: boolean
  /** What must still happen, after the lock is released, before anything resolves: fsync. */
  readonly settle?: (() => Promise<void>) | undefined
}

/** What a kind of store does for a batch of operations: those that share one hold of the lock. */
export interface Engine {
  /**
   * Makes memory equal to the file; for operations that all are blind it need not. A throw rejects every operation of
   * the batch; nothing was run.
   */
  refresh(mode: LockMode, isBlind: boolean): Promise<void> | void
  /**
   * As `refresh` for operations that only look, without the lock: memory has all that was committed before, and nothing
   * that is not.
   * @returns false where that cannot be had: take the lock
   */
  refreshUnlocked?(): Promise<boolean>
  /** Runs one operation. When it throws, what it did is undone and nothing of it will be written. */
  run(operation: () => unknown, mode: LockMode): unknown
  /** Runs an operation that is part of one that runs already. When it throws, its own part is undone. */
  savepoint(operation: () => unknown, mode: LockMode): unknown
  /** Grows with every operation that changes something; what is undone is taken back. */
  readonly revision: number
  /**
   * Whether the file is still what memory was made equal to.
   * @param timeoutMs for how long it may wait until that can be told
   */
  isFresh(timeoutMs: number): Promise<boolean>
  /**
   * Runs what only looks at memory without the lock, at once: where memory is what the file says, or can be made so from
   * whole units that have been added.
   * @returns undefined where that takes the lock, or time
   */
  lookNow?<T>(look: () => T): { readonly value: T } | undefined
  /**
   * With durability 'disk' makes what memory was made equal to survive power loss, for what shows it without a commit. The
   * lock need not be held.
   */
  settle?(): Promise<void>
  /** Undoes what was run and not committed. */
  abandon(): void
  /** Puts into the file what the operations did. Must not throw: it reports. */
  commit(): Promise<Commit> | Commit
  /** Called last under the lock, however the batch ended. */
  end(): void
}

/** Texts that a store keeps beside its records, and changes in one step with them. */
export interface Notes {
  /** As memory has it. */
  get(name: string): string | undefined
  /** In an exclusive operation. */
  set(name: string, text: string): void
  /** Makes what was committed so far survive power loss. */
  flush(): Promise<void>
}

/**
 * Runs an operation, or one that is part of another (`savepoint`), in a scope of its owner. What it issued has ended
 * before it is undone, should it throw.
 */
export function runIn(
  owner: object,
  engine: Engine,
  how: 'run' | 'savepoint',
  { mode, run, observed }: { mode: LockMode; run: () => unknown; observed?: Observed | undefined },
): unknown {
  const inPass = () => engine[how](() => new Scope(owner, mode, observed).run(run), mode)
  return observed ? observed.watch(inPass, () => engine.revision) : inPass()
}

/** The words of what a store refuses around transactions, and of what it cannot promise. */

export function conflict(lockPath: string): ConflictError {
  return new ConflictError(
    `somebody else has written while an optimistic transaction ran (the store locked by ${lockPath}). Its changes were ` +
      'undone: run it again, give it more retries, or leave out `retry` to hold the lock while it runs.',
    { path: lockPath },
  )
}

export function writeInView(lockPath: string): TransactionError {
  return new TransactionError(
    `nothing can be written inside a view (or a read) of the store locked by ${lockPath}: use transaction()`,
    { path: lockPath },
  )
}

export function notInside(what: string, lockPath: string): TransactionError {
  return new TransactionError(
    `${what}() cannot be part of a transaction, a view or an update (of the store locked by ${lockPath}): call it outside`,
    { path: lockPath },
  )
}

export function blockingInside(path: string): TransactionError {
  return new TransactionError(
    `a call that blocks cannot write inside an asynchronous transaction or view of ${path}: in a transaction edit tx.data`,
    { path },
  )
}

export function removalInTransaction(path: string): TransactionError {
  return new TransactionError(
    `${path} cannot be removed inside a transaction, which could not be undone. Do it outside.`,
    { path },
  )
}

export function notSynced(path: string, cause: unknown): StoreIoError {
  return new StoreIoError(
    `fsync of ${path} failed: the operation is in the file, but whether it survives power loss is unknown. ` +
      'The file is rewritten before the next durable operation is acknowledged.',
    { path, cause },
  )
}
