import documents from '@seald-io/nedb/lib/model.js'
import { UNIT_ID } from '../../src/store/log/units.ts'
import { hasBadDate, isDocument, isForeign, ODD_DATE, partsOf, type Stored } from './documents.ts'
import type { Doc, NedbModel } from './internals.ts'

/**
 * How NeDB writes, reads and checks a document. The package takes this one file of the library's in (see
 * rolldown.config.js): a user of nedb-promises need not have the library where pslock could find it (pnpm).
 */
export const model: NedbModel = documents

/**
 * NeDB's reader splits lines at these too, and JSON.stringify leaves them as they are: documents that contain them
 * are lost at the next load. Escaped they are the same JSON.
 */
const LINE_BREAKS = /[\u0085\u2028\u2029]/g
const LINE_BREAK = /[\u0085\u2028\u2029]/

/** A document, or an index line, as one line of the file. */
export function toLine(record: unknown): string {
  return model
    .serialize(record)
    .replace(LINE_BREAKS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** What may be a name that begins with $, beside those that NeDB writes into its documents itself. */
const ODD_NAME = /"\$(?!\$date":|\$deleted":true)/

/** Nested so deep that NeDB's own functions, which recurse, may not get through: its reader shows it (some 2,500 levels). */
const DEEP = 1000

function isDeep(line: string): boolean {
  if (line.length < 2 * DEEP) return false
  let depth = 0
  for (let at = 0; at < line.length; at++) {
    const char = line.charCodeAt(at)
    // { and [ open, } and ] close; those in texts are counted too, which costs a second look at most.
    if (char === 123 || char === 91) {
      if (++depth > DEEP) return true
    } else if (char === 125 || char === 93) depth--
  }
  return false
}

/** What a marker line comes to that is damaged, or has another line end: nothing. Vanilla lets the closing one delete it. */
const DAMAGED_MARKER: Doc = { $$damagedMarker: true }

/** A line as the document it holds; undefined where it is none. */
export function fromLine(line: string): Doc | undefined {
  try {
    const hasDates = line.includes('$$date')
    if (hasDates && ODD_DATE.test(line) && hasBadDate(JSON.parse(line))) return undefined
    // Without dates nothing needs reviving, and JSON.parse alone is six times as fast (0.9 against 6 us a line).
    const value: unknown = hasDates || isDeep(line) ? model.deserialize(line) : JSON.parse(line)
    if (line.includes(UNIT_ID) && (value as Doc | null)?._id === UNIT_ID) return DAMAGED_MARKER
    // NeDB refuses a file with such a document, and we could not write it any more either.
    if ((line.includes('.') || ODD_NAME.test(line)) && isDocument(value as Doc)) model.checkObject(value)
    return typeof value === 'object' && value !== null ? (value as Doc) : undefined
  } catch {
    return undefined
  }
}

/**
 * An update that NeDB may change: it puts the containers of a modifier into the document and goes on changing them there (`$set`
 * of a list and `$push` to it), so that applied once more it would come to something else. What `$pull` has is only compared,
 * and may be a RegExp.
 */
export function ownUpdate(update: Doc): Doc {
  let own = update
  for (const name of Object.keys(Object(update))) {
    if (!name.startsWith('$') || name === '$pull') continue
    if (own === update) own = { ...update }
    own[name] = model.deepCopy(update[name])
  }
  return own
}

/** As `toLine`, of what `storedCopy` has made. */
export function lineOf({ doc, hasDates }: Stored): string {
  if (hasDates) return toLine(doc)
  const line = JSON.stringify(doc)
  return LINE_BREAK.test(line) ? toLine(doc) : line
}

/** What can be read of an unreadable line. @returns also whether that is all of it */
export function recordsIn(line: string): { records: Doc[]; isWhole: boolean } {
  const parts = partsOf(line)
  const records: Doc[] = []
  for (const part of parts) {
    const record = fromLine(part)
    if (record && !isForeign(record)) records.push(record)
  }
  return { records, isWhole: parts.length > 0 && records.length === parts.length && !line.includes('\0') }
}
