import type { Operation } from './operation.ts'

/** What can be wrong. */
export const FINDING_KINDS = [
  /** Acknowledged, and not in the file. */
  'lost',
  /** More than once in the file, or given to two. */
  'duplicated',
  /** In the file in part. */
  'torn',
  /** In the file ahead of something that had ended before it began. */
  'outOfOrder',
  /** In the file, and nobody put it there. */
  'unexpected',
  /** The vanilla library refuses the file. */
  'unreadable',
  /** A read that did not see what had been acknowledged before it began. */
  'stale',
  /** Answers about one key that no order of the operations explains. */
  'notLinearizable',
  /** Rejected although nothing was wrong with it, or a worker that broke. */
  'errors',
] as const

export type FindingKind = (typeof FINDING_KINDS)[number]

export interface Finding {
  readonly kind: FindingKind
  readonly message: string
  readonly worker?: number | undefined
  readonly operation?: ({ readonly index: number } & Operation) | undefined
  readonly record?: string | undefined
}

/** Everything that was found: all of it counted, the first ones in full (as many as a reader can use). */
export class Findings {
  readonly counts: Record<FindingKind, number>
  readonly first: Finding[] = []
  readonly #limit: number
  readonly #seen = new Set<string>()

  constructor(limit = 10_000) {
    this.#limit = limit
    this.counts = Object.fromEntries(FINDING_KINDS.map((kind) => [kind, 0])) as Record<FindingKind, number>
  }

  /** @param times how many things one finding stands for */
  add(finding: Finding, times = 1): void {
    if (finding.record !== undefined && finding.operation === undefined) {
      // Two checks may see the same damage of a record: it counts once.
      const key = `${finding.kind} ${finding.record}`
      if (this.#seen.has(key)) return
      this.#seen.add(key)
    }
    this.counts[finding.kind] += times
    if (this.first.length < this.#limit) this.first.push(finding)
  }

  get total(): number {
    return FINDING_KINDS.reduce((sum, kind) => sum + this.counts[kind], 0)
  }
}
