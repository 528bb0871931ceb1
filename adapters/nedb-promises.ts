import { EventEmitter } from 'node:events'
import Vanilla from 'nedb-promises'
import type { StagedCursor } from '../src/features/stages/cursor.ts'
import type { Stage, StageOptions } from '../src/features/stages/stage.ts'
import type { CloseOptions } from '../src/lock/options.ts'
import type { LockedMembers } from '../src/members.ts'
import { giveMembers, openLog, withMembers } from '../src/open.ts'
import type { LogAdapter, StoreCursor } from '../src/store/adapter.ts'
import type { LogOptions } from '../src/store/options.ts'
import { callListener } from '../src/store/scope.ts'
import { autoload, load, nedbAdapter, nedbRows, onceLoaded } from './nedb/attach.ts'
import { type Doc, type Nedb, type Query, vanillaPrototype } from './nedb/internals.ts'
import { attached } from './nedb/locked.ts'
import { optionsOf } from './nedb/option-names.ts'
import { nedbStaging, unmarked, unmarkedUpdate } from './nedb/staging.ts'
import type { DatastoreOptions, Datastore as VanillaDatastore } from './nedb-promises/vanilla.cjs'

/** The options of nedb-promises, and those of pslock. */
export interface LockedDatastoreOptions extends DatastoreOptions, LogOptions {}

/** What every document has besides its own fields. */
export interface StoredId {
  _id: string
}

/** A `Datastore` of nedb-promises that any number of processes may open. It also has the members of NeDB itself. */
export interface LockedDatastore<Doc = StoredId>
  extends VanillaDatastore<Doc>,
    LockedMembers<Pick<VanillaDatastore<Doc>, DatastoreReads>, LockedDatastore<Doc>> {
  stage(id: string, options?: StageOptions): Promise<DatastoreStage<Doc, this>>
}

/** A stage with the methods of nedb-promises. Its cursors sort and take a part; the fields to be left out are given to `find`. */
export interface DatastoreStage<Doc, S = LockedDatastore<Doc>>
  extends Stage<S>,
    Pick<VanillaDatastore<Doc>, 'insert' | 'update' | 'remove'> {
  find(...args: Parameters<VanillaDatastore<Doc>['find']>): StagedCursor<Doc[]>
  findOne(...args: Parameters<VanillaDatastore<Doc>['findOne']>): StagedCursor<Doc | null>
  count(...args: Parameters<VanillaDatastore<Doc>['count']>): Promise<number>
}

type DatastoreReads = 'load' | 'find' | 'findOne' | 'count'

interface LockedDatastoreClass {
  new <Doc = StoredId>(pathOrOptions?: string | LockedDatastoreOptions): LockedDatastore<Doc>
  create(
    options: LockedDatastoreOptions & { timestampData: true },
  ): LockedDatastore<StoredId & { createdAt: Date; updatedAt: Date }>
  create<Doc = StoredId>(pathOrOptions?: string | LockedDatastoreOptions): LockedDatastore<Doc>
  readonly prototype: LockedDatastore
}

/** The parts of nedb-promises that the adapter touches. */
interface Promises {
  __original: Nedb
  __loaded: Promise<unknown> | null
  load(): Promise<unknown>
  ensureIndex(options: unknown): Promise<void>
  removeIndex(field: unknown): Promise<void>
  insert(docs: Doc): Promise<unknown>
  update(query: Query, update: Doc, options?: object): Promise<unknown>
  remove(query: Query, options: object): Promise<unknown>
  find(query: Query, projection: object): StoreCursor
  findOne(query: Query, projection: object): StoreCursor
  count(query: Query): PromiseLike<unknown>
  broadcastSuccess(operation: string, ...args: unknown[]): this
  broadcastError(operation: string, ...args: unknown[]): this
}

type Onload = ((error: Error | null) => unknown) | undefined

const Datastore = Vanilla as unknown as new (options?: unknown) => Promises

const adapter: LogAdapter<Promises, DatastoreReads> = {
  family: 'log',
  name: 'nedb-promises',
  rows: nedbRows((store) => store.__original),
  staging: nedbStaging(
    (store) => store.__original,
    {
      insert: (tx, doc) => tx.insert(doc),
      update: (tx, _id, doc) => tx.update({ _id }, doc),
      remove: (tx, _id) => tx.remove({ _id }, {}),
    },
    {
      edits: {
        insert: (tx, docs: Doc) => tx.insert(docs),
        update: (tx, query: Query, update: Doc, options: object = {}) =>
          tx.update(unmarkedUpdate(query, options), update, options),
        remove: (tx, query: Query, options: object = {}) => tx.remove(unmarked(query), options),
      },
      looks: {
        count: (tx, query: Query = {}) => tx.count(unmarked(query)),
      },
      cursors: {
        find: (tx, query: Query = {}, projection: object = {}) => tx.find(unmarked(query), projection),
        findOne: (tx, query: Query = {}, projection: object = {}) => tx.findOne(unmarked(query), projection),
      },
    },
  ),
  attach: (store, session) => nedbAdapter.attach(store.__original, session),
  transacting: (store) => onceLoaded(store.__original, () => store.load()),
}

// biome-ignore lint/suspicious/noExplicitAny: a store of whatever documents
type AnyDatastore = Vanilla<any>

/** `nedb-promises` for `LockedDb`: a layer of promises over NeDB. All of its operations go through NeDB's executor. */
export const nedbPromisesAdapter: LogAdapter<AnyDatastore, DatastoreReads> =
  adapter as object as typeof nedbPromisesAdapter

const Lockable = withMembers(Datastore) as new (options: unknown) => Promises & LockedMembers

/** NeDB's own data members; its methods are found on its prototype. */
const DATA = [
  'autoload',
  'autoloadPromise',
  'compareStrings',
  'executor',
  'filename',
  'inMemoryOnly',
  'indexes',
  'persistence',
  'timestampData',
  'ttlIndexes',
  '_autocompactionIntervalId',
]

class LockedDatastoreStore extends Lockable {
  static create(
    pathOrOptions?: string | LockedDatastoreOptions,
    ...more: readonly unknown[]
  ): LockedDatastoreStore {
    return new this(pathOrOptions, ...more)
  }

  constructor(pathOrOptions?: string | LockedDatastoreOptions, ...more: readonly unknown[]) {
    const options: LockedDatastoreOptions = optionsOf(pathOrOptions, more)
    super({ ...options, autoload: false })
    const nedb = this.__original
    nedb.autoload = options.autoload ?? false
    if (!nedb.inMemoryOnly && nedb.filename !== null) {
      giveMembers(this, openLog<Promises>(this, adapter, nedb.filename, options).members(this))
    }
    if (!options.autoload) return
    const loading = this.load().then(() => {})
    nedb.autoloadPromise = loading
    autoload(nedb, loading, options.onload as Onload)
  }

  /** Loads once, without compacting the file. The library remembers a failure for ever; here the next call tries again. */
  override load(): Promise<unknown> {
    const nedb = this.__original
    this.__loaded ??= (attached.has(nedb) ? load(nedb) : nedb.loadDatabaseAsync()).then(
      () => this.broadcastSuccess('load'),
      (error: unknown) => {
        this.__loaded = null
        this.broadcastError('load', error)
        throw error
      },
    )
    return this.__loaded
  }

  /** The library does not wait for the load here: it checks uniqueness against an empty memory and damages the file. */
  override async ensureIndex(options: unknown): Promise<void> {
    await this.load()
    return super.ensureIndex(options)
  }

  override async removeIndex(field: unknown): Promise<void> {
    await this.load()
    return super.removeIndex(field)
  }

  /** Inside a transaction the listeners hear of it when it is committed, and never of what was undone. */
  override broadcastSuccess(operation: string, ...args: unknown[]): this {
    const tell = () => super.broadcastSuccess(operation, ...args)
    const session = attached.get(this.__original)?.session
    if (session?.isInside) session.afterwards(tell)
    else tell()
    return this
  }

  /** At once, but as no part of the transaction that it happens in. */
  override broadcastError(operation: string, ...args: unknown[]): this {
    const tell = () => super.broadcastError(operation, ...args)
    if (attached.get(this.__original)?.session.isInside) callListener(tell)
    else tell()
    return this
  }

  override async close(options?: CloseOptions): Promise<void> {
    this.__original.stopAutocompaction()
    await super.close(options)
  }
}

forwardMembers(LockedDatastoreStore.prototype, vanillaPrototype(new Datastore().__original))

/**
 * Makes the members of the NeDB store below reachable on the promise layer, as nedb-promises does through a Proxy. That
 * Proxy loses falsy values, calls methods with itself as `this` and throws when something falsy is assigned; accessors
 * on the prototype do none of that, and `new` has them too.
 * @param vanilla the prototype of the stores below
 */
function forwardMembers(prototype: object, vanilla: object): void {
  const methods = Object.getOwnPropertyNames(vanilla)
  for (const name of [...DATA, ...methods]) {
    if (name in prototype || name in EventEmitter.prototype) continue
    Object.defineProperty(prototype, name, {
      configurable: true,
      get(this: { __original: Nedb }) {
        const value: unknown = Reflect.get(this.__original, name)
        return typeof value === 'function' && methods.includes(name) ? value.bind(this.__original) : value
      },
      set(this: { __original: Nedb }, value: unknown) {
        Reflect.set(this.__original, name, value)
      },
    })
  }
}

/**
 * Use it instead of `Datastore` of nedb-promises: `LockedDatastore.create(pathOrOptions)` or `new`, with the same API and
 * events. A store without `filename` works as before, in memory and without a lock.
 *
 * Operations reject with the errors of `PsLock#exclusive`, CorruptStoreError, StoreIoError and the errors of NeDB.
 * @throws TypeError for wrong options
 */
export const LockedDatastore: LockedDatastoreClass = LockedDatastoreStore as unknown as LockedDatastoreClass
