import { crc32 } from 'node:zlib'

/** What a worker stores: it proves by itself whether it is whole, whoever reads it. */
export interface StoredRecord {
  readonly worker: number
  readonly n: number
  /** How often it was updated. */
  readonly v: number
  readonly length: number
  readonly crc: number
  readonly payload: string
}

/** What a line-based or a careless writer trips over: quotes, line feeds, two-byte and four-byte characters. */
const ALPHABET = 'the quick brown fox "jumps"\nover\\ the lazy dog é ∆ 🦊 {"$$":[1,2]} '

export function recordId(worker: number, n: number): string {
  return `w${worker}-${n}`
}

/** The worker and number of a record's id, or undefined for an id of something else. */
export function parseRecordId(id: unknown): { worker: number; n: number } | undefined {
  const match = typeof id === 'string' ? /^w(\d+)-(\d+)$/.exec(id) : null
  return match ? { worker: Number(match[1]), n: Number(match[2]) } : undefined
}

export function makeRecord(worker: number, n: number, v: number, length: number): StoredRecord {
  const start = (worker * 31 + n * 7 + v) % ALPHABET.length
  const payload = (ALPHABET.slice(start) + ALPHABET.repeat(Math.ceil(length / ALPHABET.length))).slice(
    0,
    length,
  )
  // A cut in the middle of a surrogate pair would not survive being written as UTF-8.
  const whole = payload.replace(/[\ud800-\udfff]/gu, '?')
  return { worker, n, v, length: whole.length, crc: checksum(worker, n, v, whole), payload: whole }
}

/** Whether nothing of it is missing, mixed with another version, or another record's. */
export function isWhole(found: unknown, id: string): found is StoredRecord {
  const record = (found ?? {}) as Partial<StoredRecord>
  const { worker, n, v, payload } = record
  return (
    typeof worker === 'number' &&
    typeof n === 'number' &&
    typeof v === 'number' &&
    typeof payload === 'string' &&
    id === recordId(worker, n) &&
    payload.length === record.length &&
    checksum(worker, n, v, payload) === record.crc
  )
}

function checksum(worker: number, n: number, v: number, payload: string): number {
  return crc32(`${worker} ${n} ${v} ${payload}`)
}
