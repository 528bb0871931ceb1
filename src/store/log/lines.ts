import { constants, isUtf8 } from 'node:buffer'
import { NEWLINE, SPACE, UNIT_ID } from './unit.ts'

/** Where a line stands. */
export interface Place {
  /** From 1, counted from where the scan began. */
  readonly line: number
  /** In the file, from 0. */
  readonly byte: number
  /** Without its line feed. */
  readonly length: number
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
