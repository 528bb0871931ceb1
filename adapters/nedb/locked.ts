import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { types } from 'node:util'
import { errnoOf } from '../../src/errors.ts'
import { storeFailure } from '../../src/os/replace.ts'
import type { DocumentId, LogSession } from '../../src/store/adapter.ts'
import { warnOfCompaction } from '../../src/store/log/compaction.ts'
import {
  makeStorable,
  type Paths,
  requireDocument,
  requireNoPrototype,
  requireOwnPaths,
  suspiciousAmong,
  suspiciousIn,
  twinOf,
} from './documents.ts'
import { type BeforeLoad, calling, nameCalls } from './executor.ts'
import { ensureIndex, type OwnIndexes, removeIndex } from './indexes.ts'
import type { Doc, IndexOptions, Nedb, NedbCursor, Query } from './internals.ts'
import type { NedbMemory } from './memory.ts'
import { model, ownUpdate } from './model.ts'
import { insertStraight, lookStraight, removeStraight, updateStraight } from './straight.ts'

/** What a store needs at hand once it is attached. */
export interface Attached {
  readonly session: LogSession
  readonly memory: NedbMemory
  /** The store as its own code sees it: to reach its indexes here brings nothing in. */
  readonly inner: Nedb
  readonly indexes: OwnIndexes
  readonly beforeLoad: BeforeLoad
  /** Whether new ids are NeDB's own, drawn at random. */
  readonly makesIds: boolean
  /** Takes the ids of documents that are changed, where somebody wants to know. */
  changed?: Set<DocumentId> | undefined
}

/** The attached stores. One that is not here works as vanilla does: a store in memory only. */
export const attached: WeakMap<Nedb, Attached> = new WeakMap()

/** Marks the prototypes of locked classes. */
export const isLocked: unique symbol = Symbol('locked')

/** As NeDB has it. */
const SHORTEST_INTERVAL_MS = 5000

type Class<T> = new (...args: never[]) => T

/**
 * A Datastore class whose memory can be undone and whose reads are known as reads. It adds no locking: that is at the
 * choke point. Works as the base of a class, or as the prototype of a store that exists already.
 */
export function locked<B extends Class<Nedb>>(Base: B): B {
  const Vanilla = Base as unknown as new (options: unknown) => Nedb
  const VanillaPrototype = Vanilla.prototype
  class Locked extends Vanilla {
    /** In two steps: who reads waits for nobody, and the compaction not for long. */
    override loadDatabaseAsync(): Promise<void> {
      const session = attached.get(this)?.session
      if (!session) return super.loadDatabaseAsync()
      return loading(this, async () => {
        await readIn(session, true)
        this.executor.processBuffer()
        const compacting = calling(this, 'loadDatabase', [], () => super.loadDatabaseAsync())
        await compacting.catch((error) => {
          // Beside a holder it is left to a later load, or to the writer who finds that it is time for it.
          if (errnoOf(error) !== 'PSLOCK_TIMEOUT') throw error
        })
      })
    }

    override insertAsync(...args: [Doc | Doc[]]): Promise<unknown> {
      const general = () => calling(this, 'insert', args, () => super.insertAsync(...args))
      const at = attached.get(this)
      const isOwn = this._insertAsync === Locked.prototype._insertAsync
      return (at && isOwn && insertStraight(this, at, general, args[0])) || general()
    }

    override updateAsync(...args: [query: Query, update: Doc, options?: object]): Promise<unknown> {
      const general = () => calling(this, 'update', args, () => super.updateAsync(...args))
      const at = attached.get(this)
      const isOwn = this._updateAsync === Locked.prototype._updateAsync
      return (at && isOwn && updateStraight(this, at, general, ...args)) || general()
    }

    override removeAsync(...args: [query: Query, options?: object]): Promise<unknown> {
      const general = () => calling(this, 'remove', args, () => super.removeAsync(...args))
      const at = attached.get(this)
      const isOwn = this._removeAsync === VanillaPrototype._removeAsync
      return (at && isOwn && removeStraight(this, at, general, args[0])) || general()
    }

    override async _insertAsync(docs: Doc | Doc[]): Promise<Doc | Doc[]> {
      requireNoPrototype(docs)
      return super._insertAsync(docs)
    }

    override async _updateAsync(query: Query, update: Doc, options: object): Promise<unknown> {
      requireDocument(update)
      requireNoPrototype(update)
      const paths = suspiciousIn(update)
      const { upsert = false } = options as { upsert?: boolean }
      if (upsert) requireNoPrototype(query)
      if (paths) requireOwnInAll(this, query, upsert, paths)
      return super._updateAsync(query, ownUpdate(update), options)
    }

    override _addToIndexes(doc: Doc): void {
      const at = attached.get(this)
      if (at?.memory.isBlind) {
        makeStorable(doc, true)
        at.memory.defer(doc)
        at.session.onUndo(() => {
          if (!at.memory.forget(doc)) super._removeFromIndexes.call(inner(this), doc)
        })
        return
      }
      const session = changing(this, [doc._id, twinOf(doc._id)])
      if (session?.running) {
        makeStorable(doc, true)
        requireNoTwin(this, doc._id)
      }
      super._addToIndexes.call(inner(this), doc)
      session?.onUndo(() => super._removeFromIndexes.call(inner(this), doc))
    }

    override _removeFromIndexes(doc: Doc): void {
      const session = changing(this, [doc._id])
      super._removeFromIndexes.call(inner(this), doc)
      session?.onUndo(() => super._addToIndexes.call(inner(this), doc))
    }

    override _updateIndexes(oldDoc: Doc | { oldDoc: Doc; newDoc: Doc }[], newDoc?: Doc): void {
      const session = changing(this, [])
      if (Array.isArray(oldDoc)) {
        if (session?.running) for (const pair of oldDoc) makeStorable(pair.newDoc, false)
        super._updateIndexes.call(inner(this), oldDoc)
        const back = oldDoc.map((pair) => ({ oldDoc: pair.newDoc, newDoc: pair.oldDoc }))
        session?.onUndo(() => super._updateIndexes.call(inner(this), back))
      } else {
        super._updateIndexes.call(inner(this), oldDoc, newDoc)
        session?.onUndo(() => super._updateIndexes.call(inner(this), newDoc as Doc, oldDoc))
      }
    }

    override _resetIndexes(docs?: Doc[]): void {
      super._resetIndexes.call(inner(this), docs)
    }

    override getAllData(): Doc[] {
      attached.get(this)?.memory.settle()
      return super.getAllData.call(inner(this))
    }

    override _getRawCandidates(query: Query): Doc[] {
      attached.get(this)?.memory.settle(idsOf(query))
      return super._getRawCandidates.call(inner(this), query)
    }

    override async _getCandidatesAsync(query: Query, dontExpireStaleDocs = false): Promise<Doc[]> {
      const { session } = attached.get(this) ?? {}
      const reading = session?.running === 'shared'
      if (!reading && !dontExpireStaleDocs) return super._getCandidatesAsync(query)
      // Vanilla's own way passes the documents as arguments, which a stack of common size has no room for above 120,000.
      const docs = [...this._getRawCandidates(query)]
      if (!reading || dontExpireStaleDocs) return docs
      // A read only skips what has expired; deleting it is left to the next write.
      const ttls = Object.entries(this.ttlIndexes)
      if (ttls.length === 0) return docs
      const { now } = session
      return docs.filter((doc) =>
        ttls.every(([field, seconds]) => {
          const since = doc[field]
          return !types.isDate(since) || now <= since.getTime() + seconds * 1000
        }),
      )
    }

    override findAsync(query: Query, projection?: unknown): NedbCursor {
      return readCursor(this, super.findAsync(query, projection), 'find', [query, projection])
    }

    override findOneAsync(query: Query, projection?: unknown): NedbCursor {
      return readCursor(this, super.findOneAsync(query, projection), 'findOne', [query, projection])
    }

    override countAsync(query: Query): NedbCursor {
      return readCursor(this, super.countAsync(query), 'count', [query])
    }

    override async ensureIndexAsync(
      options: { fieldName: string | string[] } & Omit<IndexOptions, 'fieldName'>,
    ): Promise<void> {
      const at = attached.get(this)
      for (const field of [options?.fieldName ?? []].flat()) requireNoPrototype({ [String(field)]: 1 })
      if (!at || !options?.fieldName) return super.ensureIndexAsync(options)
      const fields = [options.fieldName].flat().sort()
      if (fields.some((field) => field.includes(','))) return super.ensureIndexAsync(options)
      await ensureIndex(this, at, { ...options, fieldName: fields.join(',') })
    }

    override async removeIndexAsync(fieldName: string | string[]): Promise<void> {
      const at = attached.get(this)
      if (!at) return super.removeIndexAsync(fieldName)
      if (typeof fieldName !== 'string' && !Array.isArray(fieldName)) {
        throw new TypeError(`fieldName must be a string or an array of strings, got ${String(fieldName)}`)
      }
      const name = [fieldName].flat().sort().join(',')
      // Vanilla takes it out, and fails in everything from then on.
      if (name === '_id') throw new TypeError('the index of _id cannot be removed: NeDB needs it')
      await removeIndex(this, at, name)
    }

    override setAutocompactionInterval(interval: number): void {
      super.setAutocompactionInterval(interval)
      const at = attached.get(this)
      if (!at) return
      // Vanilla's own leaves what fails in it as an unhandled rejection.
      const realInterval = Math.max(Number(interval), SHORTEST_INTERVAL_MS)
      this.stopAutocompaction()
      let isRunning = false
      const compact = async () => {
        if (isRunning) return
        isRunning = true
        try {
          const task = () => this.persistence.persistCachedDatabaseAsync(true)
          // One of the user's own is what vanilla's timer calls.
          if (this.compactDatafile !== compactDatafile) await this.compactDatafile()
          else await calling(this, 'compactDatafile', [], () => this.executor.pushAsync(task))
        } catch (error) {
          warnOfCompaction(at.session.path, error)
        }
        isRunning = false
      }
      // An idle store does not keep the process alive.
      this._autocompactionIntervalId = setInterval(compact, realInterval).unref()
    }
  }
  Object.defineProperty(Locked.prototype, isLocked, { value: true })
  nameCalls(Locked.prototype)
  const { compactDatafile } = Locked.prototype
  return Locked as unknown as B
}

/** Runs a load: what was issued before it hears of its end. @param isTold see `BeforeLoad.during` */
export function loading(db: Nedb, load: () => Promise<void>, isTold = false): Promise<void> {
  const at = attached.get(db)
  if (!at) return load()
  const attempt = at.beforeLoad.during(async () => {
    makeFolder(db, at.session.file)
    await load()
  }, isTold)
  if (!db.executor.ready && db.autoload) {
    // Whoever waits for it later hears how the last attempt went.
    db.autoloadPromise = attempt
    attempt.catch(() => {})
  }
  return attempt
}

/** Makes memory what the file says; without the lock, where that can be done. */
export function readIn(session: LogSession, isInternal = false): Promise<void> {
  const call = { name: 'loadDatabase', args: [] }
  return session.perform('shared', () => {}, { call, isInternal, isSelfContained: true })
}

/** The lock file stands beside the data, so the folder must be there before the lock is taken. */
function makeFolder(db: Nedb, file: string | undefined): void {
  if (file === undefined) return
  const folder = dirname(file)
  try {
    mkdirSync(folder, { recursive: true, mode: db.persistence.modes.dirMode })
  } catch (error) {
    throw storeFailure(folder, 'create', error)
  }
}

/** The store as its own code sees it. */
function inner(db: Nedb): Nedb {
  return attached.get(db)?.inner ?? db
}

/** The session to tell of a change of memory, which is first made right for the documents concerned. */
function changing(db: Nedb, ids: readonly unknown[]): LogSession | undefined {
  const at = attached.get(db)
  if (!at || at.memory.isApplying) return undefined
  at.memory.settle(at.memory.hasUniqueIndex ? undefined : ids)
  return at.session
}

function requireNoTwin(db: Nedb, id: unknown): void {
  const twin = twinOf(id)
  if (twin === undefined || inner(db).indexes._id?.getMatching(twin).length === 0) return
  throw new TypeError(
    `_id ${JSON.stringify(id)} is refused, since there is a document with ${JSON.stringify(twin)}: NeDB takes the two ` +
      'for one at the next load',
  )
}

/** The only documents that can match a query; undefined: any could. */
function idsOf(query: Query): readonly unknown[] | undefined {
  const id = query._id
  if (isKey(id)) return [id]
  const among = (id as { $in?: unknown } | undefined)?.$in
  return Array.isArray(among) && among.every(isKey) ? among : undefined
}

function isKey(id: unknown): boolean {
  return typeof id === 'string' || typeof id === 'number'
}

/** In an update: what it changes must be own in each document that it is for, and in the one that it may insert. */
function requireOwnInAll(db: Nedb, query: Query, upsert: boolean, paths: Paths): void {
  const docs = db._getRawCandidates(query).filter((doc) => model.match(doc, query))
  for (const doc of docs.length === 0 && upsert ? [query] : docs) requireOwnPaths(doc, paths)
}

/** Refuses a projection that would change prototypes. */
function checkProjection(cursor: NedbCursor): void {
  const { _projection } = cursor
  if (typeof _projection !== 'object' || _projection === null) return
  const fields = Object.keys(_projection)
  if (fields.length === 0) return
  requireNoPrototype(_projection)
  const paths = suspiciousAmong(fields)
  if (!paths) return
  const project = Object.getPrototypeOf(cursor)._project as NedbCursor['_project']
  cursor._project = (docs) => {
    // What is picked is put into an empty object, what is omitted is taken out of a copy.
    const picks = fields.some((field) => field !== '_id' && (_projection as Doc)[field] === 1)
    for (const doc of picks ? [{}] : docs) requireOwnPaths(doc, paths)
    return project.call(cursor, docs)
  }
}

/** A cursor that looks at the file each time it is executed. */
function readCursor(db: Nedb, cursor: NedbCursor, name: string, args: readonly unknown[]): NedbCursor {
  const at = attached.get(db)
  if (!at) {
    const { execAsync } = cursor
    cursor.execAsync = async () => {
      checkProjection(cursor)
      return execAsync.call(cursor)
    }
    return cursor
  }
  const exec = async () => {
    checkProjection(cursor)
    // Vanilla strips `_id: 0` from the cursor's own projection, so that its second execution differs.
    const projection = cursor._projection
    try {
      return await cursor._execAsync()
    } finally {
      cursor._projection = projection
    }
  }
  cursor.execAsync = () =>
    lookStraight(db, at, cursor) ??
    calling(db, name, args, () => db.executor.pushAsync(exec, false, 'shared'))
  return cursor
}
