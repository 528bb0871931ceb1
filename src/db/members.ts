import type { PsLock } from '../lock/ps-lock.ts'
import { type Dumps, withoutFile } from './dump/dumps.ts'
import type { Hook } from './hooks/hook.ts'
import {
  memoryOnly,
  memoryOnlySync,
  type SyncTransactions,
  syncTransactions,
  type Transactions,
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
  /** Waits for what was issued and closes the files. Not calling it does no harm. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What a locked store has besides the store's own members. */
export interface LockedMembers extends Lockable, Transactions, Dumps {}

/** What a locked store has whose calls are synchronous. */
export interface LockedSyncMembers extends Lockable, SyncTransactions, Dumps {}

/** Those that a store has however its transactions are called. */
export interface OpenedMembers extends Dumps {
  readonly lock: PsLock
  use(hook: Hook): () => void
  close(): Promise<void>
}

/** The members of one store object; what its methods are, the classes of the stores declare. */
export interface Members extends Omit<OpenedMembers, 'lock'> {
  readonly lock?: PsLock
  readonly transaction: unknown
  readonly view: unknown
  readonly rollbackAfter: unknown
}

/** Of a store without a file: there is no lock, and nothing that brings its memory back. */
const inMemory: Members = {
  ...transactions(memoryOnly, () => undefined),
  ...withoutFile,
  use: () => {
    throw new TypeError('a store in memory only has no hooks: give it a file')
  },
  close: () => Promise.resolve(),
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
  abstract class WithMembers extends Base {
    get lock(): PsLock | undefined {
      return given.get(this)?.lock
    }

    // Its own `close`, which may be that of a subclass.
    async [Symbol.asyncDispose](): Promise<void> {
      await (this as unknown as Lockable).close()
    }
  }
  for (const name of METHODS) {
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
