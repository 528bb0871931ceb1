import { types } from 'node:util'
import type { StraightOperation } from '../../src/store/adapter.ts'
import { UNIT_ID } from '../../src/store/log/units.ts'
import { requireDocument, requireNoPrototype, storedCopy, suspiciousIn, twinOf } from './documents.ts'
import type { Doc, Nedb, NedbCursor, Query } from './internals.ts'
import type { Attached } from './locked.ts'
import { lineOf, model, ownUpdate, toLine } from './model.ts'
import { keyOf } from './record-lines.ts'

/**
 * What NeDB is asked for most often, one document by its `_id`, on the straight path. Each of these functions returns
 * undefined where the general path, which is NeDB's own code under the lock, must do it: then nothing has happened. Where
 * that shows later, it calls `general`.
 */

type General = () => Promise<unknown>

/** Inserts a document. */
export function insertStraight(
  db: Nedb,
  at: Attached,
  general: General,
  given: unknown,
): Promise<unknown> | undefined {
  if (!db.executor.ready || db.timestampData || !at.memory.isSimple) return undefined
  if (typeof given !== 'object' || given === null || Array.isArray(given) || types.isDate(given))
    return undefined
  return at.session.straight(new Insertion(db, at, given as Doc), general)
}

class Insertion implements StraightOperation<Doc> {
  readonly isBlind: boolean
  readonly #db: Nedb
  readonly #at: Attached
  readonly #given: Doc
  #doc: Doc | undefined
  #line = ''
  #result: Doc | undefined

  constructor(db: Nedb, at: Attached, given: Doc) {
    this.#db = db
    this.#at = at
    this.#given = given
    // NeDB draws its ids at random: they can be nobody else's.
    this.isBlind = at.makesIds && given._id === undefined
  }

  get key(): string | undefined {
    return this.isBlind ? undefined : keyOf(this.#doc?._id)
  }

  prepare(): boolean {
    try {
      const stored = storedCopy(this.#given)
      if (!stored) return false
      const { doc } = stored
      if (doc._id === undefined) doc._id = this.#db._createNewId()
      else if (typeof doc._id !== 'string' || !isOrdinaryId(doc._id)) return false
      this.#doc = doc
      this.#line = lineOf(stored)
      this.#result = model.deepCopy(doc)
      return true
    } catch {
      // Nested too deep, or a getter that throws.
      return false
    }
  }

  line(): string | null {
    const { memory } = this.#at
    // Others may have made an index, or a document of this id: NeDB's own code says what follows.
    if (!memory.isSimple || (!this.isBlind && memory.get(this.#doc?._id as string) !== undefined)) return null
    return this.#line
  }

  apply(): Doc {
    this.#at.memory.defer(this.#doc as Doc)
    return this.#result as Doc
  }

  undo(): void {
    this.#at.memory.put(this.#doc?._id as string, undefined)
  }
}

/** Updates the document of an `_id`. */
export function updateStraight(
  db: Nedb,
  at: Attached,
  general: General,
  query: Query,
  update: Doc,
  options: UpdateOptions = {},
): Promise<unknown> | undefined {
  const id = onlyId(query)
  if (id === undefined || !db.executor.ready || db.timestampData || !at.memory.isSimple) return undefined
  return at.session.straight(new Update(at, id, update, options), general)
}

interface UpdateOptions {
  readonly multi?: boolean
  readonly upsert?: boolean
  readonly returnUpdatedDocs?: boolean
}

class Update implements StraightOperation<unknown> {
  readonly isBlind = false
  readonly #at: Attached
  readonly #id: string
  readonly #update: Doc
  readonly #options: UpdateOptions
  #old: Doc | undefined
  #doc: Doc | undefined
  #copy: Doc | undefined

  constructor(at: Attached, id: string, update: Doc, options: UpdateOptions) {
    this.#at = at
    this.#id = id
    this.#update = update
    this.#options = options
  }

  get key(): string {
    return keyOf(this.#id)
  }

  line(): string | undefined | null {
    // It may have been asked before, of another state; and the caller may have changed the update meanwhile.
    this.#doc = undefined
    this.#copy = undefined
    if (!isHarmless(this.#update) || !this.#at.memory.isSimple) return null
    const old = this.#at.memory.get(this.#id)
    if (!old) return this.#options.upsert || this.#options.returnUpdatedDocs ? null : undefined
    this.#old = old
    const doc = model.modify(old, ownUpdate(this.#update))
    const stored = storedCopy(doc)
    if (!stored) return null
    this.#doc = stored.doc
    if (this.#options.returnUpdatedDocs) this.#copy = model.deepCopy(stored.doc)
    return lineOf(stored)
  }

  apply(): unknown {
    if (!this.#doc) return { numAffected: 0, upsert: false, affectedDocuments: null }
    this.#at.memory.put(this.#id, this.#doc)
    if (!this.#copy) return { numAffected: 1, upsert: false, affectedDocuments: null }
    const affectedDocuments = this.#options.multi ? [this.#copy] : this.#copy
    return { numAffected: 1, affectedDocuments, upsert: false }
  }

  undo(): void {
    this.#at.memory.put(this.#id, this.#old)
  }
}

/** Whether it leads through nothing that objects have from their prototype: else the general path says what is wrong. */
function isHarmless(update: Doc): boolean {
  try {
    requireDocument(update)
    requireNoPrototype(update)
    return suspiciousIn(update) === undefined
  } catch {
    return false
  }
}

/** Removes the document of an `_id`. */
export function removeStraight(
  db: Nedb,
  at: Attached,
  general: General,
  query: Query,
): Promise<unknown> | undefined {
  const id = onlyId(query)
  if (id === undefined || !db.executor.ready || !at.memory.isSimple) return undefined
  return at.session.straight(new Removal(at, id), general)
}

class Removal implements StraightOperation<number> {
  readonly isBlind = false
  readonly #at: Attached
  readonly #id: string
  #old: Doc | undefined

  constructor(at: Attached, id: string) {
    this.#at = at
    this.#id = id
  }

  get key(): string {
    return keyOf(this.#id)
  }

  line(): string | undefined | null {
    if (!this.#at.memory.isSimple) return null
    this.#old = this.#at.memory.get(this.#id)
    return this.#old && toLine({ $$deleted: true, _id: this.#id })
  }

  apply(): number {
    if (!this.#old) return 0
    this.#at.memory.put(this.#id, undefined)
    return 1
  }

  undo(): void {
    this.#at.memory.put(this.#id, this.#old)
  }
}

/** What a cursor looks for by an `_id` alone: no lock is needed, and no index. */
export function lookStraight(db: Nedb, at: Attached, cursor: NedbCursor): Promise<unknown> | undefined {
  const id = onlyId(cursor.query)
  if (id === undefined || !db.executor.ready || !at.memory.isSimple) return undefined
  if (cursor._sort || cursor._skip || hasMembers(cursor._projection)) return undefined
  try {
    const found = at.session.straightLook(() => at.memory.get(id))
    if (!found) return undefined
    const docs = found.value === undefined ? [] : [found.value]
    return Promise.resolve(cursor.mapFn ? cursor.mapFn(docs) : docs)
  } catch {
    return undefined
  }
}

/** The id that a query asks for, where it asks for nothing else, and NeDB takes no other one for the same. */
function onlyId(query: Query): string | undefined {
  for (const name in query) if (name !== '_id') return undefined
  const id = query?._id
  return typeof id === 'string' && isOrdinaryId(id) ? id : undefined
}

/** Whether it is an id that nothing special is to be said of. */
function isOrdinaryId(id: string): boolean {
  return id !== '' && id !== '__proto__' && id !== UNIT_ID && twinOf(id) === undefined
}

function hasMembers(value: unknown): boolean {
  for (const _ in value as object) return true
  return false
}
