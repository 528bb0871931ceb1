import { crypto } from '../../src/os/modules.ts'
import type { RecordLine } from '../../src/store/adapter.ts'
import { isDocument, readIndexLine } from './documents.ts'
import type { Doc, IndexOptions } from './internals.ts'
import { fromLine, toLine } from './model.ts'
import { idIn, REMOVAL } from './pending.ts'

/** Longer names of records are replaced by their hash: an index of PostgreSQL takes some 2,700 bytes. In bytes. */
const LONGEST_KEY = 1000

/** The name of the record with this `_id`: its JSON, so that 1 and "1" are two. */
export function keyOf(id: unknown): string {
  return short(typeof id === 'string' || typeof id === 'number' ? JSON.stringify(id) : toLine(id))
}

/** Its JSON also says what no text of PostgreSQL can: \0 and halves of a character. */
function indexKeyOf(name: string): string {
  return `$$index ${short(JSON.stringify(name).slice(1, -1))}`
}

function short(key: string): string {
  if (key.length * 3 <= LONGEST_KEY || Buffer.byteLength(key) <= LONGEST_KEY) return key
  return `sha256 ${crypto().createHash('sha256').update(key).digest('hex')}`
}

/** Which record a line is of, for a store that keeps each in a row of its own. */
export function recordOf(line: string): RecordLine {
  const id = idIn(line)
  if (id !== undefined) return { key: keyOf(id), isGone: line.startsWith(REMOVAL), isIndex: false }
  const record = fromLine(line) as Doc
  if (isDocument(record)) return { key: keyOf(record._id), isGone: record.$$deleted === true, isIndex: false }
  const indexes = new Map<string, IndexOptions | undefined>()
  readIndexLine(record, indexes)
  const [[name, options] = ['', undefined]] = indexes
  return { key: indexKeyOf(name), isGone: options === undefined, isIndex: true }
}
