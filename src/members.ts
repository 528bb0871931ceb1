import type { Dumps } from './features/backup/dumps.ts'
import type { Hook } from './features/hooks/hook.ts'
import type { Table } from './features/tables/types.ts'
import type { PsLock } from './lock/lock.ts'
import type { AcquireOptions, CloseOptions } from './lock/options.ts'
import type { TransactionOptions } from './store/transaction.ts'

/** What a locked store has besides its own members: the types. */

/**
 * What every locked store can do with several calls at once.
 * @typeParam V what of the store's own members a view has: those that only look
 * @typeParam Base the class of the store, where others may be derived from it: what those have of their own is there in a view, too
 */
export interface Transactions<V = unknown, Base = never> {
  /**
   * Several calls as one: all or nothing, with the lock held from before the first read to after the last write.
   * What is called on the store inside (same asynchronous context) is part of it; `tx` is the store itself. A throw
   * undoes everything and is passed through; inside another transaction it undoes this part alone.
   * @param options `timeoutMs: 0` does not wait for the lock
   * @throws what the callback throws, the errors of `PsLock#exclusive`, StoreIoError when it cannot be written,
   * ConflictError with `retry`, the signal's reason where it was aborted before the end
   */
  transaction<T>(run: (tx: this) => T, options?: TransactionOptions): Promise<Awaited<T>>
  /**
   * Several reads of one state, while other processes write on. Other calls on this store object wait meanwhile. `tx` is the
   * store without what could change it.
   * @throws TransactionError for a write inside
   */
  view<T>(run: (tx: V & InView<V> & Own<this, Base>) => T, options?: AcquireOptions): Promise<Awaited<T>>
  /**
   * A transaction that is always undone, for tests: what the code inside does, transactions included, leaves no trace.
   * @throws what the callback throws
   */
  rollbackAfter<T>(run: (tx: this) => T, options?: AcquireOptions): Promise<Awaited<T>>
}

/** `Transactions` of a store whose calls are synchronous: they return at once what the callback returns, no promise. */
export interface SyncTransactions<V = unknown, Base = never> {
  /** @throws TypeError where the callback returns a promise; else as `Transactions` */
  transaction<T>(run: (tx: this) => T, options?: AcquireOptions): T
  view<T>(run: (tx: V & InSyncView<V> & Own<this, Base>) => T, options?: AcquireOptions): T
  rollbackAfter<T>(run: (tx: this) => T, options?: AcquireOptions): T
}

export interface Lockable {
  /** The store's lock, for work of your own: calls on the store inside `lock.exclusive(...)` join it. */
  readonly lock: PsLock
  /**
   * Tells the hook of every operation of this store object from now on: `{ before, after }`, or `throttle(...)`.
   * @returns what takes the hook out again
   * @throws TypeError for what is no hook, and where the store is in memory only
   */
  use(hook: Hook): () => void
  /**
   * Waits for what was issued and closes the files. Not calling it does no harm.
   * @param options `{ remove: true }` also removes the lock file, unless somebody else uses it: see `PsLock#close`
   */
  close(options?: CloseOptions): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What a locked store has besides the store's own members. Its type parameters are those of `Transactions`. */
export interface LockedMembers<V = unknown, Base = never> extends Lockable, Transactions<V, Base>, Dumps {
  /**
   * A table of records with declared fields in this store; it need not exist yet. Nothing is read or written by this.
   * @typeParam R the fields of its records
   * @typeParam D those of them that have a default, which `insert` may leave out
   * @throws TypeError for a name that not every store could keep, or a store whose adapter declares no `rows`;
   * TransactionError where the store is in memory only
   */
  table<R extends object, D extends keyof R = never>(name: string): Table<R, D>
}

/** What a locked store has whose calls are synchronous. */
export interface LockedSyncMembers<V = unknown, Base = never>
  extends Lockable,
    SyncTransactions<V, Base>,
    Dumps {}

/** What nobody may change, down to its last member: what a tree is in a view. */
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
 * What the callback of `view` is given by a store of type D: `ViewOf<typeof db>`, for functions that only look. They take the
 * store itself, too.
 */
export type ViewOf<D> = D extends { view(run: (tx: infer V) => unknown): unknown } ? V : never
