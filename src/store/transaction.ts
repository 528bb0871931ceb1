import {
  isThenable,
  type OptionNames,
  optionNames,
  requireFunction,
  requireKnown,
  requireThat,
} from '../arguments.ts'
import { ConflictError } from '../errors.ts'
import { ACQUIRE_NAMES, type AcquireOptions } from '../lock/options.ts'
import type { BlockingTreeSession } from './adapter.ts'
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

const TRANSACTION_NAMES: OptionNames = optionNames<Pick<TransactionOptions, 'retry'>>(
  { retry: true },
  ACQUIRE_NAMES,
)

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

type Verb<S, O = AcquireOptions> = <T>(run: (tx: S) => T, options?: O) => Promise<Awaited<T>>
type SyncVerb<S> = <T>(run: (tx: S) => T, options?: AcquireOptions) => T

/** The members of a store whose callbacks are given an S: see `Transactions` in src/members.ts. */
export interface TransactionsOf<S> {
  readonly transaction: Verb<S, TransactionOptions>
  readonly view: Verb<S>
  readonly rollbackAfter: Verb<S>
}

/** @param tx what the callback gets */
export function transactions<M, S>(kind: Transacting<M>, tx: (memory: M) => S): TransactionsOf<S> {
  const transaction = async <T>(run: (tx: S) => T, options: TransactionOptions = {}): Promise<Awaited<T>> => {
    requireCall('transaction', run, options, TRANSACTION_NAMES)
    const { retry, signal } = options
    const isCount = retry === undefined || (Number.isInteger(retry) && retry >= 0)
    requireThat(isCount, 'retry must be a whole number from 0 up', retry)
    for (let left = retry ?? 0; ; left--) {
      try {
        return await kind.transact(async (memory) => {
          const value = await run(tx(memory))
          if (signal?.aborted) throw signal.reason
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
      requireCall('view', run, options)
      return kind.look((memory) => run(tx(memory)), options)
    },
    rollbackAfter: async <T>(run: (tx: S) => T, options: AcquireOptions = {}): Promise<Awaited<T>> => {
      requireCall('rollbackAfter', run, options)
      const undo = new Error('undone on purpose')
      let value: Awaited<T> | undefined
      await transaction(async (store) => {
        value = await run(store)
        throw undo
      }, options).catch((error) => {
        if (error !== undo) throw error
      })
      return value as Awaited<T>
    },
  }
}

/** As `transactions`, for a store whose calls are synchronous: the callbacks must not return promises. */
export function syncTransactions<M, S>(
  kind: Pick<BlockingTreeSession<M>, 'edit' | 'view'>,
  tx: (memory: M) => S,
): { readonly [K in keyof TransactionsOf<S>]: SyncVerb<S> } {
  return {
    transaction: (run, options = {}) => {
      requireCall('transaction', run, options)
      return kind.edit((memory) => run(tx(memory)), options)
    },
    view: (run, options = {}) => {
      requireCall('view', run, options)
      return kind.view((memory) => run(tx(memory)), options)
    },
    rollbackAfter: <T>(run: (tx: S) => T, options: AcquireOptions = {}): T => {
      requireCall('rollbackAfter', run, options)
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

function requireCall(name: string, run: unknown, options: object, known = ACQUIRE_NAMES): void {
  requireFunction(run, `${name}(run): run`)
  requireKnown(options, known)
}
