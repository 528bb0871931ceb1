import {
  isThenable,
  type OptionNames,
  optionNames,
  requireFunction,
  requireKnown,
  show,
} from '../arguments.ts'
import { ConflictError, TransactionError } from '../errors.ts'
import type { Table } from '../features/tables/types.ts'
import type { PsLock } from '../lock/lock.ts'
import { ACQUIRE_NAMES, type AcquireOptions } from '../lock/options.ts'
import type { Pipeline } from './pipeline.ts'

export interface TransactionOptions extends AcquireOptions {
  /**
   * Do not hold the lock while the callback runs: it works on the state it found, and its changes are written only if
   * nobody else has written meanwhile; else they are undone and it runs anew, so many times at most, and then the
   * transaction is a ConflictError.
   * @default the lock is held while the callback runs, and there is no conflict
   */
  readonly retry?: number | undefined
}

const TRANSACTION_NAMES: OptionNames = optionNames<TransactionOptions>({
  timeoutMs: true,
  signal: true,
  join: true,
  retry: true,
})

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

/** How a kind of store runs the user's code as one operation; `memory` is what the callback works on. */
export interface Transacting<M> {
  transact<T>(run: (memory: M) => T, options: TransactionOptions): Promise<Awaited<T>>
  look<T>(run: (memory: M) => T, options: AcquireOptions): Promise<Awaited<T>>
}

/** Stores whose memory is inside the store object: the callback works on the store itself. */
export function transacting(queue: Pipeline): Transacting<void> {
  return {
    transact: (run, { retry, ...options }) =>
      queue.push('exclusive', run, { ...options, kind: retry === undefined ? 'transaction' : 'optimistic' }),
    look: (run, options) => queue.push('shared', run, { ...options, kind: 'view' }),
  }
}

/** `Transactions` of a store of type S. */
export interface TransactionsOf<S> {
  transaction<T>(run: (tx: S) => T, options?: TransactionOptions): Promise<Awaited<T>>
  view<T>(run: (tx: S) => T, options?: AcquireOptions): Promise<Awaited<T>>
  rollbackAfter<T>(run: (tx: S) => T, options?: AcquireOptions): Promise<Awaited<T>>
}

/** The three doors of a store, over what its kind offers. @param tx what the callback is given */
export function transactions<M, S>(kind: Transacting<M>, tx: (memory: M) => S): TransactionsOf<S> {
  const transaction = async <T>(run: (tx: S) => T, options: TransactionOptions = {}): Promise<Awaited<T>> => {
    requireFunction(run, 'transaction(run): run')
    requireKnown(options, TRANSACTION_NAMES)
    requireRetry(options.retry)
    for (let left = options.retry ?? 0; ; left--) {
      try {
        return await kind.transact(async (memory) => {
          const value = await run(tx(memory))
          if (options.signal?.aborted) throw options.signal.reason
          return value
        }, options)
      } catch (error) {
        if (!(error instanceof ConflictError) || left <= 0) throw error
      }
    }
  }
  return {
    transaction,
    view: async <T>(run: (tx: S) => T, options: AcquireOptions = {}): Promise<Awaited<T>> => {
      requireFunction(run, 'view(run): run')
      requireKnown(options, ACQUIRE_NAMES)
      return kind.look((memory) => run(tx(memory)), options)
    },
    rollbackAfter: async <T>(run: (tx: S) => T, options: AcquireOptions = {}): Promise<Awaited<T>> => {
      requireFunction(run, 'rollbackAfter(run): run')
      requireKnown(options, ACQUIRE_NAMES)
      const undo = new Error('undone on purpose')
      const done: { value?: Awaited<T> } = {}
      await transaction(async (store) => {
        done.value = await run(store)
        throw undo
      }, options).catch((error) => {
        if (error !== undo) throw error
      })
      return done.value as Awaited<T>
    },
  }
}

/** `Transactions` of a store whose calls are synchronous: they return at once what the callback returns, no promise. */
export interface SyncTransactions<V = unknown, Base = never> {
  /** @throws TypeError where the callback returns a promise; else as `Transactions` */
  transaction<T>(run: (tx: this) => T, options?: AcquireOptions): T
  view<T>(run: (tx: V & InSyncView<V> & Own<this, Base>) => T, options?: AcquireOptions): T
  rollbackAfter<T>(run: (tx: this) => T, options?: AcquireOptions): T
}

/** `SyncTransactions` of a store of type S. */
export interface SyncTransactionsOf<S> {
  transaction<T>(run: (tx: S) => T, options?: AcquireOptions): T
  view<T>(run: (tx: S) => T, options?: AcquireOptions): T
  rollbackAfter<T>(run: (tx: S) => T, options?: AcquireOptions): T
}

/** What a kind of store whose calls are synchronous offers for it. */
export interface BlockingTransacting<M> {
  edit<T>(run: (memory: M) => T, options: AcquireOptions): T
  view<T>(run: (memory: M) => T, options: AcquireOptions): T
}

/** As `transactions`; the callbacks must not return promises. */
export function syncTransactions<M, S>(
  kind: BlockingTransacting<M>,
  tx: (memory: M) => S,
): SyncTransactionsOf<S> {
  return {
    transaction: (run, options = {}) => {
      requireFunction(run, 'transaction(run): run')
      requireKnown(options, ACQUIRE_NAMES)
      return kind.edit((memory) => run(tx(memory)), options)
    },
    view: (run, options = {}) => {
      requireFunction(run, 'view(run): run')
      requireKnown(options, ACQUIRE_NAMES)
      return kind.view((memory) => run(tx(memory)), options)
    },
    rollbackAfter: <T>(run: (tx: S) => T, options: AcquireOptions = {}): T => {
      requireFunction(run, 'rollbackAfter(run): run')
      requireKnown(options, ACQUIRE_NAMES)
      const undo = new Error('undone on purpose')
      let value: T | undefined
      try {
        kind.edit((memory) => {
          value = run(tx(memory))
          // A promise is refused there.
          if (isThenable(value)) return value
          throw undo
        }, options)
      } catch (error) {
        if (error !== undo) throw error
      }
      return value as T
    },
  }
}

/** For a store without a file: there is no lock, and nothing that brings its memory back. */
export const memoryOnly: Transacting<never> = {
  transact: () => Promise.reject(inMemory()),
  look: () => Promise.reject(inMemory()),
}

export const memoryOnlySync: BlockingTransacting<never> = {
  edit: () => {
    throw inMemory()
  },
  view: () => {
    throw inMemory()
  },
}

function inMemory(): TransactionError {
  return new TransactionError('a store in memory only has no transactions: give it a file', {
    path: ':memory:',
  })
}

function requireRetry(retry: unknown): void {
  if (retry === undefined || (Number.isInteger(retry) && Number(retry) >= 0)) return
  throw new TypeError(`retry must be a whole number from 0 up, got ${show(retry)}`)
}

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
