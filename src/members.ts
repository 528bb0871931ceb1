import type { DumpOptions } from './features/backup/backup.ts'
import type { Hook } from './features/hooks/hooks.ts'
import type { Stage, StageOptions } from './features/stages/stage.ts'
import type { StageCriteria, StageStats, StageSummary } from './features/stages/stages.ts'
import type { Table } from './features/tables/table.ts'
import type { PsLock } from './lock/lock.ts'
import type { AcquireOptions, CloseOptions } from './lock/options.ts'
import type { TransactionOptions } from './store/transaction.ts'

/** What a locked store has besides its own members: the types. */

/**
 * Several calls on a store as one operation.
 * @typeParam V the store's own members that a view has: those that only read
 * @typeParam Base the class of the store, if others may be derived from it: a view also has the members of the derived class
 */
export interface Transactions<V = unknown, Base = never> {
  /**
   * Several calls as one: all or nothing, with the lock held from before the first read until after the last write. Every
   * call on the store inside the callback (in the same asynchronous context) belongs to it; `tx` is the store itself. A
   * throw undoes everything and is passed on. Inside another transaction it undoes only this part.
   * @param options `timeoutMs: 0` does not wait for the lock
   * @returns the value of the callback, once its changes are written
   * @throws what the callback throws; the errors of `PsLock#exclusive`; StoreIoError if the file cannot be written;
   * ConflictError with `retry`; TransactionError for a store in memory; the reason of the signal, if it was aborted
   */
  transaction<T>(run: (tx: this) => T, options?: TransactionOptions): Promise<Awaited<T>>
  /**
   * Several reads of one state, while other processes go on writing. Other calls on this store object wait meanwhile. `tx`
   * is the store without the members that could change it.
   * @throws TransactionError for a write inside, and for a store in memory; what the callback throws; the errors of
   * `PsLock#shared`
   */
  view<T>(run: (tx: V & InView<V> & Own<this, Base>) => T, options?: AcquireOptions): Promise<Awaited<T>>
  /**
   * A transaction that is always undone, for tests. What the code inside does leaves no trace, its transactions included.
   * @throws what the callback throws, and as `transaction`
   */
  rollbackAfter<T>(run: (tx: this) => T, options?: AcquireOptions): Promise<Awaited<T>>
}

/** `Transactions` of a store whose calls are synchronous: they return what the callback returns, which is no promise. */
export interface SyncTransactions<V = unknown, Base = never> {
  /** @throws TypeError if the callback returns a promise; otherwise as `Transactions` */
  transaction<T>(run: (tx: this) => T, options?: AcquireOptions): T
  view<T>(run: (tx: V & InSyncView<V> & Own<this, Base>) => T, options?: AcquireOptions): T
  rollbackAfter<T>(run: (tx: this) => T, options?: AcquireOptions): T
}

/** Copying and replacing the file of a locked store as a whole. */
export interface Dumps {
  /**
   * Writes a consistent copy of the store to another file, in the store's own format. It has everything that was
   * acknowledged before, and of every operation all or nothing. Only writers wait, and only while the file is read. The
   * copy appears whole and on the disk, or not at all.
   * @param path a new file; with `overwrite` also an existing one
   * @throws StoreIoError (the file exists, the disk is full, the store is in memory), CorruptStoreError for a damaged store,
   * TransactionError inside a transaction, TypeError, the errors of `PsLock#shared`
   */
  dump(path: string, options?: DumpOptions): Promise<void>
  /**
   * Replaces the content of the store by that of a dump, or of any other file of the unmodified library, under the exclusive
   * lock. Unsaved edits in memory are dropped. Every process sees the new content at its next call. The old content is
   * in `<file>.before-restore-<n>` until the new content is on the disk.
   * @throws CorruptStoreError for a damaged dump, before anything is changed; StoreIoError; TransactionError inside a
   * transaction; TypeError; the errors of `PsLock#exclusive`
   */
  restore(path: string): Promise<void>
}

interface Lockable {
  /** The lock of the store, for work of your own. Calls on the store inside `lock.exclusive(...)` re-enter. */
  readonly lock: PsLock
  /**
   * Calls the hook for every operation of this store object from now on. A hook is `{ before, after }`, or `throttle(...)`.
   * @returns a function that removes the hook
   * @throws TypeError if it is not a hook, and for a store in memory
   */
  use(hook: Hook): () => void
  /**
   * Waits for the operations that were issued, and closes the files. Later calls reject with ClosedError. It need not be
   * called: an idle store does not keep the process alive.
   * @param options `{ remove: true }` also removes the lock file, unless somebody else uses it: see `PsLock#close`
   * @throws LockDeadlockError inside one's own hold, TransactionError inside a transaction or view
   */
  close(options?: CloseOptions): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What a locked store has besides the members of the store. Its type parameters are those of `Transactions`. */
export interface LockedMembers<V = unknown, Base = never> extends Lockable, Transactions<V, Base>, Dumps {
  /**
   * A table of records with declared fields in this store. It need not exist yet. This call reads and writes nothing.
   * @typeParam R the fields of its records
   * @typeParam D the fields that have a default, which `insert` may leave out
   * @throws TypeError for a name that not every store could keep, and for a store whose adapter declares no `rows`;
   * TransactionError for a store in memory
   */
  table<R extends object, D extends keyof R = never>(name: string): Table<R, D>
  /**
   * Opens the stage of this id (say, that of a web session): edits that nobody else sees until they are committed. Another process
   * may go on with it. If there is none, or it has ended, a new one begins with its first edit.
   * @throws TypeError for wrong options, and for a store whose adapter declares no `rows` and `staging`; TransactionError inside a
   * transaction, and for a store in memory; the errors of `transaction`
   */
  stage(id: string, options?: StageOptions): Promise<Stage<this>>
  /** All stages of the store. */
  readonly stages: StageOverview
}

/** The stages of a store. */
export interface StageOverview {
  /** Those that are open, or have ended in the last 7 days. @throws the errors of `transaction` */
  list(criteria?: StageCriteria): Promise<StageSummary[]>
  /** How they have ended. @throws the errors of `transaction` */
  stats(): Promise<StageStats>
}

/** What a locked store whose calls are synchronous has besides the members of the store. */
export interface LockedSyncMembers<V = unknown, Base = never>
  extends Lockable,
    SyncTransactions<V, Base>,
    Dumps {}

/** A value that may not be changed, at any depth: the data of a view. */
export type DeepReadonly<T> = unknown extends T
  ? T
  : T extends Primitive | ((...args: never[]) => unknown)
    ? T
    : T extends readonly unknown[]
      ? ReadonlyList<T>
      : { readonly [K in keyof T]: DeepReadonly<T[K]> }

// In this form the type of the elements is looked at only when it is asked for, so that it may contain itself.
type ReadonlyList<T extends readonly unknown[]> = T[number][] extends T
  ? readonly DeepReadonly<T[number]>[]
  : { readonly [K in keyof T]: DeepReadonly<T[K]> }

type Primitive = string | number | bigint | boolean | symbol | null | undefined

/**
 * The members R of a store, its data not to be changed. A method is what R says that it is: one that only looks.
 * @typeParam R `PropertyKey` where it is not known which methods do: all of them
 */
export type Reads<S, R extends PropertyKey> = {
  readonly [K in keyof S as K extends R ? K : never]: S[K] extends (...args: never[]) => unknown
    ? S[K]
    : DeepReadonly<S[K]>
}

/** What every store has in a view besides V, its own members that only look. */
export interface InView<V> {
  readonly lock: PsLock
  /** The same state. */
  view<T>(run: (tx: V & InView<V>) => T, options?: AcquireOptions): Promise<Awaited<T>>
  /** As outside, but it can only be looked at. */
  table<R extends object, D extends keyof R = never>(name: string): Pick<Table<R, D>, 'name' | 'select'>
}

/** As `InView`, of a store whose calls are synchronous. */
export interface InSyncView<V> {
  readonly lock: PsLock
  view<T>(run: (tx: V & InSyncView<V>) => T, options?: AcquireOptions): T
}

/** What a class that is derived from `Base`, a class of stores, has of its own. */
export type Own<This, Base> = Omit<This, keyof Base>

/**
 * What the callback of `view` gets from a store of type D. Use `ViewOf<typeof db>` for functions that only read; they accept
 * the store itself, too.
 */
export type ViewOf<D> = D extends { view(run: (tx: infer V) => unknown): unknown } ? V : never
