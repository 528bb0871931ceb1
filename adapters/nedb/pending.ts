import { CorruptStoreError } from '../../src/errors.ts'
import type { Doc } from './internals.ts'
import { fromLine } from './model.ts'

export const ELSEWHERE: unique symbol = Symbol('elsewhere')

/** So much text may be kept alive by lines that were cut from it. */
const KEPT_CHARS = 16 * 2 ** 20

/**
 * Documents (undefined: deleted) that others have written and nobody here has asked for yet. In a crowd everybody sees
 * everybody's lines: to parse one costs a microsecond, to put it into the indexes ten, and many a document is replaced
 * before it is ever looked at (50 processes inserting: 6 times the operations a second). So what can be told from its
 * others by its text alone stays text.
 */
export class Pending {
  readonly #path: string
  readonly #docs = new Map<unknown, Doc | string | undefined>()
  /** Of those that are no text, the ids which may have been there before. */
  readonly #parsed = new Set<unknown>()
  /** Of the lines that are here, and of all that came since they were last copied. */
  #chars = 0
  #keptChars = 0

  constructor(path: string) {
    this.#path = path
  }

  get isEmpty(): boolean {
    return this.#docs.size === 0
  }

  get size(): number {
    return this.#docs.size
  }

  /** The ids of some of them. */
  first(count: number): unknown[] {
    const ids: unknown[] = []
    for (const id of this.#docs.keys()) {
      if (ids.length === count) break
      ids.push(id)
    }
    return ids
  }

  /** How many documents more there are with them. @param isKnown whether there is a document of this id without them */
  growth(isKnown: (id: unknown) => boolean): number {
    let growth = 0
    for (const [id, doc] of this.#docs) {
      const isRemoval = doc === undefined || (typeof doc === 'string' && doc.startsWith(REMOVAL))
      if (isRemoval) growth -= isKnown(id) ? 1 : 0
      else if (typeof doc !== 'string' && !this.#parsed.has(id)) growth++
      else growth += isKnown(id) ? 0 : 1
    }
    return growth
  }

  /**
   * The document of this id, undefined where it is deleted, `ELSEWHERE` where nothing is here of it.
   * @throws CorruptStoreError where its line is unreadable
   */
  get(id: string): Doc | undefined | typeof ELSEWHERE {
    const found = this.#docs.get(id)
    if (typeof found === 'string') {
      const doc = this.#documentOf(id)
      this.add(id, doc)
      return doc
    }
    return found === undefined && !this.#docs.has(id) ? ELSEWHERE : found
  }

  /** A document that was not here, and not anywhere. */
  addNew(doc: Doc): void {
    this.#docs.set(doc._id, doc)
  }

  /** A document, or its line. */
  add(id: unknown, doc: Doc | string | undefined): void {
    const old = this.#docs.get(id)
    if (typeof old === 'string') this.#chars -= old.length
    this.#docs.set(id, doc)
    if (typeof doc !== 'string') {
      this.#parsed.add(id)
      return
    }
    this.#chars += doc.length
    this.#keptChars += doc.length
    if (this.#keptChars > KEPT_CHARS + 2 * this.#chars) this.#copy()
  }

  /**
   * Hands out the documents of these ids, or all.
   * @throws CorruptStoreError where one is unreadable; then none is handed out
   */
  take(ids?: readonly unknown[]): Map<unknown, Doc | undefined> {
    const docs = new Map<unknown, Doc | undefined>()
    for (const id of ids ?? this.#docs.keys()) if (this.#docs.has(id)) docs.set(id, this.#documentOf(id))
    if (ids) for (const id of docs.keys()) this.delete(id)
    else this.clear()
    return docs
  }

  /** @returns whether it was there */
  delete(id: unknown): boolean {
    const doc = this.#docs.get(id)
    if (typeof doc === 'string') this.#chars -= doc.length
    else if (this.#parsed.size > 0) this.#parsed.delete(id)
    return this.#docs.delete(id)
  }

  clear(): void {
    this.#docs.clear()
    this.#parsed.clear()
    this.#chars = 0
    this.#keptChars = 0
  }

  /** A line that was cut from a text keeps all of it alive, and most of what was in it has been replaced. */
  #copy(): void {
    for (const [id, doc] of this.#docs)
      if (typeof doc === 'string') this.#docs.set(id, Buffer.from(doc).toString())
    this.#keptChars = this.#chars
  }

  #documentOf(id: unknown): Doc | undefined {
    const pending = this.#docs.get(id)
    if (typeof pending !== 'string') return pending
    const doc = fromLine(pending)
    if (doc?._id === id) return doc?.$$deleted === true ? undefined : doc
    throw new CorruptStoreError(
      `${this.#path} has a damaged line where the document ${JSON.stringify(id)} should be. Nothing was changed; the next ` +
        'operation reads the whole file anew. Look at it with `pslock check`.',
      { path: this.#path },
    )
  }
}

/** As NeDB begins the line of a removal. */
export const REMOVAL = '{"$$deleted":true,'

const FIRST = '{"_id":"'
const LAST = ',"_id":"'

/**
 * The `_id` of a document by its text alone, where it is the first member or the last one, as NeDB writes it; undefined
 * where only parsing can tell. Inside a text there are no quotes without a backslash, so that what looks like a member is
 * one (0.1 us, where parsing takes 1 and more).
 */
export function idIn(line: string): string | undefined {
  if (!line.endsWith('}')) return undefined
  let from = FIRST.length
  let to: number
  if (line.startsWith(FIRST)) to = line.indexOf('"', from)
  else {
    if (!line.endsWith('"}')) return undefined
    to = line.length - 2
    from = line.lastIndexOf(LAST, to) + LAST.length
    if (from < LAST.length || line.indexOf('"', from) !== to) return undefined
  }
  if (to <= from) return undefined
  const id = line.slice(from, to)
  return id.includes('\\') ? undefined : id
}
