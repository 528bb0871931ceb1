import { errnoOf, harmless } from '../../src/errors.ts'
import type { LogAdapter, TableStorage } from '../../src/store/adapter.ts'
import { isNotPermitted } from '../../src/store/data-file.ts'
import type { Transacting } from '../../src/store/transaction.ts'
import { BeforeLoad, isFileMissing, routeThrough } from './executor.ts'
import { OwnIndexes, settleWhenReached } from './indexes.ts'
import { type Doc, type Nedb, type Query, vanillaPrototype } from './internals.ts'
import { type Attached, attached, isLocked, loading, locked, readIn } from './locked.ts'
import { NedbMemory } from './memory.ts'
import { nedbStaging, unmarked, unmarkedUpdate } from './staging.ts'

/** Prototypes made by `locked()`, one for each class of stores that were attached after their construction. */
const prototypes = new Map<object, object>()

/** What only looks at the store. */
export type NedbReads =
  | 'find'
  | 'findAsync'
  | 'findOne'
  | 'findOneAsync'
  | 'count'
  | 'countAsync'
  | 'getAllData'

/** `@seald-io/nedb`: an append log of documents, all of whose operations go through its executor. */
export const nedbAdapter: LogAdapter<Nedb, NedbReads> = {
  family: 'log',
  name: 'nedb',
  rows: nedbRows((db) => db),
  staging: nedbStaging(
    (db) => db,
    {
      insert: (tx, doc) => tx.insertAsync(doc),
      update: (tx, _id, doc) => tx.updateAsync({ _id }, doc, {}),
      remove: (tx, _id) => tx.removeAsync({ _id }, {}),
    },
    {
      edits: {
        insert: (tx, docs: Doc) => tx.insertAsync(docs),
        update: (tx, query: Query, update: Doc, options: object = {}) =>
          tx.updateAsync(unmarkedUpdate(query, options), update, options),
        remove: (tx, query: Query, options: object = {}) => tx.removeAsync(unmarked(query), options),
      },
      looks: {
        count: (tx, query: Query = {}) => tx.countAsync(unmarked(query)).execAsync(),
      },
      cursors: {
        find: (tx, query: Query = {}, projection: object = {}) => tx.findAsync(unmarked(query), projection),
        findOne: (tx, query: Query = {}, projection: object = {}) =>
          tx.findOneAsync(unmarked(query), projection),
      },
    },
  ),
  attach(db, session) {
    const indexes = new OwnIndexes()
    const inner = settleWhenReached(db, () => memory.reached())
    const memory = new NedbMemory({ db, inner, indexes, session })
    becomeLocked(db)
    const beforeLoad = new BeforeLoad(session, () => load(db))
    const makesIds = db._createNewId === vanillaPrototype(db)._createNewId
    const at: Attached = { session, memory, inner, indexes, beforeLoad, makesIds }
    attached.set(db, at)
    routeThrough(db, memory, at)
    return memory
  },
  transacting: (db) => onceLoaded(db),
}

/** Gives a store that exists already the methods of a locked one. */
function becomeLocked(db: Nedb): void {
  if (isLocked in db) return
  const own = Object.getPrototypeOf(db) as { constructor: new () => Nedb }
  let prototype = prototypes.get(own)
  if (!prototype) {
    prototype = locked(own.constructor).prototype as object
    prototypes.set(own, prototype)
  }
  Object.setPrototypeOf(db, prototype)
}

/**
 * Makes the store usable without compacting its file, and without the lock: whoever holds it for long does not keep others
 * from reading. Folder and file are created where they are missing; the file not
 * beside a holder, but with the first write. What was issued before runs then; should the load fail, it rejects with
 * the same error.
 * @param isTold see `BeforeLoad.during`
 */
export function load(db: Nedb, isTold = false): Promise<void> {
  const read = async () => {
    const session = attached.get(db)?.session
    if (!session) return
    await readIn(session)
    // A file that does not exist is made, and one that ends as a crash has left it is mended, or the unmodified library
    // might refuse it; both unless somebody holds the lock, who is not waited for.
    const isMissing = isFileMissing(session)
    if (isMissing || session.endsTorn) {
      const make = () => {
        if (isMissing) session.create()
      }
      await session.perform('exclusive', make, { timeoutMs: 0, isInternal: true }).catch((error) => {
        // Where nothing can be written the store can still be read.
        if (!isNotPermitted(error) && errnoOf(error) !== 'PSLOCK_TIMEOUT') throw error
      })
    }
    db.executor.processBuffer()
  }
  return loading(db, read, isTold)
}

/** Loads as the constructor does when asked to. A failure is told to `onload`, or is a warning: it ends no process. */
export function autoload(
  db: Nedb,
  loading: Promise<void>,
  onload: ((error: Error | null) => unknown) | undefined,
): void {
  loading.then(
    () => onload?.(null),
    (error) => {
      if (onload) {
        onload(error)
        return
      }
      const { message = String(error), cause } = (error ?? {}) as {
        message?: string
        cause?: { message?: string }
      }
      const more = cause?.message ? ` (${cause.message})` : ''
      process.emitWarning(
        harmless(
          `autoload of ${db.filename} failed; every operation says so, and tries again: ${message}${more}`,
        ),
      )
    },
  )
}

/**
 * Transactions and views of a store: what is asked for before the load runs after it, like every operation.
 * @param load of a store that must be loaded before the first of them: inside of one it would be too late
 */
export function onceLoaded(db: Nedb, load?: () => Promise<unknown>): Transacting<void> {
  const at = attached.get(db)
  if (!at) throw new Error('the store is not attached')
  const { session, beforeLoad } = at
  const begin = <T>(run: () => Promise<T>): Promise<T> =>
    db.executor.ready ? run() : (beforeLoad.hold(run) as Promise<T>)
  const start = <T>(run: () => Promise<T>): Promise<T> => (load ? load().then(() => begin(run)) : begin(run))
  return {
    transact: (run, options) => start(() => session.transact(run, options)),
    look: (run, options) => start(() => session.look(run, options)),
  }
}

/**
 * The records of tables are documents like any other, with one member more, `_table`, that names the table: so several
 * tables, and documents of no table, live in one file and change in one transaction, and vanilla finds them too:
 * `db.find({ _table: 'people' })`.
 */
export function nedbRows<S>(nedb: (store: S) => Nedb): TableStorage<S> {
  return {
    read: async (tx, table, id) => {
      const query = id === undefined ? { _table: table } : { _id: id, _table: table }
      const docs = (await nedb(tx).findAsync(query).execAsync()) as Doc[]
      return docs.map(({ _table, ...record }) => record)
    },
    insert: (tx, table, records) =>
      records.length > 0 && nedb(tx).insertAsync(records.map((record) => ({ ...record, _table: table }))),
    replace: async (tx, table, records) => {
      for (const record of records) {
        await nedb(tx).updateAsync({ _id: record._id }, { ...record, _table: table }, {})
      }
    },
    remove: (tx, table, ids) =>
      nedb(tx).removeAsync({ _id: { $in: [...ids] }, _table: table }, { multi: true }),
    drop: (tx, table) => nedb(tx).removeAsync({ _table: table }, { multi: true }),
    compact: (tx) => nedb(tx).compactDatafileAsync(),
  }
}
