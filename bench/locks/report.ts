import type { Crowd } from '../lab/contention.ts'
import { median } from '../lab/statistics.ts'
import type { Contender } from './contenders.ts'

/** All that was measured of one lock, round by round. */
export interface Measured {
  readonly contender: Contender
  /** Why nothing could be measured. */
  readonly leftOut?: string
  /** The version of what is not in the lock file of this package. */
  readonly version?: string | undefined
  /** Taken and given back a second, with nobody else there. */
  readonly alone: { readonly async: number[]; readonly sync: number[] }
  readonly crowds: { readonly small: Crowd[]; readonly large: Crowd[] }
  readonly handOverMs: number[]
  readonly afterKillMs: number[]
}

export function isVoid({ crowds }: Measured): boolean {
  return [...crowds.small, ...crowds.large].some(({ lost }) => lost !== 0)
}

interface Line {
  readonly title: string
  readonly of: (measured: Measured) => number[]
}

function lines(small: number, large: number): Line[] {
  return [
    { title: 'alone, asynchronous: pairs/s', of: ({ alone }) => alone.async },
    { title: 'alone, synchronous: pairs/s', of: ({ alone }) => alone.sync },
    { title: `${small} processes: ops/s`, of: ({ crowds }) => crowds.small.map((crowd) => crowd.perSecond) },
    {
      title: `${small} processes: longest wait`,
      of: ({ crowds }) => crowds.small.map((crowd) => crowd.longestMs),
    },
    { title: `${large} processes: ops/s`, of: ({ crowds }) => crowds.large.map((crowd) => crowd.perSecond) },
    {
      title: `${large} processes: longest wait`,
      of: ({ crowds }) => crowds.large.map((crowd) => crowd.longestMs),
    },
    { title: 'hand-over after a release: time', of: ({ handOverMs }) => handOverMs },
    { title: 'next holder after kill -9: time', of: ({ afterKillMs }) => afterKillMs },
  ]
}

/** The figures as multiples of the first lock's, as rows of cells, the names of the columns first. */
export function ratioRows(all: readonly Measured[], small: number, large: number): string[][] {
  const [first] = all
  if (!first) return []
  const header = ['as a multiple of the first', ...all.map(({ contender }) => contender.title)]
  const rows = lines(small, large).map(({ title, of }) => {
    const unit = median(of(first))
    return [title, ...all.map((measured) => cell(median(of(measured)) / unit, measured))]
  })
  return [header, ...rows]
}

function cell(ratio: number, measured: Measured): string {
  if (isVoid(measured)) return 'void'
  if (Number.isNaN(ratio)) return '-'
  return `${ratio >= 0.095 && ratio < 10 ? ratio.toFixed(2) : Number(ratio.toPrecision(2)).toLocaleString('en-US', { maximumFractionDigits: 6 })}x`
}
