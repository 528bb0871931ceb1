import Vanilla from '@seald-io/nedb'
import type { CloseOptions } from '../src/lock/options.ts'
import { allMembers, giveMembers, type LockedMembers, openLog, withMembers } from '../src/locked-db.ts'
import type { LogAdapter } from '../src/store/adapter.ts'
import type { LogOptions } from '../src/store/options.ts'
import { transactions } from '../src/store/transaction.ts'
import {
  nedbAdapter as adapter,
  autoload,
  load,
  markLocked,
  type NedbReads,
  onceLoaded,
} from './nedb/attach.ts'
import type { Nedb } from './nedb/internals.ts'
import { locked } from './nedb/locked.ts'
import { requireKnownToNedb, requireOneArgument } from './nedb/option-names.ts'
import type { DatastoreOptions, Datastore as VanillaDatastore } from './nedb/vanilla.cjs'

// biome-ignore lint/suspicious/noExplicitAny: a store of whatever documents
type AnyNedb = VanillaDatastore<any>

/**
 * `@seald-io/nedb`, for `LockedDb`: an append log of documents, all of whose operations pass its executor. What it
 * works on is not in the library's own types.
 */
export const nedbAdapter: LogAdapter<AnyNedb, NedbReads> = adapter as object as typeof nedbAdapter

/** The options of @seald-io/nedb's Datastore, and pslock's. */
export interface LockedNedbOptions extends DatastoreOptions, LogOptions {}

/** What of it a view has. */
type Reading<Schema> = Pick<VanillaDatastore<Schema>, NedbReads>

/** A @seald-io/nedb Datastore that any number of processes may open. */
export interface LockedNedb<Schema = Record<string, unknown>>
  extends VanillaDatastore<Schema>,
    LockedMembers<Reading<Schema>, LockedNedb<Schema>> {}

interface LockedNedbClass {
  new <Schema = Record<string, unknown>>(options?: string | LockedNedbOptions): LockedNedb<Schema>
  readonly prototype: LockedNedb
}

/** The library's constructor as CommonJS gives it: its types know only a default export. */
const Datastore = Vanilla as unknown as new (options: unknown) => Nedb

const Lockable = withMembers(markLocked(locked(Datastore))) as new (options: unknown) => Nedb & LockedMembers

class LockedNedbStore extends Lockable {
  constructor(pathOrOptions?: string | LockedNedbOptions, ...more: readonly unknown[]) {
    requireOneArgument(more)
    const options: LockedNedbOptions =
      typeof pathOrOptions === 'string' ? { filename: pathOrOptions } : (pathOrOptions ?? {})
    requireKnownToNedb(options)
    super({ ...options, autoload: false })
    this.autoload = options.autoload ?? false
    if (!this.inMemoryOnly && this.filename !== null) {
      const { members, tables } = openLog<Nedb>(this, adapter, this.filename, options)
      const doors = transactions<void, Nedb>(onceLoaded(this), () => this)
      giveMembers(this, allMembers(members, tables, doors))
    }
    if (!this.autoload) return
    this.autoloadPromise = this.lock ? load(this, options.onload !== undefined) : super.loadDatabaseAsync()
    autoload(this, this.autoloadPromise, options.onload)
  }

  override async close(options?: CloseOptions): Promise<void> {
    this.stopAutocompaction()
    await super.close(options)
  }
}

/**
 * Swap it for `Datastore` of @seald-io/nedb: same constructor options, same API, callbacks and promises. A store
 * without `filename` works as before, in memory.
 * @throws TypeError for wrong options; operations reject with the errors of `PsLock#exclusive`, CorruptStoreError and
 * StoreIoError besides NeDB's own
 */
export const LockedNedb: LockedNedbClass = LockedNedbStore as unknown as LockedNedbClass
