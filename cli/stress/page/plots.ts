import type { StressRun } from '../stress.ts'
import { histogram, waitsOf } from '../waits.ts'
import { fairnessPlot } from './fairness.ts'
import { lanesPlot } from './lanes.ts'
import type { Plot, Point } from './plot.ts'
import { throughputPlot, throughputPoints } from './throughput.ts'
import { STEPS_PER_DECADE, shares, waitPlot } from './wait-distribution.ts'

/** The same plot of each of the runs that are to be seen side by side. */
export interface PlotRow {
  readonly title: string
  readonly plots: readonly Plot[]
}

/** All the plots of some runs; what compares well they show on the same scale. */
export function plotRows(runs: readonly StressRun[]): PlotRow[] {
  return [
    { title: 'Throughput over time', plots: throughput(runs) },
    { title: 'How long operations waited', plots: waiting(runs) },
    { title: 'Who had the lock when', plots: runs.map(lanesPlot) },
    { title: 'Work done by each process', plots: runs.map(fairnessPlot) },
  ]
}

/** On one scale a run that is slower than another by more than this would be a flat line. */
const ALIKE = 4

function throughput(runs: readonly StressRun[]): Plot[] {
  const points = runs.map(throughputPoints)
  const ends = points.map((some) => ceiling(some.map(({ y }) => y)))
  const most = Math.max(...ends)
  const isAlike = ends.every((end) => end * ALIKE >= most)
  return runs.map((run, index) => {
    const own = { most: ends[index] as number, isItsOwn: true }
    return throughputPlot(run, points[index] as Point[], isAlike ? { most, isItsOwn: false } : own)
  })
}

function waiting(runs: readonly StressRun[]): Plot[] {
  const waits = runs.map(({ record }) => waitsOf(record))
  const ends = waits.flatMap((sorted) =>
    sorted.length === 0 ? [] : [sorted[0] as number, sorted.at(-1) as number],
  )
  const range = ends.length === 0 ? undefined : ([Math.min(...ends), Math.max(...ends)] as const)
  const histograms = waits.map((sorted) => histogram(sorted, STEPS_PER_DECADE, range))
  const most = ceiling(histograms.flatMap(shares))
  return runs.map((run, index) => waitPlot(run, histograms[index] as (typeof histograms)[number], most))
}

/** A round number that all of them are below. */
function ceiling(values: readonly number[]): number {
  const most = Math.max(0, ...values) * 1.05
  if (most === 0) return 1
  const unit = 10 ** Math.floor(Math.log10(most))
  return ([1, 2, 4, 5, 6, 8, 10].find((times) => times * unit >= most) ?? 10) * unit
}
