import Vanilla from '@seald-io/nedb'
import type { StagedCursor } from '../src/features/stages/cursor.ts'
import type { Stage, StageOptions } from '../src/features/stages/stage.ts'
import type { CloseOptions } from '../src/lock/options.ts'
import type { LockedMembers } from '../src/members.ts'
import { giveMembers, openLog, withMembers } from '../src/open.ts'
import type { LogAdapter } from '../src/store/adapter.ts'
import type { LogOptions } from '../src/store/options.ts'
import { nedbAdapter as adapter, autoload, load, type NedbReads } from './nedb/attach.ts'
import type { Nedb } from './nedb/internals.ts'
import { attached, locked } from './nedb/locked.ts'
import { optionsOf } from './nedb/option-names.ts'
import type { DatastoreOptions, Datastore as VanillaDatastore } from './nedb/vanilla.cjs'

// biome-ignore lint/suspicious/noExplicitAny: a store of whatever documents
type AnyNedb = VanillaDatastore<any>

/**
 * `@seald-io/nedb` for `LockedDb`: an append log of documents. All of its operations go through its executor.
 */
export const nedbAdapter: LogAdapter<AnyNedb, NedbReads> = adapter as object as typeof nedbAdapter

/** The options of @seald-io/nedb's `Datastore`, and those of pslock. */
export interface LockedNedbOptions extends DatastoreOptions, LogOptions {}

/** What of it a view has. */
type Reading<Schema> = Pick<VanillaDatastore<Schema>, NedbReads>

/** A `Datastore` of @seald-io/nedb that any number of processes may open. */
export interface LockedNedb<Schema = Record<string, unknown>>
  extends VanillaDatastore<Schema>,
    LockedMembers<Reading<Schema>, LockedNedb<Schema>> {
  stage(id: string, options?: StageOptions): Promise<NedbStage<Schema, this>>
}

/** A stage with the methods of NeDB, which return promises. Its cursors sort and take a part; a projection is given to `find`. */
export interface NedbStage<Schema, S = LockedNedb<Schema>> extends Stage<S> {
  insert: VanillaDatastore<Schema>['insertAsync']
  update: VanillaDatastore<Schema>['updateAsync']
  remove(...args: Partial<Parameters<VanillaDatastore<Schema>['removeAsync']>>): Promise<number>
  find<T extends Schema = Schema>(
    ...args: Partial<Parameters<VanillaDatastore<Schema>['findAsync']>>
  ): StagedCursor<(T & { _id: string })[]>
  findOne<T extends Schema = Schema>(
    ...args: Partial<Parameters<VanillaDatastore<Schema>['findOneAsync']>>
  ): StagedCursor<(T & { _id: string }) | null>
  count(...args: Partial<Parameters<VanillaDatastore<Schema>['countAsync']>>): Promise<number>
}

interface LockedNedbClass {
  new <Schema = Record<string, unknown>>(options?: string | LockedNedbOptions): LockedNedb<Schema>
  readonly prototype: LockedNedb
}

/** The library's constructor as CommonJS gives it: its types know only a default export. */
const Datastore = Vanilla as unknown as new (options: unknown) => Nedb

const Lockable = withMembers(locked(Datastore)) as new (options: unknown) => Nedb & LockedMembers

class LockedNedbStore extends Lockable {
  constructor(pathOrOptions?: string | LockedNedbOptions, ...more: readonly unknown[]) {
    const options: LockedNedbOptions = optionsOf(pathOrOptions, more)
    super({ ...options, autoload: false })
    this.autoload = options.autoload ?? false
    if (!this.inMemoryOnly && this.filename !== null) {
      giveMembers(this, openLog<Nedb>(this, adapter, this.filename, options).members(this))
    }
    if (!this.autoload) return
    this.autoloadPromise = attached.has(this)
      ? load(this, options.onload !== undefined)
      : super.loadDatabaseAsync()
    autoload(this, this.autoloadPromise, options.onload)
  }

  override async close(options?: CloseOptions): Promise<void> {
    this.stopAutocompaction()
    await super.close(options)
  }
}

/**
 * Use it instead of `Datastore` of @seald-io/nedb: the same constructor options, and the same API with callbacks and
 * promises. A store without `filename` works as before, in memory and without a lock.
 *
 * Operations reject with the errors of `PsLock#exclusive`, CorruptStoreError, StoreIoError and the errors of NeDB.
 * @throws TypeError for wrong options
 */
export const LockedNedb: LockedNedbClass = LockedNedbStore as unknown as LockedNedbClass
