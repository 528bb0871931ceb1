import { setImmediate } from 'node:timers/promises'
import { types } from 'node:util'
import type { Loading } from '../../src/store/adapter.ts'
import { isDocument, isForeign, jsonKeyOf, readIndexLine } from './documents.ts'
import type { Doc, IndexOptions, NedbIndex } from './internals.ts'
import { fromLine, recordsIn } from './model.ts'

/** Other work of the process gets its turn after so long. */
const TURN_MS = 10
/** The clock is looked at after so many documents. */
const DOCUMENTS_AT_ONCE = 200

/**
 * The first object of each date, and of each other value that is an object, that is an `_id` in the file (vanilla lets them in):
 * equal ones are one key.
 */
export type ObjectIds = Map<number | string, object>

/** What lines of a file come to: documents (undefined: deleted) and indexes (undefined: removed), the last word on each. */
export class Contents {
  readonly docs: Map<unknown, Doc | undefined> = new Map()
  readonly indexes: Map<string, IndexOptions | undefined> = new Map()
  readonly #ids: ObjectIds

  constructor(ids: ObjectIds) {
    this.#ids = ids
  }

  /** @returns false where the line, or a part of it, is no record of NeDB's */
  add(line: string): boolean {
    const record = fromLine(line)
    if (record && !isForeign(record)) {
      this.#take(record)
      return true
    }
    const { records, isWhole } = recordsIn(line)
    for (const part of records) this.#take(part)
    return isWhole
  }

  #take(record: Doc): void {
    if (isDocument(record)) this.docs.set(this.#idOf(record), record.$$deleted === true ? undefined : record)
    else readIndexLine(record, this.indexes)
  }

  #idOf({ _id }: Doc): unknown {
    if (typeof _id !== 'object' || _id === null) return _id
    const key = types.isDate(_id) ? _id.getTime() : jsonKeyOf(_id)
    const known = this.#ids.get(key)
    if (!known) this.#ids.set(key, _id)
    return known ?? _id
  }
}

/** How the indexes that a file comes to are put in place. */
interface Parts {
  readonly contents: Contents
  newIndex(options: IndexOptions): NedbIndex
  /** They become the store's own, all at once. */
  take(built: ReadonlyMap<string, NedbIndex>): void
  /** @returns the error for documents that cannot be in one index */
  refuse(cause: unknown): Error
}

/** A file that is read from its beginning: new indexes are built beside the ones that the store has. */
export class NedbLoading implements Loading {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  add(lines: readonly string[]): readonly string[] {
    return lines.filter((line) => !this.#parts.contents.add(line))
  }

  async finish(): Promise<void> {
    const { contents, newIndex, take, refuse } = this.#parts
    const built = new Map<string, NedbIndex>([['_id', newIndex({ fieldName: '_id', unique: true })]])
    for (const [name, options] of contents.indexes) if (options) built.set(name, newIndex(options))
    const indexes = [...built.values()]
    let [began, count] = [performance.now(), 0]
    for (const [id, doc] of contents.docs) {
      // Each is let go as soon as it is in the indexes.
      contents.docs.delete(id)
      if (!doc) continue
      try {
        for (const index of indexes) index.insert(doc)
      } catch (cause) {
        throw refuse(cause)
      }
      if (++count % DOCUMENTS_AT_ONCE !== 0 || performance.now() - began < TURN_MS) continue
      await setImmediate()
      began = performance.now()
    }
    take(built)
  }
}
