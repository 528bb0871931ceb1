import type { LockMode } from '../../errors.ts'
import type { LogMemory } from '../adapter.ts'
import type { LineHealth } from './line-health.ts'
import type { LogFile } from './log-file.ts'
import type { News } from './news.ts'
import { placesOf, scanUnits, scanUnitsWith } from './scan.ts'
import type { LineCoder } from './unit.ts'

/** Brings memory up to date with what is new in the log, and mends its end after a crash. */
export class LogReader {
  readonly #file: LogFile
  readonly #memory: LogMemory
  readonly #health: LineHealth
  #isTaken = false

  constructor(file: LogFile, memory: LogMemory, health: LineHealth) {
    this.#file = file
    this.#memory = memory
    this.#health = health
  }

  /** Whether memory has what was last taken, though mending the end of the file may have failed. */
  get isTaken(): boolean {
    return this.#isTaken
  }

  /** @returns whether the whole file must be read again next time */
  async take(news: News, mode: LockMode): Promise<boolean> {
    this.#isTaken = false
    if (news.kind === 'none') return false
    if (news.kind === 'missing') {
      this.#memory.apply([], true)
      this.#health.reset(0)
      return false
    }
    const { bytes, kind } = news
    const { coder } = this.#memory
    const scan = coder ? await scanUnitsWith(coder, bytes) : scanUnits(bytes)
    const anew = kind === 'replaced'
    const isEmpty = scan.lines.length === 0
    if (anew && isEmpty && scan.rest === 'torn' && !(await looksTorn(bytes, coder)))
      throw this.#health.error(1, 1)
    const { zerosAt = bytes.length } = scan
    const tail = bytes.subarray(scan.end, zerosAt)
    if (scan.rest === 'unterminated' && tail.length > 0) {
      const text = tail.toString('utf8')
      scan.lines.push(coder ? await coder.decode(text) : text)
    }
    await this.#load(scan.lines, anew, bytes)
    this.#isTaken = true
    if (scan.rest === 'none' || mode === 'shared') {
      this.#file.apply(bytes, kind, scan.end)
      // A reader may not mend: it has seen a last line that lacks its line feed, and must look again next time.
      return scan.rest === 'unterminated'
    }
    if (scan.rest === 'unterminated') {
      this.#file.apply(bytes, kind, zerosAt)
      if (zerosAt < bytes.length) this.#cut(bytes.subarray(zerosAt))
      this.#file.terminate()
    } else {
      this.#file.apply(bytes, kind, scan.end)
      this.#cut(tail)
    }
    return false
  }

  /**
   * Takes the whole units of what has been added. What follows them is torn, or, without the lock, being written now.
   * @returns false where the long way must tell what it is, or mend it
   * @throws where memory must be read anew
   */
  takeWhole(tail: Buffer, mode: LockMode): boolean {
    const { lines, end, rest } = scanUnits(tail)
    if (rest === 'unterminated') return false
    const bad = this.#memory.apply(lines, false)
    if (bad.length > 0)
      throw new Error(`unreadable lines in ${this.#file.path}: they are judged under the lock`)
    this.#health.goodLines += lines.length
    this.#file.apply(tail, 'tail', end)
    return rest === 'none' || mode === 'shared'
  }

  async #load(lines: readonly string[], anew: boolean, bytes: Buffer): Promise<void> {
    if (anew) this.#health.reset(0)
    const start = anew ? 0 : this.#file.applied
    const bad = this.#memory.apply(lines, anew)
    const places = bad.length === 0 ? [] : await placesOf(bytes, new Set(bad), this.#memory.coder)
    // Lines are counted from where this look began, bytes from the beginning of the file.
    this.#health.judge(
      lines.length,
      places.map((place) => ({ ...place, byte: start + place.byte })),
    )
  }

  #cut(tail: Buffer): void {
    const kept = this.#file.cutTail(tail)
    process.emitWarning(
      `${this.#file.path} ended in ${tail.length} bytes of an operation that was cut short by a crash. They were never ` +
        `acknowledged; they are kept in ${kept}.`,
      { type: 'PsLockWarning', code: 'PSLOCK_TORN_TAIL' },
    )
  }
}

/** Whether a file without one complete unit may be a first unit cut short, and not some other kind of file. */
async function looksTorn(bytes: Buffer, coder: LineCoder | undefined): Promise<boolean> {
  const newline = bytes.indexOf(10)
  const first = bytes.toString('utf8', 0, newline === -1 ? bytes.length : newline)
  if (newline === -1) return /^ ?(?:\{(?:"|$)|$)/.test(first)
  try {
    return typeof JSON.parse(coder ? await coder.decode(first) : first) === 'object'
  } catch {
    return false
  }
}
