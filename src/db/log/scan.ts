import { isUtf8 } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { CLOSING, type LineCoder, NEWLINE, OPENING, SPACE, UNIT_ID } from './unit.ts'

/** What a stretch of the log holds. */
export interface Scan {
  /** The lines of all complete units, in order, decoded, without the markers. */
  readonly lines: string[]
  /** Where the last complete unit ends. Whatever follows is not applied. */
  readonly end: number
  /** What follows: nothing, a unit cut short, or a last line that only lacks its line feed. */
  readonly rest: 'none' | 'torn' | 'unterminated'
  /** Where the zeros begin that power loss has left behind such a line, in place of what was to follow it. */
  readonly zerosAt?: number
}

/** Reads the units of a stretch that begins at a unit's start. */
export function scanUnits(bytes: Buffer): Scan {
  const plain = plainLines(bytes)
  if (plain) return { lines: plain, end: bytes.length, rest: 'none' }
  const lines: string[] = []
  const textOf = reader(bytes)
  let open: string[] = []
  let end = 0
  let position = 0
  for (let newline = bytes.indexOf(NEWLINE); newline !== -1; newline = bytes.indexOf(NEWLINE, position)) {
    const text = textOf(position, newline)
    const next = newline + 1
    const opening = text.startsWith('{"_id":"$$pslock"') ? OPENING.exec(text) : null
    if (opening && open.length === 0) {
      const marked = readMarked(bytes, next, Number(opening[1]), Number(opening[2]), CLOSING)
      if (marked === undefined) return { lines, end, rest: 'torn' }
      for (const line of marked.body.split('\n')) if (line !== '') lines.push(line)
      position = marked.next
      end = position
      if (marked.unterminated) return { lines, end, rest: 'unterminated' }
      continue
    }
    position = next
    // Blank lines pad; one inside an open unit means that its rest never came.
    if (text === '' || text === '\r') {
      if (open.length === 0) end = position
      continue
    }
    // JSON never holds a raw NUL: a zeroed sector after power loss. What follows is not to be trusted either.
    if (text.indexOf('\0', isNoText(text) ? 1 : 0) !== -1) {
      const zerosAt = open.length === 0 ? zerosBehindRecord(bytes, end, position) : undefined
      return zerosAt === undefined
        ? { lines, end, rest: 'torn' }
        : { lines, end, rest: 'unterminated', zerosAt }
    }
    // Only where the first line says so too: a space at the end of a line edited by hand means nothing.
    const isPart = open.length > 0 || text.startsWith(' ')
    open.push(text)
    if (isPart && bytes[newline - 1] === SPACE) continue
    for (const line of open) lines.push(line)
    open = []
    end = position
  }
  if (end === bytes.length) return { lines, end, rest: 'none' }
  const zerosAt = open.length === 0 ? zerosBehindRecord(bytes, end, bytes.length) : undefined
  if (zerosAt !== undefined) return { lines, end, rest: 'unterminated', zerosAt }
  const last = open.length === 0 && bytes[position] !== SPACE ? textOf(position, bytes.length) : ''
  return { lines, end, rest: isRecord(last) ? 'unterminated' : 'torn' }
}

/**
 * The lines of a stretch that can be nothing but whole units without markers; undefined where it may be more. All of it is
 * made text and cut up at once (0.1 us a line, one by one 0.5).
 */
function plainLines(bytes: Buffer): string[] | undefined {
  if (!endsWhole(bytes) || bytes.indexOf(UNIT_ID) !== -1 || !isUtf8(bytes)) return undefined
  const text = bytes.toString('utf8')
  // A blank line inside an open unit means that its rest never came.
  if (text.includes(' \n\n') || text.includes('\r')) return undefined
  const lines = text.split('\n')
  return text.startsWith('\n') || text.includes('\n\n')
    ? lines.filter((line) => line !== '')
    : withoutLast(lines)
}

/** What follows the last line feed is no line. */
function withoutLast(lines: string[]): string[] {
  lines.pop()
  return lines
}

/** As `scanUnits` for a store with hooks: every line must be decoded before one can tell what it is. */
export async function scanUnitsWith(coder: LineCoder, bytes: Buffer): Promise<Scan> {
  const lines: string[] = []
  const textOf = reader(bytes)
  let end = 0
  let position = 0
  for (let newline = bytes.indexOf(NEWLINE); newline !== -1; newline = bytes.indexOf(NEWLINE, position)) {
    const raw = textOf(position, newline)
    position = newline + 1
    if (raw !== '') {
      const text = await decoded(coder, raw)
      const opening = OPENING.exec(text)
      if (opening) {
        const closing = await coder.encode(CLOSING)
        const marked = readMarked(bytes, position, Number(opening[1]), Number(opening[2]), closing)
        if (marked === undefined) return { lines, end, rest: 'torn' }
        for (const line of marked.body.split('\n')) if (line !== '') lines.push(await decoded(coder, line))
        position = marked.next
        if (marked.unterminated) return { lines, end: position, rest: 'unterminated' }
      } else lines.push(text)
    }
    end = position
  }
  if (end === bytes.length) return { lines, end, rest: 'none' }
  return {
    lines,
    end,
    rest: isRecord(await decoded(coder, textOf(end, bytes.length))) ? 'unterminated' : 'torn',
  }
}

/** `$$` that means nothing but a date. */
const DATE = '$$date'

/**
 * Whether a stretch that begins at a unit's start can be nothing but whole units of documents: no index lines, no
 * deletions, no markers, nothing torn, no zeros. It is said without looking at the lines (0.02 us each, where to parse
 * one takes 1 us); what they hold shows when they are read.
 */
export function isPlain(bytes: Buffer): boolean {
  if (!endsWhole(bytes)) return false
  for (let at = bytes.indexOf('$$'); at !== -1; at = bytes.indexOf('$$', at + DATE.length)) {
    if (bytes.toString('latin1', at, at + DATE.length) !== DATE) return false
  }
  return true
}

/** Whether a stretch ends with a whole unit, should it hold no markers, and no zeros of power loss. */
function endsWhole(bytes: Buffer): boolean {
  const { length } = bytes
  // A space before the line feed: more of the unit follows.
  return bytes[length - 1] === NEWLINE && bytes[length - 2] !== SPACE && bytes.indexOf(0) === -1
}

/** Begins what stands for a line that is no text: no JSON begins so. */
const NO_TEXT = '\0\ufffd'

function isNoText(text: string): boolean {
  return text.startsWith(NO_TEXT)
}

/**
 * Reads parts of the bytes as text. Bytes that are no UTF-8 must not become U+FFFD inside a record that parses: the next
 * rewrite would make that final.
 */
function reader(bytes: Buffer): (from: number, to: number) => string {
  if (isUtf8(bytes)) return (from, to) => bytes.toString('utf8', from, to)
  return (from, to) =>
    isUtf8(bytes.subarray(from, to))
      ? bytes.toString('utf8', from, to)
      : `${NO_TEXT}${bytes.toString('latin1', from, to)}`
}

/** A line of a log, and where it stands. */
export interface PlacedLine {
  /** From 1. */
  readonly line: number
  /** Where it begins, from 0. */
  readonly byte: number
  /** As it stands in the file. */
  readonly raw: Buffer
}

/** Finds lines that a scan of these bytes has found, to name and to keep them: the scan itself has no time for that. */
export async function placesOf(
  bytes: Buffer,
  wanted: ReadonlySet<string>,
  coder: LineCoder | undefined,
): Promise<PlacedLine[]> {
  const places: PlacedLine[] = []
  const textOf = reader(bytes)
  for (let byte = 0, line = 1; byte < bytes.length; line++) {
    const newline = bytes.indexOf(NEWLINE, byte)
    const end = newline === -1 ? bytes.length : newline
    const text = textOf(byte, end)
    const found = coder && text !== '' ? await decoded(coder, text) : text
    if (wanted.has(found)) places.push({ line, byte, raw: bytes.subarray(byte, end) })
    byte = end + 1
  }
  return places
}

/** A line that its hook cannot decode is passed on as it is: it will not parse and is counted as corrupt. */
async function decoded(coder: LineCoder, raw: string): Promise<string> {
  if (isNoText(raw)) return raw
  try {
    return await coder.decode(raw)
  } catch {
    return raw.startsWith('{') ? `\0${raw}` : raw
  }
}

function readMarked(
  bytes: Buffer,
  start: number,
  length: number,
  crc: number,
  closing: string,
): { body: string; next: number; unterminated: boolean } | undefined {
  const bodyEnd = start + length
  const closingEnd = bodyEnd + Buffer.byteLength(closing)
  if (closingEnd > bytes.length) return undefined
  const body = bytes.subarray(start, bodyEnd)
  if (bytes.toString('utf8', bodyEnd, closingEnd) !== closing || crc32(body) !== crc) return undefined
  const unterminated = closingEnd === bytes.length
  if (!unterminated && bytes[closingEnd] !== NEWLINE) return undefined
  return { body: body.toString('utf8'), next: closingEnd + (unterminated ? 0 : 1), unterminated }
}

/** A whole record that came before what the disk has lost: it is older, and must not go with it. */
function zerosBehindRecord(bytes: Buffer, start: number, end: number): number | undefined {
  const zeros = bytes.indexOf(0, start)
  if (zeros === -1 || zeros >= end || bytes[start] === SPACE) return undefined
  return isRecord(bytes.toString('utf8', start, zeros)) ? zeros : undefined
}

/** An opening marker is none: what it opens has not come. */
function isRecord(text: string): boolean {
  if (OPENING.test(text)) return false
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null
  } catch {
    return false
  }
}
