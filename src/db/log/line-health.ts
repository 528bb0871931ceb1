import { CorruptStoreError } from '../../errors.ts'
import { keepAside } from '../../os/aside.ts'
import type { PlacedLine } from './scan.ts'
import type { LineCoder } from './unit.ts'

/** How much of a log is readable: vanilla NeDB's tolerance for bad lines, without erasing the evidence. */
export class LineHealth {
  goodLines = 0
  readonly #path: string
  readonly #threshold: () => number
  readonly #thrown: () => LineCoder['thrown']
  #badLines: PlacedLine[] = []

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
    return this.#badLines.length > 0
  }

  /** Another file, of so many good lines. */
  reset(goodLines: number): void {
    this.goodLines = goodLines
    this.#badLines = []
  }

  /** @throws CorruptStoreError when too many lines of the file are bad; warns about the first that are tolerated */
  judge(lines: number, bad: readonly PlacedLine[]): void {
    this.goodLines += lines - bad.length
    if (bad.length === 0) return
    const isFirst = this.#badLines.length === 0
    for (const line of bad) this.#badLines.push(line)
    const total = this.goodLines + this.#badLines.length
    if (this.#badLines.length / total > this.#threshold())
      throw this.error(this.#badLines.length, total, this.#badLines[0])
    if (!isFirst) return
    process.emitWarning(
      `${this.#badLines.length} of ${total} lines of ${this.#path} are unreadable and were passed over. They are kept ` +
        `in ${this.#path}.corrupt-<n> before the file is ever rewritten.`,
      { type: 'PsLockWarning', code: 'PSLOCK_CORRUPT_LINES' },
    )
  }

  /** Called before a rewrite, which leaves the bad lines out. */
  keepBadLines(): void {
    if (this.#badLines.length === 0) return
    const feed = Buffer.from('\n')
    keepAside(this.#path, 'corrupt', Buffer.concat(this.#badLines.flatMap(({ raw }) => [raw, feed])))
  }

  /** In the vanilla library's own words, and with its fields as the only visible ones: code may look for just those. */
  error(
    corruptItems: number,
    dataLength: number,
    first: Pick<PlacedLine, 'line' | 'byte'> = { line: 1, byte: 0 },
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
          `the first unreadable line of ${this.#path} is line ${first.line}, byte ${first.byte}. \`pslock check\` says more.`,
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
