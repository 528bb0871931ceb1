import { constants, isUtf8 } from 'node:buffer'
import { zlib } from '../../os/modules.ts'
import type { LineCoder, Place } from '../adapter.ts'

/**
 * Units: what an append log gains in one piece. One write(2) is not atomic: kill -9 cut 54 of 60 writes of 400 KB,
 * always at a multiple of 4096 bytes. And the file must stay the vanilla library's own. So:
 *
 *  - A unit of up to 4096 bytes never crosses a multiple of 4096: blank lines, which vanilla skips, pad it into the
 *    next block. Every line of it but the last ends in a space: more follows. Of several lines the first also begins
 *    with one: cut short before its line feed it must not pass for a record of its own that only lacks that.
 *  - A larger unit of several lines stands between two marker lines. Closed, vanilla loads it and the marker deletes
 *    itself; unclosed, vanilla *refuses* the file, because a field name may not begin with `$`. It never loads half.
 *  - A larger unit of one line needs no marker: a JSON object cut short never parses.
 *
 * A reader applies complete units only. With serialization hooks a space cannot be relied on, so there any unit of
 * several lines is marked, and the markers go through the hooks like every line.
 */
const BLOCK_BYTES = 4096
export const NEWLINE: number = 10
export const SPACE: number = 32

export const UNIT_ID = '$$pslock'
export const CLOSING: string = `{"$$deleted":true,"_id":"${UNIT_ID}"}`
export const OPENING: RegExp = /^\{"_id":"\$\$pslock","\$\$unit":\{"bytes":(\d+),"crc":(\d+)\}\}$/

/** Whether a hook of the user's has thrown this. */
export function isThrownByHook(coder: LineCoder | undefined, error: unknown): boolean {
  return coder?.thrown !== undefined && coder.thrown.error === error
}

/** The bytes of one unit, as they must be written at `offset` of the file. */
export function encodeUnit(lines: readonly string[], offset: number): Buffer {
  const unit = Buffer.from(`${lines.length > 1 ? ' ' : ''}${lines.join(' \n')}\n`)
  if (unit.length <= BLOCK_BYTES) {
    const used = offset % BLOCK_BYTES
    return used + unit.length <= BLOCK_BYTES
      ? unit
      : Buffer.concat([Buffer.alloc(BLOCK_BYTES - used, NEWLINE), unit])
  }
  return lines.length === 1 ? unit : Buffer.from(marked(lines.join('\n')))
}

function marked(body: string): string {
  const bytes = Buffer.from(`${body}\n`)
  return `{"_id":"${UNIT_ID}","$$unit":{"bytes":${bytes.length},"crc":${zlib().crc32(bytes)}}}\n${body}\n${CLOSING}\n`
}

/** The units of several changes one after the other. */
export interface Units {
  readonly data: Buffer
  /** Where in it the unit of each change ends; a change without lines has none. */
  readonly ends: readonly number[]
}

/** The units of several changes, as they must be written at `offset` of the file. */
export function encodeUnits(changes: readonly (readonly string[])[], offset: number): Units {
  const units: Buffer[] = []
  let at = offset
  for (const lines of changes) {
    const unit = lines.length === 0 ? NONE : encodeUnit(lines, at)
    units.push(unit)
    at += unit.length
  }
  return joined(units)
}

/** As `encodeUnits` for a store with hooks, by which the lines have come already. */
export async function encodeUnitsWith(
  coder: LineCoder,
  changes: readonly (readonly string[])[],
  offset: number,
): Promise<Units> {
  const units: Buffer[] = []
  let at = offset
  for (const lines of changes) {
    const unit = lines.length === 0 ? NONE : await encodeUnitWith(coder, lines, at)
    units.push(unit)
    at += unit.length
  }
  return joined(units)
}

const NONE = Buffer.alloc(0)

function joined(units: readonly Buffer[]): Units {
  let end = 0
  const ends = units.map((unit) => {
    end += unit.length
    return end
  })
  return { data: units.length === 1 ? (units[0] as Buffer) : Buffer.concat(units, end), ends }
}

/** As `encodeUnit` for a store with hooks, by which the lines have come already; the crc is of the encoded body. */
export async function encodeUnitWith(
  coder: LineCoder,
  encoded: readonly string[],
  offset: number,
): Promise<Buffer> {
  if (encoded.length === 1) return encodeUnit(encoded, offset)
  const body = Buffer.from(`${encoded.join('\n')}\n`)
  const opening = `{"_id":"${UNIT_ID}","$$unit":{"bytes":${body.length},"crc":${zlib().crc32(body)}}}`
  const text = `${await coder.encode(opening)}\n${body.toString()}${await coder.encode(CLOSING)}\n`
  return Buffer.from(text)
}

/**
 * The lines of a stretch that can be nothing but whole units without markers; undefined where it may be more. All of it is
 * made text and cut up at once.
 */
export function plainLines(bytes: Buffer): string[] | undefined {
  if (!endsWhole(bytes) || bytes.indexOf(0) !== -1) return undefined
  if (!isOneText(bytes)) return undefined
  const text = bytes.toString('utf8')
  // A blank line inside an open unit means that its rest never came.
  if (text.includes(' \n\n') || text.includes('\r')) return undefined
  const lines = text.split('\n')
  return text.startsWith('\n') || text.includes('\n\n')
    ? lines.filter((line) => line !== '')
    : withoutLast(lines)
}

/** The same for a stretch of the body of a unit between markers. */
export function bodyLines(bytes: Buffer): string[] | undefined {
  if (!isOneText(bytes)) return undefined
  const text = bytes.toString('utf8')
  if (text.includes('\n\n') || text.includes('\n ') || text.includes('\r')) return undefined
  return withoutLast(text.split('\n'))
}

/** Whether it can be made text at once, and holds no markers. */
function isOneText(bytes: Buffer): boolean {
  return bytes.length <= constants.MAX_STRING_LENGTH && bytes.indexOf(UNIT_ID) === -1 && isUtf8(bytes)
}

/** What follows the last line feed is no line. */
function withoutLast(lines: string[]): string[] {
  lines.pop()
  return lines
}

/** How many line feeds there are. @param lines how many lines, where none is blank */
export function countFeeds(bytes: Buffer, lines: number): number {
  if (lines > 0 && bytes[0] !== NEWLINE && bytes.indexOf('\n\n') === -1) return lines
  let feeds = 0
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) feeds++
  return feeds
}

/** `$$` that means nothing but a date. */
const DATE = '$$date'

/**
 * Whether a stretch that begins at a unit's start can be nothing but whole units of documents: no index lines, no
 * deletions, no markers, nothing torn, no zeros. It is said without looking at the lines (0.02 us each, where to parse
 * one takes 1 us); what they hold shows when they are read.
 */
export function isPlain(bytes: Buffer): boolean {
  if (!endsWhole(bytes) || bytes.indexOf(0) !== -1) return false
  for (let at = bytes.indexOf('$$'); at !== -1; at = bytes.indexOf('$$', at + DATE.length)) {
    if (bytes.toString('latin1', at, at + DATE.length) !== DATE) return false
  }
  return true
}

/** Whether a stretch ends with a whole unit, should it hold no markers, and no zeros of power loss. */
function endsWhole(bytes: Buffer): boolean {
  let last = bytes.length - 1
  if (bytes[last] !== NEWLINE) return false
  while (bytes[last] === NEWLINE) last--
  // A space before the line feed: more of the unit follows.
  return bytes[last] !== SPACE
}

/** Reads parts of the bytes as text, and says whether they are: what is none becomes U+FFFD. */
export function reader(bytes: Buffer): (from: number, to: number) => { raw: string; isText: boolean } {
  const isAllText = isUtf8(bytes)
  return (from, to) => ({
    raw: bytes.toString('utf8', from, to),
    isText: isAllText || isUtf8(bytes.subarray(from, to)),
  })
}

/** Where the lines of a stretch stand, but for blank ones. */
export function placesIn(bytes: Buffer, from: number, line: number): Place[] {
  const places: Place[] = []
  for (let offset = 0; offset < bytes.length; line++) {
    const feed = bytes.indexOf(NEWLINE, offset)
    const end = feed === -1 ? bytes.length : feed
    if (end > offset) places.push({ line, byte: from + offset, length: end - offset })
    offset = end + 1
  }
  return places
}
