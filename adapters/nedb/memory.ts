import { CorruptStoreError } from '../../src/errors.ts'
import type { InspectLines, LineCoder, LogMemory, LogSession, RecordLine } from '../../src/store/adapter.ts'
import { isDocument } from './documents.ts'
import type { OwnIndexes } from './indexes.ts'
import { inspectNedbLines } from './inspect.ts'
import {
  type Doc,
  type IndexOptions,
  type Nedb,
  type NedbIndex,
  type NedbPersistence,
  newIndex,
} from './internals.ts'
import { Contents, NedbLoading, type ObjectIds } from './loading.ts'
import { fromLine, toLine } from './model.ts'
import { ELSEWHERE, idIn, Pending } from './pending.ts'
import { recordOf } from './record-lines.ts'

/** What the memory of a store works with. */
export interface MemoryParts {
  readonly db: Nedb
  /** The store as its own code sees it. */
  readonly inner: Nedb
  readonly indexes: OwnIndexes
  /** Told when the indexes could not be brought up to date. */
  readonly session: LogSession
}

/** Fewer than these that were put off are put into the indexes by the first `find` in some ten milliseconds. */
const PUT_OFF_DOCUMENTS = 1000
/** Nothing was inserted for so long. */
const IDLE_MS = 20
/** For so long documents are put into the indexes before other work gets its turn; the clock is looked at after so many. */
const SLICE_MS = 5
const SLICE_DOCUMENTS = 50

/** These take 20 ms. */
const MEASURED_DOCUMENTS = 10_000

/** Brings NeDB's indexes, which are its whole memory, up to date with lines of the file. */
export class NedbMemory implements LogMemory {
  readonly fileMode: number
  coder: LineCoder | undefined
  readonly corruptThreshold: () => number
  readonly inspect: InspectLines = inspectNedbLines
  readonly #db: Nedb
  readonly #inner: Nedb
  readonly #indexes: OwnIndexes
  readonly #path: string
  readonly #distrust: () => void
  readonly #pending: Pending
  readonly #ids: ObjectIds = new Map()
  #applying = false
  #isBlind = false
  /** How many documents were put off in all. */
  #deferred = 0
  #idle: NodeJS.Timeout | undefined
  #isClosed = false
  /** Somebody has the indexes themselves, and may keep them: nothing is put off any more. */
  #isReached = false

  constructor({ db, inner, indexes, session }: MemoryParts) {
    this.#db = db
    this.#inner = inner
    this.#path = session.path
    this.#distrust = () => session.distrustMemory()
    this.#indexes = indexes
    this.#pending = new Pending(session.path)
    this.fileMode = db.persistence.modes.fileMode
    this.corruptThreshold = () => db.persistence.corruptAlertThreshold
  }

  /** Whether there are hooks cannot be seen from outside, since NeDB wraps them: a sample shows it. */
  async prepare(): Promise<void> {
    const { persistence } = this.#db
    const sample = '{"_id":"sample"}'
    // What it throws is said of what is really written.
    const encoded = await persistence.afterSerialization(sample).catch(() => undefined)
    if (encoded !== sample) this.coder = new HookCoder(persistence)
  }

  load(): NedbLoading {
    const { indexes } = this.#inner
    const contents = new Contents(this.#ids)
    return new NedbLoading({
      contents,
      newIndex: (options) => newIndex(this.#inner, options),
      take: (built) => {
        this.#pending.clear()
        // One that was dropped elsewhere must not come back with the next compaction.
        for (const name of Object.keys(indexes)) delete indexes[name]
        this.#db.ttlIndexes = {}
        for (const [name, options] of contents.indexes) this.#tookOver(name, options)
        for (const [name, index] of built) indexes[name] = index
      },
      refuse: (cause) => this.#refused(cause),
    })
  }

  apply(lines: readonly string[], anew: boolean): readonly string[] {
    if (anew) this.#reset()
    const bad: string[] = []
    const contents = new Contents(this.#ids)
    for (const line of lines) {
      const id = idIn(line)
      if (id !== undefined) this.#pending.add(id, line)
      else {
        if (!contents.add(line)) bad.push(line)
        // In the order of the lines, for others of the same documents were put aside as they are.
        for (const [id, doc] of contents.docs) this.#pending.add(id, doc)
        contents.docs.clear()
      }
    }
    if (lines.length > 0) for (const name of this.#indexes.provisional) delete this.#inner.indexes[name]
    if (anew || contents.indexes.size > 0 || this.#indexes.provisional.size > 0 || this.#isReached)
      this.#settle(contents.indexes)
    return bad
  }

  /** Whether the indexes are being brought up to date: that is no change of an operation. */
  get isApplying(): boolean {
    return this.#applying
  }

  /** Runs an insert; a blind one can put its documents off, as if another process had written them. */
  run<T>(insert: () => T, isBlind: boolean): T {
    this.#isBlind = isBlind && !this.#isReached
    try {
      // The indexes are changed before it waits for the first time.
      return insert()
    } finally {
      this.#isBlind = false
    }
  }

  /** Whether what runs now is a blind insert. */
  get isBlind(): boolean {
    return this.#isBlind
  }

  /** Takes in a document with an id that nobody else has, when it is asked for (one process: 1.3 times the inserts). */
  defer(doc: Doc): void {
    this.#pending.addNew(doc)
    if (++this.#deferred % PUT_OFF_DOCUMENTS === 0) this.#settleWhenIdle()
  }

  /** Whether documents can be looked up and changed by their ids alone: no index forbids anything, nothing expires. */
  get isSimple(): boolean {
    const { indexes } = this.#inner
    for (const name in indexes) if (name !== '_id' && indexes[name]?.unique) return false
    for (const _ in this.#db.ttlIndexes) return false
    return !this.#isReached && this.#indexes.provisional.size === 0
  }

  /** The document of this id. Nothing is put into the indexes for it. @throws CorruptStoreError */
  get(id: string): Doc | undefined {
    try {
      const pending = this.#pending.get(id)
      return pending === ELSEWHERE ? this.#inner.indexes._id?.getMatching(id)[0] : pending
    } catch (error) {
      this.#distrust()
      throw error
    }
  }

  /** The document of this id has been replaced, or (undefined) removed. It is put into the indexes when they are asked. */
  put(id: string, doc: Doc | undefined): void {
    this.#pending.add(id, doc)
    if (++this.#deferred % PUT_OFF_DOCUMENTS === 0) this.#settleWhenIdle()
  }

  /** @returns whether it was not in the indexes yet */
  forget(doc: Doc): boolean {
    return this.#pending.delete(doc._id)
  }

  /** Somebody looks at the indexes themselves. */
  reached(): void {
    this.#isReached = true
    this.settle()
  }

  /** Makes the indexes right for the documents of these ids; without `ids`, for all. */
  settle(ids?: readonly unknown[]): void {
    if (this.#pending.isEmpty || this.#applying) return
    // With a unique index all at once: the value of one may have been another's a moment ago.
    if (ids && !this.hasUniqueIndex) this.#apply(this.#take(ids), new Map())
    else this.#settle(new Map())
  }

  #take(ids?: readonly unknown[]): Map<unknown, Doc | undefined> {
    try {
      return this.#pending.take(ids)
    } catch (error) {
      // What the damaged line has taken the place of is still in the file.
      this.#distrust()
      throw error
    }
  }

  /** Whether a document could break a unique index that others have changed. */
  get hasUniqueIndex(): boolean {
    return Object.values(this.#inner.indexes).some((index) => index.unique && index.fieldName !== '_id')
  }

  #settle(indexes: Map<string, IndexOptions | undefined>): void {
    this.#apply(this.#take(), indexes)
  }

  /** In an operation: takes in documents that are about to be written. */
  adopt(lines: readonly string[]): void {
    const db = this.#db
    this.settle()
    for (const line of lines) {
      const doc = fromLine(line)
      if (!doc || !isDocument(doc)) continue
      const [old] = this.#inner.indexes._id?.getMatching(doc._id) ?? []
      if (doc.$$deleted !== true) {
        if (old) db._updateIndexes(old, doc)
        else db._addToIndexes(doc)
      } else if (old) db._removeFromIndexes(old)
    }
  }

  recordOf(line: string): RecordLine {
    return recordOf(line)
  }

  *lines(): Generator<string, void, undefined> {
    for (const doc of this.#db.getAllData()) yield toLine(doc)
    for (const { fieldName, unique, sparse } of Object.values(this.#inner.indexes)) {
      if (fieldName === '_id') continue
      const ttl = this.#db.ttlIndexes[fieldName]
      const expiry = ttl === undefined ? {} : { expireAfterSeconds: ttl }
      yield toLine({ $$indexCreated: { fieldName, unique, sparse, ...expiry } })
    }
  }

  /** Nothing is put into the indexes for it; a million documents are counted in some ten milliseconds. */
  lineCount(): number {
    const { _id: byId, ...others } = this.#inner.indexes
    if (!byId) throw new Error('a NeDB store without its _id index')
    const growth = this.#pending.growth((id) => byId.getMatching(id).length > 0)
    return byId.tree.getNumberOfKeys() + growth + Object.keys(others).length
  }

  async prepareToCompact(): Promise<void> {
    // Fewer do not keep others waiting.
    if (this.hasUniqueIndex || this.#pending.size < 5 * PUT_OFF_DOCUMENTS) return
    for (let left = this.#pending.size; left > 0 && !this.#pending.isEmpty; left -= this.#settleSome()) {
      await new Promise<void>((turn) => setImmediate(turn))
    }
  }

  close(): void {
    clearTimeout(this.#idle)
    this.#idle = undefined
    this.#isClosed = true
  }

  /** @returns how many documents it has put into the indexes */
  #settleSome(): number {
    const until = performance.now() + SLICE_MS
    let count = 0
    while (!this.#pending.isEmpty && performance.now() < until) {
      const ids = this.#pending.first(SLICE_DOCUMENTS)
      this.settle(ids)
      count += ids.length
    }
    return count
  }

  /**
   * What was put off is put into the indexes while nothing is inserted, so that the first `find` after many inserts does not
   * have to (4 s for 300,000 documents). Not beside inserts, which it would make slower, and not while a unique index needs
   * it all at once.
   */
  #settleWhenIdle(): void {
    if (this.#idle || this.#isClosed) return
    let seen = this.#deferred
    const again = (ms: number) => {
      this.#idle = setTimeout(step, ms)
      this.#idle.unref()
    }
    const step = () => {
      this.#idle = undefined
      if (this.#pending.isEmpty || this.hasUniqueIndex) return
      if (this.#deferred !== seen) {
        seen = this.#deferred
        again(IDLE_MS)
        return
      }
      try {
        this.#settleSome()
      } catch {
        // A damaged line: the next operation reads the file anew, and says so.
        return
      }
      again(0)
    }
    again(IDLE_MS)
  }

  /** Of so many documents each is looked at, of more as many, evenly spread. */
  liveBytes(): number {
    const docs = this.#db.getAllData()
    const step = Math.max(1, docs.length / MEASURED_DOCUMENTS)
    let [bytes, count] = [0, 0]
    for (let at = 0; at < docs.length; at += step) {
      bytes += Buffer.byteLength(toLine(docs[Math.floor(at)])) + 1
      count++
    }
    return count === 0 ? 0 : Math.round((bytes / count) * docs.length)
  }

  /**
   * An explicit load keeps the indexes that this very store was told to ensure, should the file lack them, as vanilla
   * does; the ones it only read there are as the file says.
   * @returns those that the file lacks
   */
  rebuildDeclared(): readonly IndexOptions[] {
    const db = this.#db
    const { indexes } = this.#inner
    const missing: IndexOptions[] = []
    for (const [name, options] of Object.entries(this.#indexes.declared)) {
      if (indexes[name]) continue
      const index = newIndex(this.#inner, options)
      indexes[name] = index
      // When something expires is not kept, as vanilla does not.
      const { expireAfterSeconds: _, ...kept } = options
      missing.push(kept)
      try {
        index.insert(db.getAllData())
      } catch (error) {
        this.#reset()
        indexes[name] = newIndex(this.#inner, options)
        throw error
      }
    }
    return missing
  }

  #reset(): void {
    const db = this.#db
    this.#pending.clear()
    // Indexes first: one that was dropped elsewhere must not come back with the next compaction.
    const { indexes } = this.#inner
    for (const name of Object.keys(indexes)) if (name !== '_id') delete indexes[name]
    db.ttlIndexes = {}
    db._resetIndexes()
  }

  /**
   * In two phases, all old versions out, then all new ones in: line by line, a legal change of two documents that
   * swap a unique value would be refused.
   */
  #apply(docs: Map<unknown, Doc | undefined>, indexes: Map<string, IndexOptions | undefined>): void {
    const db = this.#db
    if (docs.size === 0 && indexes.size === 0) return
    this.#applying = true
    try {
      this.#applyTo(db, docs, indexes)
    } finally {
      this.#applying = false
    }
  }

  #applyTo(
    db: Nedb,
    docs: Map<unknown, Doc | undefined>,
    indexes: Map<string, IndexOptions | undefined>,
  ): void {
    const byId = this.#inner.indexes._id
    if (!byId) throw new Error('a NeDB store without its _id index')
    for (const id of docs.keys()) for (const old of byId.getMatching(id)) db._removeFromIndexes(old)
    const created: NedbIndex[] = []
    for (const [name, options] of indexes) {
      delete this.#inner.indexes[name]
      this.#tookOver(name, options)
      if (!options) continue
      const index = newIndex(this.#inner, options)
      this.#inner.indexes[name] = index
      created.push(index)
    }
    try {
      for (const index of created) index.insert(db.getAllData())
      for (const doc of docs.values()) if (doc) db._addToIndexes(doc)
    } catch (cause) {
      this.#reset()
      throw this.#refused(cause)
    }
  }

  /** The file says that there is an index, or (undefined) no more. */
  #tookOver(name: string, options: IndexOptions | undefined): void {
    const { ttlIndexes } = this.#db
    delete ttlIndexes[name]
    if (!options) {
      delete this.#indexes.declared[name]
      return
    }
    // Somebody else was first: it need not be written again.
    this.#indexes.provisional.delete(name)
    if (options.expireAfterSeconds !== undefined) ttlIndexes[name] = options.expireAfterSeconds
  }

  #refused(cause: unknown): Error {
    this.#distrust()
    const { errorType, key } = cause as { errorType?: string; key?: unknown }
    return Object.assign(
      new CorruptStoreError(
        `${this.#path} breaks its own unique index: ${(cause as Error).message}. It was written without a lock. ` +
          'Remove one of the duplicates from the file by hand; nothing was changed.',
        { path: this.#path, cause },
      ),
      { errorType, key },
    )
  }
}

/** NeDB's serialization hooks, where the user has given some. */
class HookCoder implements LineCoder {
  thrown: { readonly error: unknown } | undefined
  readonly #persistence: NedbPersistence

  constructor(persistence: NedbPersistence) {
    this.#persistence = persistence
  }

  encode(line: string): Promise<string> {
    return this.#watched(this.#persistence.afterSerialization(line))
  }

  decode(line: string): Promise<string> {
    return this.#watched(this.#persistence.beforeDeserialization(line))
  }

  async #watched(line: Promise<string>): Promise<string> {
    try {
      return await line
    } catch (error) {
      this.thrown = { error }
      throw error
    }
  }
}
