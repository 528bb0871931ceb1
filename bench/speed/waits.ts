/** Buckets in which a wait doubles: a bucket is 4.4% wide, so a quantile is right to half of that. */
const PER_DOUBLING = 16
/** The upper end of the first bucket. */
const SHORTEST_MS = 0.0001
/** Up to 30 minutes. */
const BUCKETS = 35 * PER_DOUBLING

/** How long operations took: cheap to keep, and to send to another process. */
export interface WaitCounts {
  readonly counts: readonly number[]
  readonly longestMs: number
}

/** Counts how long operations took, in buckets that grow by a constant factor. */
export class Waits {
  readonly #counts: number[] = new Array(BUCKETS).fill(0)
  #longestMs = 0

  add(ms: number): void {
    const bucket = Math.ceil(Math.log2(Math.max(ms, SHORTEST_MS) / SHORTEST_MS) * PER_DOUBLING)
    const at = Math.min(BUCKETS - 1, bucket)
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    if (ms > this.#longestMs) this.#longestMs = ms
  }

  merge({ counts, longestMs }: WaitCounts): void {
    for (const [at, count] of counts.entries()) this.#counts[at] = (this.#counts[at] ?? 0) + count
    this.#longestMs = Math.max(this.#longestMs, longestMs)
  }

  get longestMs(): number {
    return this.#longestMs
  }

  /** The wait below which this part (0 to 1) of them lies; NaN of none. */
  quantileMs(part: number): number {
    const total = this.#counts.reduce((sum, count) => sum + count, 0)
    if (total === 0) return Number.NaN
    let below = 0
    const at = this.#counts.findIndex((count) => {
      below += count
      return below >= total * part
    })
    return Math.min(this.#longestMs, SHORTEST_MS * 2 ** ((at - 0.5) / PER_DOUBLING))
  }

  toJSON(): WaitCounts {
    return { counts: this.#counts, longestMs: this.#longestMs }
  }
}
