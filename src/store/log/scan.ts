import { constants, isUtf8 } from 'node:buffer'
import { PIECE_BYTES } from '../../os/io.ts'
import { zlib } from '../../os/modules.ts'
import type { LineCoder, Place } from '../adapter.ts'
import {
  bodyLines,
  CLOSING,
  countFeeds,
  NEWLINE,
  OPENING,
  placesIn,
  plainLines,
  reader,
  SPACE,
  UNIT_ID,
} from './units.ts'

/**
 * Reads a log, piece by piece, and says which of its lines count.
 *
 * A crash and damage are told apart by what follows. A process that dies while it appends leaves a beginning of its last
 * unit, and nothing behind it, since whoever writes next cuts that off first. So only what nothing whole follows is a
 * torn tail. Whatever has something whole behind it was whole once, and has been edited by hand or damaged since: there
 * every line is handed out, whether its unit still fits its length and checksum or not, and the store says which of
 * them it can read. A unit between markers has something behind it when the file goes on after the place of its closing
 * marker, or when a line follows that its body cannot hold: a marker, a blank line, or a line that begins with a space.
 *
 * What that means: after a crash of processes no reader sees a part of a unit. After power loss one may, of a unit that
 * was not synced: it may have holes, and whole units behind it. A line that was deleted by hand at the very end of the
 * file, and left a beginning of a unit there, cannot be told from a crash.
 */

/** Some lines of a log that count, in order. */
export interface Batch {
  /** Decoded, without markers and blank lines. */
  readonly lines: readonly string[]
  /** How many lines the store's own reader would count: these, and the markers. */
  readonly count: number
  /** Lines whose bytes are no UTF-8: what is none reads as U+FFFD, as in the store's own reader. */
  readonly odd: readonly Place[]
  readonly markers: readonly Place[]
  /** Where the lines stand, each at the index of its line. It is asked for where something is to be said of one. */
  places(): readonly Place[]
}

/** How a log ends. */
export interface Ending {
  /** Where the last complete unit ends. Whatever follows is not applied. */
  readonly end: number
  /** What follows: nothing, a unit cut short, or a last line that only lacks its line feed. */
  readonly rest: 'none' | 'torn' | 'unterminated'
  /** The record in a last line that only lacks its line feed. It is in no batch. */
  readonly last?: { readonly text: string; readonly place: Place; readonly isText: boolean } | undefined
  /** Where the zeros begin that power loss has left behind such a line, in place of what was to follow it. */
  readonly zerosAt?: number | undefined
  /** The first line of what follows, and whether it ends there. */
  readonly first: { readonly text: string; readonly isTerminated: boolean }
  /** The number of the line that begins there. */
  readonly line: number
  /** Where the file ended when it was read. */
  readonly to: number
  /** The lines that begin with a space are not ours here: see `UnitScan`. */
  readonly isLoose: boolean
  /** Units between markers that have something behind them, but not their own length and checksum. */
  readonly changedUnits: readonly Place[]
}

/** What is to be read. */
export interface Range {
  /** The start of a unit. */
  readonly from: number
  readonly to: number
  /** @see Ending.isLoose */
  readonly isLoose?: boolean
}

/** What a scan needs from whoever drives it: bytes of the file, or a line decoded. */
type Ask = { readonly position: number; readonly length: number } | { readonly raw: string }

/** A scan takes a step each time its question is answered, at once or later. */
type Steps<T> = Generator<Ask, T, Buffer | string>

function* read(position: number, length: number): Steps<Buffer> {
  return (yield { position, length }) as Buffer
}

/** Reads a part of a file. @returns fewer bytes at its end */
export type ReadBytes = (position: number, length: number) => Buffer | Promise<Buffer>

/** Scans a file, or what stands for one. @param take is handed the lines, in order */
export async function scanFile(
  readBytes: ReadBytes,
  range: Range,
  coder: LineCoder | undefined,
  take: (batch: Batch) => void,
): Promise<Ending> {
  const steps = new UnitScan(range, coder !== undefined, take).run()
  let step = steps.next()
  while (!step.done) {
    const ask = step.value
    if ('raw' in ask) step = steps.next(coder ? await decoded(coder, ask.raw) : ask.raw)
    else step = steps.next(await readBytes(ask.position, ask.length))
  }
  return step.value
}

/** What a stretch of the log holds. */
export interface Scan extends Pick<Ending, 'end' | 'rest' | 'zerosAt'> {
  /** The lines that count, in order, and a last one that lacks its line feed. */
  readonly lines: readonly string[]
  /** There is more to say of some of them, which a look at the file says. */
  readonly isChanged?: true
}

/** Reads the units of a stretch that begins at a unit's start. */
export function scanUnits(bytes: Buffer): Scan {
  const plain = plainLines(bytes)
  if (plain) return { lines: plain, end: bytes.length, rest: 'none' }
  const lines: string[] = []
  let isOdd = false
  const take = (batch: Batch) => {
    for (const line of batch.lines) lines.push(line)
    if (batch.odd.length > 0) isOdd = true
  }
  const steps = new UnitScan({ from: 0, to: bytes.length }, false, take).run()
  let step = steps.next()
  while (!step.done) {
    const ask = step.value
    step = steps.next('raw' in ask ? ask.raw : bytes.subarray(ask.position, ask.position + ask.length))
  }
  return scanOf(lines, step.value, isOdd)
}

/** As `scanUnits` for a store with hooks: every line must be decoded before one can tell what it is. */
export async function scanUnitsWith(coder: LineCoder, bytes: Buffer): Promise<Scan> {
  const lines: string[] = []
  const readBytes = (position: number, length: number) => bytes.subarray(position, position + length)
  const take = (batch: Batch) => {
    for (const line of batch.lines) lines.push(line)
  }
  return scanOf(lines, await scanFile(readBytes, { from: 0, to: bytes.length }, coder, take), false)
}

function scanOf(lines: string[], { end, rest, last, zerosAt, changedUnits }: Ending, isOdd: boolean): Scan {
  if (last) lines.push(last.text)
  const zeros = zerosAt === undefined ? {} : { zerosAt }
  return { lines, end, rest, ...zeros, ...(isOdd || changedUnits.length > 0 ? { isChanged: true } : {}) }
}

/** A unit between markers, while its body is read. */
interface Body {
  readonly opening: Place
  /** Where it begins, and where its closing marker should. */
  readonly from: number
  readonly to: number
  /** The checksum that it should have. */
  readonly crc: number
  /** The checksum of what has been read of it. */
  sum: number
}

const NOTHING = Buffer.alloc(0)

/** See the top of this file. */
class UnitScan {
  readonly #hasCoder: boolean
  readonly #take: (batch: Batch) => void
  readonly #from: number
  /** Where the file ends. */
  #to: number
  /** Up to where lines have been handed out, and how many line feeds came before. */
  #end: number
  #feeds = 0
  /** The unit between markers that is being read, once it is known not to be torn. */
  #body: Body | undefined
  /**
   * No unit of ours holds a second line that begins with a space. Where one stands in it, the spaces are somebody else's,
   * and mean nothing until a line comes that does not begin and end with one.
   */
  #isLoose: boolean
  readonly #changedUnits: Place[] = []

  constructor({ from, to, isLoose = false }: Range, hasCoder: boolean, take: (batch: Batch) => void) {
    this.#from = from
    this.#to = to
    this.#end = from
    this.#isLoose = isLoose
    this.#hasCoder = hasCoder
    this.#take = take
  }

  *run(): Steps<Ending> {
    // What was read and not handed out yet: the beginning of a line, or of a unit.
    let kept: Buffer = NOTHING
    for (let at = this.#from; ; ) {
      // As much again as there is: a long line is then put together in a few steps.
      const length = Math.min(Math.max(PIECE_BYTES, kept.length), this.#to - at)
      const piece = length > 0 ? yield* read(at, length) : NOTHING
      at += piece.length
      if (piece.length < length) this.#to = at
      const bytes = kept.length === 0 ? piece : Buffer.concat([kept, piece])
      const start = this.#hasCoder ? 0 : this.#takePlain(bytes)
      const lines = yield* this.#takeLines(bytes, start)
      kept = bytes.subarray(lines.end)
      if (lines.isTorn) return this.#ended('torn', kept)
      if (at >= this.#to) return yield* this.#takeLast(kept, lines)
      this.#requireText(kept, lines.offset - lines.end)
    }
  }

  /**
   * Takes what can be nothing but lines that count, all at once (0.1 us a line, one by one 0.5).
   * @returns how many bytes that were
   */
  #takePlain(bytes: Buffer): number {
    const body = this.#body
    const limit = body ? Math.min(bytes.length, body.to - this.#end) : bytes.length
    let feed = limit > 0 ? bytes.lastIndexOf(NEWLINE, limit - 1) : -1
    // A space before the line feed: more of the unit follows.
    while (!body && feed > 0 && bytes[feed - 1] === SPACE) feed = bytes.lastIndexOf(NEWLINE, feed - 1)
    if (feed === -1) return 0
    const stretch = bytes.subarray(0, feed + 1)
    if (body && (stretch[0] === SPACE || stretch[0] === NEWLINE)) return 0
    const lines = body ? bodyLines(stretch) : plainLines(stretch)
    if (!lines) return 0
    if (body) body.sum = zlib().crc32(stretch, body.sum)
    else this.#isLoose = false
    const [from, line] = [this.#end, this.#feeds + 1]
    this.#end += stretch.length
    this.#feeds += body ? lines.length : countFeeds(stretch, lines.length)
    const places = () => placesIn(stretch, from, line)
    this.#take({ lines, count: lines.length, odd: [], markers: [], places })
    return stretch.length
  }

  /** Takes line by line what has something whole behind it, or is whole. */
  *#takeLines(
    bytes: Buffer,
    start: number,
  ): Steps<{ end: number; offset: number; isOpen: boolean; isTorn: boolean }> {
    const base = this.#end - start
    const textOf = reader(bytes)
    const taken: { text: string; place: Place }[] = []
    let waiting: { text: string; place: Place }[] = []
    const odd: Place[] = []
    const markers: Place[] = []
    let [count, end, offset] = [0, start, start]
    let isLoose = this.#isLoose
    let isOpen = false
    let isTorn = false
    let feeds = this.#feeds
    const confirm = (next: number) => {
      for (const line of waiting) taken.push(line)
      count += waiting.length
      waiting = []
      end = next
      this.#feeds = feeds
      this.#isLoose = isLoose
    }
    for (
      let feed = bytes.indexOf(NEWLINE, offset);
      feed !== -1;
      offset = feed + 1, feed = bytes.indexOf(NEWLINE, offset)
    ) {
      const place = { line: ++feeds, byte: base + offset, length: feed - offset }
      const next = feed + 1
      if (place.length > constants.MAX_STRING_LENGTH) throw tooLong(feeds, place.byte)
      const { raw, isText } = textOf(offset, feed)
      // Blank lines pad. One inside a unit that is open means that its rest never came, or is gone.
      if (raw === '' || raw === '\r') {
        this.#leaveBody()
        isOpen = false
        if (waiting.length === 0) confirm(next)
        continue
      }
      const text = this.#hasCoder ? ((yield { raw }) as string) : raw
      if (text === CLOSING) {
        if (this.#body) this.#closeBody(place.byte)
        isOpen = false
        count++
        markers.push(place)
        confirm(next)
        continue
      }
      const opening = text.startsWith(OPENING_START) ? OPENING.exec(text) : null
      const begins = !this.#hasCoder && text.startsWith(' ')
      const body = this.#body
      if (body && (opening || begins || place.byte >= body.to)) this.#leaveBody()
      if (opening) {
        const from = base + next
        const to = from + Number(opening[1])
        if (!(yield* this.#isFollowed(from, to))) {
          isTorn = true
          break
        }
        count++
        markers.push(place)
        isOpen = false
        confirm(next)
        this.#body = { opening: place, from, to, crc: Number(opening[2]), sum: 0 }
        continue
      }
      if (!isText) odd.push(place)
      waiting.push({ text, place })
      if (this.#body) {
        this.#body.sum = zlib().crc32(bytes.subarray(offset, next), this.#body.sum)
        confirm(next)
        continue
      }
      const continues = !this.#hasCoder && bytes[feed - 1] === SPACE
      // JSON never holds a raw NUL: a sector that power loss has left empty, where nothing whole follows.
      if (!this.#hasCoder && text.includes('\0')) isOpen = continues && (isOpen || begins)
      else if (continues && !(isOpen && begins) && (isOpen || (begins && !isLoose))) isOpen = true
      else {
        isLoose = continues && begins && (isOpen || isLoose)
        isOpen = false
        confirm(next)
      }
    }
    this.#end = base + end
    if (count > 0) {
      this.#take({
        lines: taken.map(({ text }) => text),
        count,
        odd: odd.filter(({ byte }) => byte < this.#end),
        markers,
        places: () => taken.map(({ place }) => place),
      })
    }
    return { end, offset, isOpen, isTorn }
  }

  /** What follows the last line feed, and what waits before it. @param rest everything that was not handed out */
  *#takeLast(
    rest: Buffer,
    { end, offset, isOpen }: { end: number; offset: number; isOpen: boolean },
  ): Steps<Ending> {
    if (rest.length === 0) return this.#ended('none', rest)
    const last = rest.subarray(offset - end)
    const raw = last.length > constants.MAX_STRING_LENGTH ? '' : last.toString('utf8')
    const text = this.#hasCoder && raw !== '' ? ((yield { raw }) as string) : raw
    if (text === CLOSING && this.#body) {
      const place = { line: this.#feeds + 1, byte: this.#end + offset - end, length: last.length }
      this.#closeBody(place.byte)
      this.#end = this.#to
      this.#take({ lines: [], count: 1, odd: [], markers: [place], places: () => [] })
      return this.#ended('unterminated', NOTHING)
    }
    if (isOpen || (!this.#hasCoder && rest[0] === SPACE)) return this.#ended('torn', rest)
    if (isRecord(text) && (this.#hasCoder || last[0] !== SPACE)) {
      this.#takeDamaged(rest, offset - end)
      const place = { line: this.#feeds + 1, byte: this.#end, length: last.length }
      return { ...this.#ended('unterminated', last), last: { text, place, isText: isUtf8(last) } }
    }
    const zeros = this.#hasCoder ? -1 : rest.indexOf(0)
    const record = zeros === -1 ? '' : rest.toString('utf8', 0, Math.min(zeros, constants.MAX_STRING_LENGTH))
    // A whole record that came before what the disk has lost: it is older, and must not go with it.
    if (isRecord(record)) {
      const place = { line: this.#feeds + 1, byte: this.#end, length: zeros }
      const found = { text: record, place, isText: isUtf8(rest.subarray(0, zeros)) }
      return { ...this.#ended('unterminated', rest), last: found, zerosAt: this.#end + zeros }
    }
    return this.#ended('torn', rest)
  }

  /** Lines with zeros that have a whole record behind them, which only lacks its line feed. */
  #takeDamaged(rest: Buffer, length: number): void {
    if (length === 0) return
    const from = this.#end
    const line = this.#feeds + 1
    const stretch = rest.subarray(0, length)
    const lines = stretch
      .toString('latin1')
      .split('\n')
      .filter((text) => text !== '')
    this.#end += length
    this.#feeds += countFeeds(stretch, 0)
    this.#take({
      lines,
      count: lines.length,
      odd: [],
      markers: [],
      places: () => placesIn(stretch, from, line),
    })
  }

  /** Whether something follows a unit between markers that does not while it is being written. @param to the end of its body */
  *#isFollowed(from: number, to: number): Steps<boolean> {
    if (!this.#hasCoder && this.#to > to + CLOSING.length) return true
    let kept: Buffer = NOTHING
    for (let at = from; at < this.#to; ) {
      const length = Math.min(Math.max(PIECE_BYTES, kept.length), this.#to - at)
      const piece = yield* read(at, length)
      const start = at - kept.length
      const bytes = Buffer.concat([kept, piece])
      at += piece.length
      if (piece.length < length) this.#to = at
      const textOf = reader(bytes)
      let offset = 0
      for (let feed = bytes.indexOf(NEWLINE); feed !== -1; feed = bytes.indexOf(NEWLINE, offset)) {
        if (start + feed >= to) return true
        const first = bytes[offset]
        if (first === NEWLINE || (!this.#hasCoder && first === SPACE)) return true
        const mayBeMarker = this.#hasCoder || feed - offset < LONGEST_MARKER
        const { raw } = mayBeMarker ? textOf(offset, feed) : NO_LINE
        const text = this.#hasCoder ? ((yield { raw }) as string) : raw
        if (text === CLOSING || OPENING.test(text)) return true
        offset = feed + 1
      }
      kept = bytes.subarray(offset)
    }
    const { raw } = reader(kept)(0, kept.length)
    return (this.#hasCoder && raw !== '' ? ((yield { raw }) as string) : raw) === CLOSING
  }

  /** @param at where its closing marker stands */
  #closeBody(at: number): void {
    const body = this.#body as Body
    this.#body = undefined
    if (at !== body.to || body.sum !== body.crc) this.#changedUnits.push(body.opening)
  }

  /** Its closing marker is not where it should be. */
  #leaveBody(): void {
    if (!this.#body) return
    this.#changedUnits.push(this.#body.opening)
    this.#body = undefined
  }

  /** @param rest what follows, as far as it was read */
  #ended(rest: Ending['rest'], bytes: Buffer): Ending {
    const feed = bytes.indexOf(NEWLINE)
    const text = bytes.toString('utf8', 0, feed === -1 ? Math.min(bytes.length, 64) : feed)
    this.#leaveBody()
    return {
      end: this.#end,
      line: this.#feeds + 1,
      rest,
      first: { text, isTerminated: feed !== -1 },
      to: this.#to,
      isLoose: this.#isLoose,
      changedUnits: this.#changedUnits,
    }
  }

  /** @param kept the beginning of a unit @param offset where in it the last line begins */
  #requireText(kept: Buffer, offset: number): void {
    if (kept.length - offset <= constants.MAX_STRING_LENGTH || kept.includes(0, offset)) return
    throw tooLong(this.#feeds + countFeeds(kept.subarray(0, offset), 0) + 1, this.#end + offset)
  }
}

function tooLong(line: number, byte: number): RangeError {
  const most = `${Math.floor(constants.MAX_STRING_LENGTH / 2 ** 20)} MB`
  return new RangeError(
    `line ${line}, which begins at byte ${byte}, is longer than ${most}, the most that Node.js can hold in one text`,
  )
}

/** Every line that opens a larger unit begins so. */
const OPENING_START = `{"_id":"${UNIT_ID}"`
const LONGEST_MARKER = 120
const NO_LINE = { raw: '', isText: true }

/** A line that its hook cannot decode is passed on as it is: it will not parse and is counted as corrupt. */
async function decoded(coder: LineCoder, raw: string): Promise<string> {
  try {
    return await coder.decode(raw)
  } catch {
    return raw.startsWith('{') ? `\0${raw}` : raw
  }
}

/** An opening marker is none: what it opens has not come. */
function isRecord(text: string): boolean {
  return !OPENING.test(text) && isJsonObject(text)
}

export function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null
  } catch {
    return false
  }
}
