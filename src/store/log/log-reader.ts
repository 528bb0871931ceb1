import { CorruptStoreError, type LockMode } from '../../errors.ts'
import { PIECE_BYTES } from '../../os/io.ts'
import { zlib } from '../../os/modules.ts'
import { keepAside } from '../../os/replace.ts'
import type { LineCoder, Loading, LogMemory, Place } from '../adapter.ts'
import { type Delta, type LogFile, REMEMBERED_BYTES } from './log-file.ts'
import { type Batch, type Ending, type ReadBytes, scanFile, scanUnits } from './scan.ts'
import { NEWLINE } from './units.ts'

/**
 * What came of reading the file: memory has all of it; the same, but for a last line without its line feed, so that the whole
 * file must be read again next time; or it was changed while it was read, and memory is not what it says.
 */
export type Taken = 'all' | 'unterminated' | 'changed'

/** A longer tail is not kept in memory until it is known whole: the file is read anew then, as where it was replaced. */
const LONG_TAIL_BYTES = 64 * 2 ** 20

/** Brings memory up to date with what is new in the log, and mends its end after a crash. */
export class LogReader {
  readonly #file: LogFile
  readonly #memory: LogMemory
  readonly #health: CorruptionMonitor
  #isTaken = false
  #isTorn = false
  /** Up to here the lines that begin with a space are not ours: see `Ending.isLoose`. */
  #looseAt: number | undefined

  constructor(file: LogFile, memory: LogMemory, health: CorruptionMonitor) {
    this.#file = file
    this.#memory = memory
    this.#health = health
  }

  /** Whether memory has what was last taken, though to mend the end of the file, or to read what is new, may have failed. */
  get isTaken(): boolean {
    return this.#isTaken
  }

  /** Whether what was last taken ends in something that is no whole record, which a reader may not mend. */
  get isTorn(): boolean {
    return this.#isTorn
  }

  /** Without the lock, what was there at first is taken as far as it is whole, whatever is added behind it meanwhile. */
  async take(delta: Delta, mode: LockMode, isLocked: boolean): Promise<Taken> {
    if (delta.kind === 'none') return 'all'
    if (delta.kind === 'missing') {
      this.#memory.apply([], true)
      this.#health.reset(0)
      return 'all'
    }
    const bytes = new Remembering((position, length) => this.#file.read(position, length), !isLocked)
    const isLong = delta.to - delta.from > LONG_TAIL_BYTES && this.#memory.load !== undefined
    const anew = delta.kind === 'replaced' || isLong
    let ending: Ending
    try {
      ending = await this.#read(anew, { from: anew ? 0 : delta.from, to: delta.to }, bytes)
      if (!isLocked && !(await this.#isStill(bytes, ending))) return 'changed'
    } catch (error) {
      // What is wrong with a file that is still the same is so under the lock as well.
      if (isLocked || !(error instanceof CorruptStoreError) || (await bytes.areStill())) throw error
      return 'changed'
    }
    this.#isTaken = true
    const { end, rest, zerosAt, to, isLoose } = ending
    this.#isTorn = rest !== 'none' && mode === 'shared'
    if (rest === 'none' || mode === 'shared') {
      this.#applied(end, await bytes.before(end), isLoose)
      // A reader may not mend.
      return rest === 'unterminated' ? rest : 'all'
    }
    const cutAt = rest === 'torn' ? end : (zerosAt ?? to)
    this.#applied(cutAt, await bytes.before(cutAt), isLoose)
    if (cutAt < to) this.#cut(await this.#file.read(cutAt, to - cutAt))
    if (rest === 'unterminated') this.#file.terminate()
    return 'all'
  }

  /** Whether what was read without the lock is what the file says. */
  async #isStill(bytes: Remembering, { rest, to }: Ending): Promise<boolean> {
    if (rest !== 'unterminated') return bytes.areStill()
    // A last line without its line feed may be a unit that is being written, or will be cut off since it could not be.
    const isLast = async () => (await bytes.areStill()) && (await this.#file.read(to, 1)).length === 0
    return (await this.#file.besideNoWriter(isLast)) ?? false
  }

  /** Reads what is new, piece by piece, and brings it into memory as a whole: nobody sees a part of a unit, or of a tail. */
  async #read(
    anew: boolean,
    { from, to }: { from: number; to: number },
    bytes: Remembering,
  ): Promise<Ending> {
    const { coder } = this.#memory
    const loading = anew ? (this.#memory.load?.() ?? applying(this.#memory)) : undefined
    const isApart = anew && this.#memory.load !== undefined
    const [bad, odd]: [Place[], Place[]] = [[], []]
    const tail: Batch[] = []
    let lines = 0
    const note = (found: readonly string[], batch: Batch) => {
      if (found.length === 0) return
      const texts = new Set(found)
      const places = batch.places()
      for (const [index, line] of batch.lines.entries()) if (texts.has(line)) bad.push(places[index] as Place)
    }
    const take = (batch: Batch) => {
      lines += batch.count
      for (const place of batch.odd) odd.push(place)
      if (!loading) {
        tail.push(batch)
        return
      }
      if (!isApart) this.#isTaken = false
      note(loading.add(batch.lines), batch)
    }
    const isLoose = !anew && this.#looseAt === from
    const read = (position: number, length: number) => bytes.read(position, length)
    const ending = await scanFile(read, { from, to, isLoose }, coder, take)
    const { rest, last, first, changedUnits } = ending
    if (last) {
      const { text, place, isText } = last
      take({ lines: [text], count: 1, odd: isText ? [] : [place], markers: [], places: () => [place] })
    }
    this.#isTaken = false
    if (!loading) {
      const found = this.#memory.apply(
        tail.flatMap((batch) => batch.lines),
        false,
      )
      for (const batch of tail) note(found, batch)
    }
    if (anew && lines === 0 && rest === 'torn' && !(await looksTorn(first, coder)))
      throw this.#health.error(1, 1)
    if (anew) this.#health.reset(0)
    // Lines were counted from where this look began.
    const damage = { bad, odd, changedUnits }
    const isDamaged = bad.length > 0 || odd.length > 0 || changedUnits.length > 0
    this.#health.judge(lines, isDamaged && from > 0 ? moved(damage, await this.#linesBefore(from)) : damage)
    await loading?.finish()
    return ending
  }

  #applied(end: number, last: Buffer, isLoose: boolean): void {
    this.#file.applyUpTo(end, last)
    this.#looseAt = isLoose ? end : undefined
  }

  async #linesBefore(end: number): Promise<number> {
    let lines = 0
    for (let at = 0; at < end; ) {
      const piece = await this.#file.read(at, Math.min(PIECE_BYTES, end - at))
      if (piece.length === 0) break
      for (let feed = piece.indexOf(NEWLINE); feed !== -1; feed = piece.indexOf(NEWLINE, feed + 1)) lines++
      at += piece.length
    }
    return lines
  }

  /**
   * Takes the whole units of what has been added. What follows them is torn, or, without the lock, being written now.
   * @returns false where the long way must tell what it is, or mend it
   * @throws where memory must be read anew
   */
  takeWhole(tail: Buffer, mode: LockMode): boolean {
    const { lines, end, rest, isChanged } = scanUnits(tail)
    if (rest === 'unterminated' || isChanged) return false
    const bad = this.#memory.apply(lines, false)
    if (bad.length > 0)
      throw new Error(`unreadable lines in ${this.#file.path}: they are judged under the lock`)
    this.#health.goodLines += lines.length
    this.#file.applyTail(end === tail.length ? tail : tail.subarray(0, end))
    return rest === 'none' || mode === 'shared'
  }

  #cut(tail: Buffer): void {
    const kept = this.#file.cutTail(tail)
    process.emitWarning(
      `${this.#file.path} ended in ${tail.length} bytes that are no whole record, from byte ${this.#file.end} on: an ` +
        'operation was cut short by a crash, before it was acknowledged, or the end of the file was damaged. They are ' +
        `kept in ${kept}.`,
      { type: 'PsLockWarning', code: 'PSLOCK_TORN_TAIL' },
    )
  }
}

/** Reads pieces, and keeps the last one: what is remembered of the file need not be read once more, which may fail. */
class Remembering {
  readonly #read: ReadBytes
  #at = 0
  #piece: Buffer = Buffer.alloc(0)
  /** Where each piece was, if it is asked later whether they are still there. */
  readonly #sums: { readonly at: number; readonly length: number; readonly sum: number }[] | undefined
  #isShort = false

  /** @param doubting it may change while it is read: ask `areStill` */
  constructor(read: ReadBytes, doubting: boolean) {
    this.#read = read
    if (doubting) this.#sums = []
  }

  async read(position: number, length: number): Promise<Buffer> {
    const before = Math.min(REMEMBERED_BYTES, position)
    this.#at = position - before
    this.#piece = await this.#read(this.#at, before + length)
    if (this.#piece.length < before + length) this.#isShort = true
    this.#sums?.push({ at: this.#at, length: this.#piece.length, sum: zlib().crc32(this.#piece) })
    return this.#piece.subarray(before)
  }

  /** The last bytes before a place, as many as are remembered. */
  async before(end: number): Promise<Buffer> {
    const from = Math.max(0, end - REMEMBERED_BYTES)
    const isHere = from >= this.#at && end <= this.#at + this.#piece.length
    return isHere ? this.#piece.subarray(from - this.#at, end - this.#at) : this.#read(from, end - from)
  }

  /**
   * Whether all that was asked for was there, and a second look finds the same. Whole units stay for as long as the file
   * does. But a torn one may be cut off while it is read, and another written there: what was read then has the beginning
   * of the one and the end of the other. What was cut off is not found a second time.
   */
  async areStill(): Promise<boolean> {
    if (this.#isShort) return false
    for (const { at, length, sum } of this.#sums ?? [])
      if (zlib().crc32(await this.#read(at, length)) !== sum) return false
    return true
  }
}

/** For a store that takes its lines as they come. */
function applying(memory: LogMemory): Loading {
  let anew = true
  const add = (lines: readonly string[]) => {
    const bad = memory.apply(lines, anew)
    anew = false
    return bad
  }
  return {
    add,
    finish: async () => {
      if (anew) add([])
    },
  }
}

function moved({ bad, odd, changedUnits }: Damage, lines: number): Damage {
  const move = (places: readonly Place[]) => places.map((place) => ({ ...place, line: place.line + lines }))
  return { bad: move(bad), odd: move(odd), changedUnits: move(changedUnits) }
}

/** Whether a file without one complete unit may be a first unit cut short, and not some other kind of file. */
async function looksTorn(
  { text, isTerminated }: Ending['first'],
  coder: LineCoder | undefined,
): Promise<boolean> {
  if (!isTerminated) return /^ ?(?:\{(?:"|$)|$)/.test(text)
  try {
    return typeof JSON.parse(coder ? await coder.decode(text) : text) === 'object'
  } catch {
    return false
  }
}

/** What of a log is not as it was written. */
export interface Damage {
  /** Lines that are no records of the store. */
  readonly bad: readonly Place[]
  /** Records of which some bytes were no UTF-8. */
  readonly odd: readonly Place[]
  /** Larger units that have something behind them, but not their own length and checksum. */
  readonly changedUnits: Ending['changedUnits']
}

/** How much of a log is readable: vanilla NeDB's tolerance for bad lines, without erasing the evidence. */
export class CorruptionMonitor {
  goodLines = 0
  readonly #path: string
  readonly #threshold: () => number
  readonly #thrown: () => LineCoder['thrown']
  #bad: Place[] = []
  #odd: Place[] = []

  /**
   * @param threshold share of unreadable lines, 0 to 1, above which the file is refused
   * @param thrown what a hook of the user's has thrown last, for want of which lines are unreadable
   */
  constructor(path: string, threshold: () => number, thrown: () => LineCoder['thrown'] = () => undefined) {
    this.#path = path
    this.#threshold = threshold
    this.#thrown = thrown
  }

  get hasBadLines(): boolean {
    return this.#bad.length + this.#odd.length > 0
  }

  /** Another file, of so many good lines. */
  reset(goodLines: number): void {
    this.goodLines = goodLines
    this.#bad = []
    this.#odd = []
  }

  /**
   * @param lines how many, the bad ones included
   * @throws CorruptStoreError when too many lines of the file are bad; warns about the first that are tolerated
   */
  judge(lines: number, { bad, odd, changedUnits }: Damage): void {
    this.goodLines += lines - bad.length
    if (bad.length > 0) this.#judgeBad(bad)
    const changed = odd[0] ?? changedUnits[0]
    for (const place of odd) this.#odd.push(place)
    if (!changed) return
    process.emitWarning(
      `${this.#path} was edited by hand, or damaged, at ${textOf(changed)}: ${
        odd.length > 0
          ? `${odd.length} of its lines have bytes that are no text, which are read as U+FFFD. They are kept in ` +
            `${this.#path}.corrupt-<n> before the file is ever rewritten`
          : `the length or the checksum of ${changedUnits.length} of its units is wrong. Every line of them that can be ` +
            'read was read'
      }. \`pslock check\` says more.`,
      { type: 'PsLockWarning', code: 'PSLOCK_CHANGED_FILE' },
    )
  }

  #judgeBad(bad: readonly Place[]): void {
    const isFirst = this.#bad.length === 0
    for (const place of bad) this.#bad.push(place)
    const total = this.goodLines + this.#bad.length
    if (this.#bad.length / total > this.#threshold()) throw this.error(this.#bad.length, total, this.#bad[0])
    if (!isFirst) return
    process.emitWarning(
      `${this.#bad.length} of ${total} lines of ${this.#path} are unreadable and were skipped, the first at ` +
        `${textOf(this.#bad[0] as Place)}. They are kept in ${this.#path}.corrupt-<n> before the file is ever rewritten.`,
      { type: 'PsLockWarning', code: 'PSLOCK_CORRUPT_LINES' },
    )
  }

  /** Called before a rewrite, which leaves the bad lines out. @param read a part of the file */
  async keepBadLines(read: (byte: number, length: number) => Promise<Buffer> | Buffer): Promise<void> {
    const places = [...this.#bad, ...this.#odd].sort((a, b) => a.byte - b.byte)
    if (places.length === 0) return
    const feed = Buffer.from('\n')
    const lines: Buffer[] = []
    for (const [index, { byte, length }] of places.entries())
      if (byte !== places[index - 1]?.byte) lines.push(await read(byte, length), feed)
    keepAside(this.#path, 'corrupt', Buffer.concat(lines))
  }

  /** In the vanilla library's own words, and with its fields as the only visible ones: code may look for just those. */
  error(
    corruptItems: number,
    dataLength: number,
    first: Pick<Place, 'line' | 'byte'> = { line: 1, byte: 0 },
  ): CorruptStoreError {
    const corruptionRate = corruptItems / dataLength
    const thrown = this.#thrown()
    const error = new CorruptStoreError(
      `${Math.floor(100 * corruptionRate)}% of the data file is corrupt, more than given corruptAlertThreshold ` +
        `(${Math.floor(100 * this.#threshold())}%). Cautiously refusing to start NeDB to prevent dataloss.`,
      {
        path: this.#path,
        line: first.line,
        byte: first.byte,
        // Its name and message are the vanilla library's to the letter.
        cause: new Error(
          `the first unreadable line of ${this.#path} is ${textOf(first)}. \`pslock check\` says more.`,
          thrown && { cause: thrown.error },
        ),
      },
    )
    for (const key of ['code', 'path', 'line', 'byte'])
      Object.defineProperty(error, key, { enumerable: false })
    Object.defineProperty(error, 'name', { value: 'Error' })
    return Object.assign(error, { corruptionRate, corruptItems, dataLength })
  }
}

function textOf({ line, byte }: Pick<Place, 'line' | 'byte'>): string {
  return `line ${line}, byte ${byte}`
}
