import type Vanilla from '@seald-io/nedb'
import { type DumpOptions, type Dumps, withoutFile } from '../src/db/dump/dumps.ts'
import { type LockedMembers, openLog } from '../src/db/locked-db.ts'
import type { StoreOptions } from '../src/db/options.ts'
import {
  memoryOnly,
  type TransactionOptions,
  type TransactionsOf,
  transactions,
} from '../src/db/transaction.ts'
import type { AcquireOptions } from '../src/lock/options.ts'
import type { PsLock } from '../src/lock/ps-lock.ts'
import { load, makeFolder, markLocked, nedbAdapter, onceLoaded } from './nedb/attach.ts'
import { fromNedb, type Nedb } from './nedb/internals.ts'
import { locked } from './nedb/locked.ts'

export { nedbAdapter }

/** The options of @seald-io/nedb's Datastore, and pslock's. */
export interface LockedNedbOptions extends Vanilla.default.DataStoreOptions, StoreOptions {}

/** A @seald-io/nedb Datastore that any number of processes may open. */
export interface LockedNedb<Schema = Record<string, unknown>>
  extends Vanilla.default<Schema>,
    LockedMembers {}

interface LockedNedbClass {
  new <Schema = Record<string, unknown>>(options?: string | LockedNedbOptions): LockedNedb<Schema>
  readonly prototype: LockedNedb
}

const Datastore = fromNedb('') as new (options: unknown) => Nedb

class LockedNedbStore extends markLocked(locked(Datastore)) {
  readonly lock: PsLock | undefined
  readonly #close: (() => Promise<void>) | undefined
  readonly #dumps: Dumps = withoutFile

  constructor(pathOrOptions?: string | LockedNedbOptions) {
    const options: LockedNedbOptions =
      typeof pathOrOptions === 'string' ? { filename: pathOrOptions } : (pathOrOptions ?? {})
    super({ ...options, autoload: false })
    this.autoload = options.autoload ?? false
    if (!this.inMemoryOnly && this.filename !== null) {
      const opened = openLog<Nedb>(this, nedbAdapter, this.filename, options)
      this.lock = opened.lock
      this.#close = opened.close
      this.#dumps = opened
    }
    if (this.autoload) this.autoloadPromise = this.#autoload(options.onload)
  }

  override async loadDatabaseAsync(): Promise<void> {
    if (!this.lock) return super.loadDatabaseAsync()
    makeFolder(this)
    await super.loadDatabaseAsync()
  }

  transaction<T>(run: (tx: this) => T, options?: TransactionOptions): Promise<Awaited<T>> {
    return this.#doors.transaction(run, options)
  }

  view<T>(run: (tx: this) => T, options?: AcquireOptions): Promise<Awaited<T>> {
    return this.#doors.view(run, options)
  }

  rollbackAfter<T>(run: (tx: this) => T, options?: AcquireOptions): Promise<Awaited<T>> {
    return this.#doors.rollbackAfter(run, options)
  }

  dump(path: string, options?: DumpOptions): Promise<void> {
    return this.#dumps.dump(path, options)
  }

  restore(path: string): Promise<void> {
    return this.#dumps.restore(path)
  }

  async close(): Promise<void> {
    this.stopAutocompaction()
    await this.#close?.()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #doors(): TransactionsOf<this> {
    return transactions(this.lock ? onceLoaded(this) : memoryOnly, () => this)
  }

  /** Vanilla compacts the file here, and crashes the process when that fails. */
  #autoload(onload: LockedNedbOptions['onload']): Promise<void> {
    const loading = this.lock ? load(this, onload !== undefined) : super.loadDatabaseAsync()
    loading.then(
      () => onload?.(null),
      (error: Error) => {
        if (onload) onload(error)
        else
          process.emitWarning(
            `autoload of ${this.filename} failed; every operation will say so: ${error.message}`,
          )
      },
    )
    return loading
  }
}

/**
 * Swap it for `Datastore` of @seald-io/nedb: same constructor options, same API, callbacks and promises. A store
 * without `filename` works as before, in memory.
 * @throws TypeError for wrong options; operations reject with the errors of `PsLock#exclusive`, CorruptStoreError and
 * StoreIoError besides NeDB's own
 */
export const LockedNedb: LockedNedbClass = LockedNedbStore as unknown as LockedNedbClass
