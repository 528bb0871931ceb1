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
  /** What is compared with the first lock's, round by round. */
  readonly of?: (measured: Measured) => number[]
  /** What stands for itself. */
  readonly text?: (measured: Measured) => string
}

function crowdLines(procs: number, of: (measured: Measured) => Crowd[]): Line[] {
  const each = (pick: (crowd: Crowd) => number) => (measured: Measured) => of(measured).map(pick)
  return [
    { title: `${procs} processes: ops/s`, of: each(({ perSecond }) => perSecond) },
    { title: `${procs} processes: longest wait`, of: each(({ longestMs }) => longestMs) },
    { title: `${procs} processes: turns, fewest / most`, text: (measured) => turns(of(measured)) },
  ]
}

/** Of the round with the median rate. */
function turns(crowds: Crowd[]): string {
  const crowd = crowds.toSorted((a, b) => a.perSecond - b.perSecond)[crowds.length >> 1]
  return crowd ? `${crowd.fewest} / ${crowd.most}` : '-'
}

function lines(small: number, large: number): Line[] {
  return [
    { title: 'alone, asynchronous: pairs/s', of: ({ alone }) => alone.async },
    { title: 'alone, synchronous: pairs/s', of: ({ alone }) => alone.sync },
    ...crowdLines(small, ({ crowds }) => crowds.small),
    ...crowdLines(large, ({ crowds }) => crowds.large),
    { title: 'hand-over after a release: time', of: ({ handOverMs }) => handOverMs },
    { title: 'next holder after kill -9: time', of: ({ afterKillMs }) => afterKillMs },
  ]
}

/** The figures as multiples of the first lock's, as rows of cells, the names of the columns first. */
export function ratioRows(all: readonly Measured[], small: number, large: number): string[][] {
  const [first] = all
  if (!first) return []
  const header = [`as a multiple of ${first.contender.title}`, ...all.map(({ contender }) => contender.title)]
  const rows = lines(small, large).map(({ title, of, text }) => {
    const unit = of ? median(of(first)) : Number.NaN
    return [
      title,
      ...all.map((measured) => {
        if (isVoid(measured)) return 'void'
        return text?.(measured) ?? multiple(median(of?.(measured) ?? []) / unit)
      }),
    ]
  })
  return [header, ...rows]
}

/** Two digits that matter: more are not to be had on a shared machine. */
function multiple(ratio: number): string {
  if (Number.isNaN(ratio)) return '-'
  const rounded = Number(ratio.toPrecision(2))
  if (rounded >= 1 && rounded < 10) return `${rounded.toFixed(1)}x`
  return `${ratio < 1 ? rounded : rounded.toLocaleString('en-US')}x`
}
