import { CorruptStoreError } from '../../errors.ts'
import { keepAside } from '../../os/aside.ts'
import type { Place } from './lines.ts'
import type { Ending } from './scan.ts'
import type { LineCoder } from './unit.ts'

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
export class LineHealth {
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
      `${this.#bad.length} of ${total} lines of ${this.#path} are unreadable and were passed over, the first at ` +
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
