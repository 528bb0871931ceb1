import type { LockMode } from '../../errors.ts'
import type { LogMemory } from '../adapter.ts'
import type { LineHealth } from './line-health.ts'
import type { LogFile, News } from './log-file.ts'
import { type Scan, scanUnits, scanUnitsWith } from './unit.ts'

/** Brings memory up to date with what is new in the log, and mends its end after a crash. */
export class LogReader {
  readonly #file: LogFile
  readonly #memory: LogMemory
  readonly #health: LineHealth

  constructor(file: LogFile, memory: LogMemory, health: LineHealth) {
    this.#file = file
    this.#memory = memory
    this.#health = health
  }

  /** @returns whether the whole file must be read again next time */
  async take(news: News, mode: LockMode): Promise<boolean> {
    if (news.kind === 'none') return false
    if (news.kind === 'missing') {
      this.#load([], true)
      return false
    }
    const { bytes, kind } = news
    const { coder } = this.#memory
    const scan = coder ? await scanUnitsWith(coder, bytes) : scanUnits(bytes)
    const anew = kind === 'replaced'
    if (anew && scan.lines.length === 0 && scan.rest === 'torn' && !looksTorn(bytes, scan)) {
      throw this.#health.error(1, 1)
    }
    const tail = bytes.subarray(scan.end)
    if (scan.rest === 'unterminated' && tail.length > 0) {
      const text = tail.toString('utf8')
      scan.lines.push(coder ? await coder.decode(text) : text)
    }
    this.#load(scan.lines, anew)
    if (scan.rest === 'none' || mode === 'shared') {
      this.#file.applied(bytes, kind, scan.end)
      // A reader may not mend: it has seen a last line that lacks its line feed, and must look again next time.
      return scan.rest === 'unterminated'
    }
    if (scan.rest === 'unterminated') {
      this.#file.applied(bytes, kind, bytes.length)
      this.#file.terminate()
    } else {
      this.#file.applied(bytes, kind, scan.end)
      this.#cut(tail)
    }
    return false
  }

  #load(lines: readonly string[], anew: boolean): void {
    if (anew) this.#health.reset(0)
    this.#health.judge(lines.length, this.#memory.apply(lines, anew))
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

/** Whether a file without one complete line may be a first record cut short, and not some other kind of file. */
function looksTorn(bytes: Buffer, scan: Scan): boolean {
  return scan.end === 0 && bytes.length > 1 && bytes[0] === 0x7b && bytes[1] === 0x22 && !bytes.includes(10)
}
