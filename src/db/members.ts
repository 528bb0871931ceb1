import { type CloseOptions, removes } from '../lock/options.ts'
import type { PsLock } from '../lock/ps-lock.ts'
import { type Dumps, withoutFile } from './dump/dumps.ts'
import type { Hook } from './hooks/hook.ts'
import { noTables, type StoreTables } from './table/tables.ts'
import type { Table } from './table/types.ts'
import {
  memoryOnly,
  memoryOnlySync,
  type SyncTransactions,
  syncTransactions,
  type Transactions,
  type TransactionsOf,
  transactions,
} from './transaction.ts'

interface Lockable {
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

/** Those that a store has however its transactions are called. */
export interface OpenedMembers extends Dumps {
  readonly lock: PsLock
  use(hook: Hook): () => void
  close(options?: CloseOptions): Promise<void>
}

/** The members of one store object; what its methods are, the classes of the stores declare. */
export interface Members extends Omit<OpenedMembers, 'lock'> {
  readonly lock?: PsLock
  readonly transaction: unknown
  readonly view: unknown
  readonly rollbackAfter: unknown
  readonly table?: unknown
}

/** All of them, where its transactions are `doors`. */
export function allMembers<S>(
  members: OpenedMembers,
  tables: StoreTables<S>,
  doors: TransactionsOf<S>,
): Members {
  return { ...members, ...doors, table: (name: string) => tables(name, doors) }
}

/** Of a store without a file: there is no lock, and nothing that brings its memory back. */
const inMemory: Members = {
  ...transactions(memoryOnly, () => undefined),
  ...withoutFile,
  use: () => {
    throw new TypeError('a store in memory only has no hooks: give it a file')
  },
  table: noTables,
  close: async (options: CloseOptions = {}) => void removes(options),
}

export const inMemorySync: Members = { ...inMemory, ...syncTransactions(memoryOnlySync, () => undefined) }

const METHODS = ['transaction', 'view', 'rollbackAfter', 'dump', 'restore', 'use', 'close'] as const

// biome-ignore lint/suspicious/noExplicitAny: TypeScript asks this of the constructor of a mixin
type Class = abstract new (...args: any[]) => object

const given = new WeakMap<object, Members>()

/** Gives a store object of a class made by `withMembers` its members. */
export function giveMembers(store: object, members: Members): void {
  given.set(store, members)
}

/** A class of stores that have the members of a locked store: those that the object was given. */
export function withMembers<B extends Class>(Base: B): B {
  return mixed(Base, [...METHODS, 'table'])
}

/** As `withMembers`, for stores whose calls are synchronous. */
export function withSyncMembers<B extends Class>(Base: B): B {
  return mixed(Base, METHODS)
}

function mixed<B extends Class>(Base: B, methods: readonly (keyof Members)[]): B {
  abstract class WithMembers extends Base {
    get lock(): PsLock | undefined {
      return given.get(this)?.lock
    }

    // Its own `close`, which may be that of a subclass.
    async [Symbol.asyncDispose](): Promise<void> {
      await (this as unknown as Lockable).close()
    }
  }
  for (const name of methods) {
    Object.defineProperty(WithMembers.prototype, name, {
      configurable: true,
      writable: true,
      value(this: object, ...args: unknown[]) {
        const { [name]: method } = given.get(this) ?? inMemory
        return Reflect.apply(method as (...args: unknown[]) => unknown, undefined, args)
      },
    })
  }
  return WithMembers
}
