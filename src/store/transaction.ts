import {
  isThenable,
  type OptionNames,
  optionNames,
  requireFunction,
  requireKnown,
  show,
} from '../arguments.ts'
import { ConflictError, TransactionError } from '../errors.ts'
import { ACQUIRE_NAMES, type AcquireOptions } from '../lock/options.ts'
import type { Pipeline } from './pipeline.ts'

export interface TransactionOptions extends AcquireOptions {
  /**
   * Runs the callback without the lock, on the state that it finds. The changes are written only if nobody else has
   * written to the file meanwhile. Otherwise they are undone and the callback runs again, at most so many times; after
   * that the transaction rejects with ConflictError.
   * @default undefined: the lock is held while the callback runs, and there is no conflict
   */
  readonly retry?: number | undefined
}

const TRANSACTION_NAMES: OptionNames = optionNames<TransactionOptions>({
  timeoutMs: true,
  signal: true,
  join: true,
  retry: true,
})

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

/** `transaction`, `view` and `rollbackAfter` of a store. @param tx what the callback gets */
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
