import { setImmediate } from 'node:timers/promises'
import type { FileFormat } from '../../src/features/backup/format.ts'
import { logFormat, unreadableLine } from '../../src/features/backup/log-format.ts'
import type { EachLine, LineInspector, LineProblem, LogLine, Place } from '../../src/store/adapter.ts'
import { UNIT_ID } from '../../src/store/log/units.ts'
import {
  hasBadDate,
  isForeign,
  isIndexOfNoField,
  jsonKeyOf,
  partsOf,
  readIndexLine,
  twinOf,
} from './documents.ts'
import type { Doc, IndexOptions } from './internals.ts'

/** After so many documents other work of the process gets its turn. */
const DOCUMENTS_AT_ONCE = 2000

/** The file of a NeDB store without serialization hooks. Needs no NeDB. Pure: the classes of stores need none of it. */
export const nedbFormat: FileFormat = /* @__PURE__ */ logFormat('NeDB', inspectNedbLines)

/** What in lines of a NeDB file keeps NeDB from loading it, or from loading all of it. */
export function inspectNedbLines(): LineInspector {
  return new NedbInspector()
}

class NedbInspector implements LineInspector {
  /** The documents as the file leaves them: where the last line of each id stands. */
  readonly #living = new Map<unknown, Place>()
  readonly #indexes = new Map<string, IndexOptions | undefined>()
  /** A damaged marker that nothing deletes: NeDB refuses the file. */
  #marker: LogLine | undefined

  add(line: LogLine): LineProblem | undefined {
    const { records, parts, isWhole, objection } = recordsOf(line.text)
    for (const record of records) this.#take(record, line)
    return isWhole ? undefined : unreadableLine(line, objection, parts)
  }

  #take(record: Doc, line: LogLine): void {
    const { _id } = record
    if (_id === UNIT_ID) this.#marker = record.$$deleted === true ? undefined : line
    else if (_id === undefined) readIndexLine(record, this.#indexes)
    else if (record.$$deleted === true) this.#living.delete(keyOf(_id))
    else this.#living.set(keyOf(_id), { line: line.line, byte: line.byte, length: line.length })
  }

  async finish(eachLine: EachLine): Promise<readonly LineProblem[]> {
    const found = [...(await this.#twins()), ...(await this.#duplicates(eachLine))]
    const problems = found.length > 0 ? await this.#withAllLines(found, eachLine) : []
    if (!this.#marker) return problems
    return [...problems, unreadableLine(this.#marker, 'it is the beginning of a unit without its end')]
  }

  /** Two ids that NeDB takes for one: it loads the later document only. */
  async #twins(): Promise<Found[]> {
    const found: Found[] = []
    let count = 0
    for (const [id, at] of this.#living) {
      if (++count % DOCUMENTS_AT_ONCE === 0) await setImmediate()
      const twin = twinOf(id)
      const other = this.#living.get(twin)
      // Told once, of the earlier one, which NeDB loses.
      if (!other || at.line > other.line) continue
      found.push({
        id,
        at,
        what: 'twin-id',
        message: `_id ${JSON.stringify(id)} and ${JSON.stringify(twin)} (line ${other.line}) are one to NeDB, which loses this document`,
        mend: 'Give it another _id by hand, or `pslock repair` takes it out and keeps it.',
      })
    }
    return found
  }

  /** What NeDB itself would refuse to load: of two documents the later one came in without a lock. */
  async #duplicates(eachLine: EachLine): Promise<Found[]> {
    const found: Found[] = []
    const owners = [...this.#indexes]
      .filter(([name, index]) => typeof name === 'string' && index?.unique)
      .map(([field, index]) => ({ field, sparse: Boolean(index?.sparse), known: new Map<string, Owner>() }))
    if (owners.length === 0) return found
    await eachLine((line) => {
      for (const doc of recordsOf(line.text).records) {
        const at = this.#living.get(keyOf(doc._id))
        if (at?.byte !== line.byte || doc.$$deleted === true) continue
        for (const { field, sparse, known } of owners) {
          const keys = uniqueKeys(doc, field, sparse)
          const taken = keys.find((key) => known.has(key))
          const first = taken === undefined ? undefined : known.get(taken)
          if (!first) for (const key of keys) known.set(key, { id: doc._id, line: line.line })
          else {
            found.push({
              id: keyOf(doc._id),
              at,
              what: 'duplicate-key',
              message:
                `the unique index ${JSON.stringify(field)} has ${taken} twice: in _id ${JSON.stringify(doc._id)}, and in ` +
                `_id ${JSON.stringify(first.id)} (line ${first.line})`,
              mend: 'Change one of them by hand, or `pslock repair` takes this one out and keeps it.',
            })
          }
        }
      }
    })
    return found
  }

  /** A document goes with all lines of its id, or an older one would come back. */
  async #withAllLines(found: readonly Found[], eachLine: EachLine): Promise<LineProblem[]> {
    const lines = new Map<unknown, Place[]>(found.map(({ id }) => [id, []]))
    await eachLine(({ text, ...place }) => {
      for (const { _id } of recordsOf(text).records) lines.get(keyOf(_id))?.push(place)
    })
    return found.map(({ id, ...problem }) => ({ ...problem, without: lines.get(id) ?? [] }))
  }
}

/** Two ids of a file that are one: a date, or another object, which vanilla lets in. */
function keyOf(id: unknown): unknown {
  return typeof id === 'object' ? `\0${jsonKeyOf(id)}` : id
}

/** Who has a key of a unique index. */
type Owner = { readonly id: unknown; readonly line: number }

/** A document that is in another's way. */
interface Found extends Omit<LineProblem, 'without'> {
  readonly id: unknown
}

/** What can be read of a line, and by itself of which parts of it; whether that is all of it, and if not, why. */
function recordsOf(text: string): {
  records: Doc[]
  parts: string[]
  isWhole: boolean
  objection?: string | undefined
} {
  const whole = parse(text)
  const objection = whole && objectionTo(whole)
  if (whole && objection === undefined) return { records: [whole], parts: [text], isWhole: true }
  const all = partsOf(text)
  const records: Doc[] = []
  const parts = all.filter((part) => {
    const record = part === text ? undefined : parse(part)
    if (!record || objectionTo(record) !== undefined) return false
    records.push(record)
    return true
  })
  const isWhole = records.length > 0 && records.length === all.length && !text.includes('\0')
  return { records, parts, isWhole, objection }
}

function parse(text: string): Doc | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Doc) : undefined
  } catch {
    return undefined
  }
}

/** Why a record is none of NeDB's; undefined: it is one. */
function objectionTo(record: Doc): string | undefined {
  // NeDB makes a date of all of it.
  if (Object.hasOwn(record, '$$date')) return 'it is a date'
  if (isForeign(record))
    return isIndexOfNoField(record) ? 'the name of its index is no string' : 'it has no _id'
  if (record._id === undefined || record.$$deleted === true || record._id === UNIT_ID) return undefined
  if (hasBadDate(record)) return 'NeDB would lose one of its dates, or what stands beside it'
  const field = forbiddenField(record)
  return field === undefined ? undefined : `NeDB refuses a field of the name ${JSON.stringify(field)}`
}

/** One such name, and vanilla refuses the whole file. */
function forbiddenField(value: object): string | undefined {
  for (const [name, inner] of Object.entries(value)) {
    if ((name.startsWith('$') && name !== '$$date') || name.includes('.')) return name
    const found = typeof inner === 'object' && inner !== null ? forbiddenField(inner) : undefined
    if (found !== undefined) return found
  }
  return undefined
}

/**
 * The keys under which a unique index has a document, as texts that are equal where NeDB's comparison says so.
 * @param name of the index: a field, with dots into what it holds, or several of them behind commas
 */
function uniqueKeys(doc: Doc, name: string, sparse: boolean): string[] {
  const fields = name.split(',')
  const values = fields.map((field) => valueAt(doc, field.split('.')))
  if (sparse && values.every((value) => value === undefined)) return []
  const [only] = values
  // Each element of an array is a key of its own.
  if (fields.length === 1 && Array.isArray(only)) return [...new Set(only.map(jsonKeyOf))]
  return [fields.length === 1 ? jsonKeyOf(only) : `(${values.map(jsonKeyOf).join(', ')})`]
}

function valueAt(value: unknown, [first, ...rest]: readonly string[]): unknown {
  if (first === undefined || !value) return first === undefined ? value : undefined
  const inner = (value as Doc)[first]
  const [next] = rest
  if (!Array.isArray(inner) || next === undefined) return valueAt(inner, rest)
  const index = Number.parseInt(next, 10)
  if (!Number.isNaN(index)) return valueAt(inner[index], rest.slice(1))
  return inner.map((element) => valueAt(element, rest))
}
