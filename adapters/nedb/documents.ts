import { types } from 'node:util'
import { crypto } from '../../src/os/modules.ts'
import { UNIT_ID } from '../../src/store/log/units.ts'
import type { Doc, IndexOptions, Query } from './internals.ts'

/**
 * Refuses what NeDB would take now and lose at the next load, and makes of the rest what the file will say: NaN,
 * Infinity, invalid dates and holes are `null` there, -0 is 0, and undefined is not there, so that they are it in memory
 * too. The number 0 is let through, since NeDB's own tests insert it: pslock keeps such a document, vanilla skips it
 * when it loads.
 * @param isNew whether no document has its id yet. One that came in with a file keeps it, also where vanilla would lose it.
 * @throws TypeError that says which value, and why
 */
export function makeStorable(doc: Doc, isNew: boolean): void {
  requireDocument(doc)
  const id = doc._id
  if (!((typeof id === 'string' && id !== '') || (typeof id === 'number' && Number.isFinite(id)))) {
    throw new TypeError(
      `_id must be a non-empty string (or a finite number), got ${JSON.stringify(id) ?? String(id)}: NeDB would lose ` +
        'the document at the next load',
    )
  }
  if ((isNew && id === '__proto__') || id === UNIT_ID) {
    throw new TypeError(`_id must not be ${JSON.stringify(id)}, which is reserved`)
  }
  for (const name of Object.keys(doc)) {
    requireOrdinary(name)
    const value = asInFile(doc[name])
    if (value === undefined) delete doc[name]
    else doc[name] = value
  }
}

/**
 * Refuses what NeDB takes for a document and writes as something else: a list, a date.
 * @throws TypeError
 */
export function requireDocument(doc: unknown): void {
  if (!Array.isArray(doc) && !types.isDate(doc)) return
  const what = Array.isArray(doc) ? 'an array' : 'a Date'
  throw new TypeError(`a document must be an object, got ${what}: NeDB would lose it at the next load`)
}

/**
 * What the file will say of a value, in containers of its own (dates are shared, as everywhere in NeDB, whose tests want one
 * object for `createdAt` and `updatedAt`): NeDB's `$set` and `$push` take the caller's, who may change them later, when they are
 * no longer what the file says.
 */
function asInFile(value: unknown): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : null
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (typeof value !== 'object' || value === null) return value
  if (types.isDate(value)) return Number.isNaN(value.getTime()) ? null : value
  // Not `map`, which leaves holes as they are.
  if (Array.isArray(value)) return Array.from(value, (element) => asInFile(element) ?? null)
  const copy: Doc = {}
  for (const [name, inner] of Object.entries(value)) {
    requireOrdinary(name)
    const stored = asInFile(inner)
    if (stored !== undefined) copy[name] = stored
  }
  return copy
}

/** A document that is new, and what its line is made of. */
export interface Stored {
  readonly doc: Doc
  /** Where it has dates, NeDB must write it. */
  readonly hasDates: boolean
}

let hasDates = false

/**
 * A copy of a document as the file will say it, in one go where `deepCopy`, `checkObject` and `makeStorable` are three.
 * @returns undefined for what one of them would refuse, change or say something about: they must look at it
 */
export function storedCopy(given: Doc): Stored | undefined {
  hasDates = false
  const doc = copyOf(given) as Doc | undefined
  return doc && { doc, hasDates }
}

/** @returns undefined where it is odd */
function copyOf(value: unknown): unknown {
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : undefined
  if (typeof value !== 'object') return undefined
  if (value === null) return null
  if (Array.isArray(value)) {
    const list: unknown[] = []
    for (let at = 0; at < value.length; at++) {
      const copy = copyOf(value[at])
      if (copy === undefined) return undefined
      list.push(copy)
    }
    return list
  }
  if (types.isDate(value)) {
    hasDates = true
    return Number.isNaN(value.getTime()) ? undefined : value
  }
  const object: Doc = {}
  for (const name in value) {
    if (!Object.hasOwn(value, name)) continue
    if (name.startsWith('$') || name.includes('.') || name === '__proto__' || name === 'constructor')
      return undefined
    const copy = copyOf((value as Doc)[name])
    if (copy === undefined) return undefined
    object[name] = copy
  }
  return object
}

/** A name that NeDB has a meaning of its own for: it lets some of them in, and reads something else back. */
function requireOrdinary(name: string): void {
  if (!name.startsWith('$')) return
  throw new TypeError(
    `a document must not have a field ${name}: NeDB has a meaning of its own for names that begin with $, and would read something else back`,
  )
}

/** NeDB's own reader ends a line at each of these, too. */
const OTHER_LINE_ENDS = /\r\n|[\v\f\r\u0085\u2028\u2029]/

const BLANK = /^[ \t]*$/

/**
 * The parts of an unreadable line that may be records by themselves: between characters that end a line for NeDB's own
 * reader, and before or behind zeros, as a bad sector leaves them. Between zeros nothing is a record: it may be a part of one.
 */
export function partsOf(line: string): readonly string[] {
  return line.split(OTHER_LINE_ENDS).flatMap((part) => {
    const pieces = part.split(/\0+/)
    // What is blank is nothing of a record: the space that says that more of a unit follows.
    return [pieces[0] ?? '', pieces.length > 1 ? (pieces.at(-1) ?? '') : ''].filter(
      (text) => !BLANK.test(text),
    )
  })
}

/** What may be another date than NeDB writes: people also leave spaces. */
export const ODD_DATE: RegExp = /"\$\$date"(?!:-?\d+\})/

/**
 * Whether a record, as JSON says it, has a date that the file would lose when it is next written: one that is no date
 * (NeDB writes `null` for it, and reads 1970 back), or one with something beside it, which NeDB leaves out.
 */
export function hasBadDate(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (!Object.hasOwn(value, '$$date')) return Object.values(value).some(hasBadDate)
  const { $$date } = value as { readonly $$date: string }
  return Object.keys(value).length > 1 || Number.isNaN(new Date($$date).getTime())
}

/** The other form of an id that NeDB takes for the same when it loads: 1 and "1". */
export function twinOf(id: unknown): unknown {
  if (typeof id === 'number') return String(id)
  return typeof id === 'string' && String(Number(id)) === id ? Number(id) : undefined
}

/** Equal for values that are equal as JSON. Fields in any order are the same object. */
export function jsonKeyOf(value: unknown): string {
  if (value === undefined) return 'undefined'
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}

/** Whether a record of the file is a document (or its deletion), and not an index line or something unknown. */
export function isDocument(record: Doc): boolean {
  return Boolean(record._id) || record._id === 0
}

/**
 * Whether a record is none of NeDB's: no document, and no line for the machinery (`$$indexCreated`, or a `$$` line of a
 * later version, which is skipped). Vanilla drops such lines, and with them a whole JSON file opened by mistake. An index
 * of a field that is no string is none either: vanilla refuses the whole file for it.
 */
export function isForeign(record: Doc): boolean {
  if (isDocument(record)) return false
  return isIndexOfNoField(record) || !Object.keys(record).some((key) => key.startsWith('$$'))
}

/** Whether a record says that an index was made, of a field whose name is no string. Vanilla skips those without one. */
export function isIndexOfNoField({ $$indexCreated: created }: Doc): boolean {
  const fieldName = (created as Partial<IndexOptions> | null | undefined)?.fieldName
  return fieldName != null && typeof fieldName !== 'string'
}

/**
 * Takes in a line that says of an index that it was made, or removed; not of the one of `_id`, which is always there and is what
 * all documents are found by.
 */
export function readIndexLine(record: Doc, indexes: Map<string, IndexOptions | undefined>): void {
  const created = record.$$indexCreated as IndexOptions | undefined
  const removed = record.$$indexRemoved
  if (typeof created?.fieldName === 'string') indexes.set(created.fieldName, created)
  // Older writers left the names of a compound index as an array, which vanilla does not read back.
  else if (Array.isArray(removed)) indexes.set([...removed].sort().join(','), undefined)
  else if (typeof removed === 'string') indexes.set(removed, undefined)
  indexes.delete('_id')
}

/**
 * NeDB follows a path with dots through whatever it finds, also through what an object has from its prototype: `$set:
 * { 'constructor.prototype.isAdmin': true }` changes all objects of the process, `'constructor.keys'` the function
 * `Object.keys`, `'tags.push.x'` that of all arrays, `$unset` removes them, and a projection does either on its way to a
 * copy. The document stays as it was, so that the change is lost as well. Here such paths are refused.
 */

/** What plain objects have without having it themselves. A document may have fields of these names. */
const OF_OBJECTS = namesOf(Object.prototype)

/** The same of any value that may stand in a document. */
const INHERITED: ReadonlySet<string> = new Set([
  ...OF_OBJECTS,
  ...[Array, String, Number, Boolean, Date].flatMap((Class) => [...namesOf(Class.prototype as object)]),
])

function namesOf(prototype: object): ReadonlySet<string> {
  return new Set(Object.getOwnPropertyNames(prototype))
}

/**
 * Refuses `__proto__` and `constructor.prototype` wherever they are in a document, an update or a projection: as names, in
 * paths with dots, or one inside the other. To set `__proto__` changes the prototype, and is lost in any case.
 * @throws TypeError
 */
export function requireNoPrototype(change: unknown): void {
  requireNone(change, false)
}

/** @param inConstructor whether it is the value of a field `constructor` */
function requireNone(change: unknown, inConstructor: boolean): void {
  if (typeof change !== 'object' || change === null) return
  for (const name of Object.keys(change)) {
    const isConstructor = requireNoneIn(name, inConstructor)
    const value = (change as Doc)[name]
    if (typeof value !== 'object' || value === null) continue
    requireNone(value, isConstructor)
    // No modifier of this NeDB, but of others: what it names is a path too.
    if (name === '$rename') for (const to of Object.values(value)) requireNoneIn(String(to), false)
  }
}

/** @returns whether the last step of the path is `constructor` */
function requireNoneIn(path: string, inConstructor: boolean): boolean {
  if (!path.includes('.')) {
    if (path === '__proto__' || (inConstructor && path === 'prototype')) throw throughPrototype(path)
    return path === 'constructor'
  }
  let isConstructor = inConstructor
  for (const step of path.split('.')) {
    if (step === '__proto__' || (isConstructor && step === 'prototype')) throw throughPrototype(path)
    isConstructor = step === 'constructor'
  }
  return isConstructor
}

function throughPrototype(path: string): TypeError {
  const name = path.includes('__proto__') ? '__proto__' : 'constructor.prototype'
  return new TypeError(
    `${name} is refused in documents, updates, projections and indexes: NeDB would lose it, or change the objects of the whole process, got ${path}`,
  )
}

/** What a change does to fields: the paths that could lead through something inherited, and all of them. */
export interface Paths {
  readonly suspicious: readonly string[]
  readonly all: readonly string[]
}

/** @returns undefined where none is suspicious, as nearly always */
export function suspiciousIn(update: Doc): Paths | undefined {
  let found = false
  for (const name in update) {
    if (!name.startsWith('$')) continue
    for (const path in update[name] as object) if (path.includes('.')) found = true
  }
  if (!found) return undefined
  return suspiciousAmong(Object.values(update).flatMap((fields) => Object.keys(Object(fields) as object)))
}

/** As `suspiciousIn`, of the fields of one modifier or of a projection. */
export function suspiciousAmong(all: readonly string[]): Paths | undefined {
  const suspicious = all.filter((path) => stepsOf(path).some((step) => INHERITED.has(step)))
  return suspicious.length === 0 ? undefined : { suspicious, all }
}

/** All steps but the last, which is set and not followed. */
function stepsOf(path: string): string[] {
  return path.split('.').slice(0, -1)
}

/**
 * Refuses paths through what the document has not itself. Where another path of the same change could put something
 * else there first, it is refused too.
 * @throws TypeError
 */
export function requireOwnPaths(doc: Doc | Query, { suspicious, all }: Paths): void {
  for (const path of suspicious) {
    if (isOwnPath(doc, path) && !all.some((other) => path.startsWith(`${other}.`))) continue
    throw new TypeError(
      `the path ${path} leads through what objects have from their prototype: NeDB would change it for the whole process`,
    )
  }
}

function isOwnPath(doc: unknown, path: string): boolean {
  let value = doc
  for (const step of stepsOf(path)) {
    // NeDB makes an object where nothing is.
    if (value === undefined) value = {}
    if (value === null) return true
    const object = Object(value) as Doc
    if (!Object.hasOwn(object, step)) {
      if (step in object) return false
      value = undefined
    } else value = object[step]
  }
  return true
}

/** How many random bytes NeDB draws for an id of sixteen characters: of their base64 it leaves + and / out. */
const BYTES = 32
const LENGTH = 16

const pool = Buffer.alloc(128 * BYTES)
let used = pool.length

/**
 * An id as NeDB makes it. The random bytes are drawn for many at a time: for each by itself it took a tenth of an insert
 * (3.7 of 37 us).
 */
export function randomId(): string {
  if (used === pool.length) {
    crypto().randomFillSync(pool)
    used = 0
  }
  const id = pool
    .toString('base64', used, used + BYTES)
    .replace(/[+/]/g, '')
    .slice(0, LENGTH)
  used += BYTES
  return id
}
