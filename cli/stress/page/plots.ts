import type { StressRun } from '../stress.ts'
import { histogram, waitsOf } from '../waits.ts'
import { answeredAt, fairnessPlot } from './fairness.ts'
import { lanesPlot, workBars } from './lanes.ts'
import type { Plot, Point } from './plot.ts'
import { throughputPlot, throughputPoints, throughputStepMs } from './throughput.ts'
import { STEPS_PER_DECADE, shares, waitPlot } from './wait-distribution.ts'
import { readableMs } from './window.ts'

/** The same plot of each of the runs that are to be seen side by side. */
export interface PlotRow {
  readonly title: string
  readonly plots: readonly Plot[]
}

/** All the plots of some runs. Side by side they are on one scale, so that what looks longer or higher is. */
export function plotRows(runs: readonly StressRun[]): PlotRow[] {
  return [
    { title: 'Throughput over time', plots: throughput(runs) },
    { title: 'How long operations waited', plots: waiting(runs) },
    { title: 'Who had the lock when', plots: lanes(runs) },
    { title: 'Work done by each process', plots: fairness(runs) },
  ]
}

function throughput(runs: readonly StressRun[]): Plot[] {
  const stepMs = Math.max(...runs.map(throughputStepMs))
  const points = runs.map((run) => throughputPoints(run, stepMs))
  const scale = { untilMs: longestMs(runs), most: ceiling(points.flat().map(({ y }) => y * 1.05)) }
  return runs.map((run, index) => throughputPlot(run, points[index] as Point[], scale))
}

function waiting(runs: readonly StressRun[]): Plot[] {
  const waits = runs.map(({ record }) => waitsOf(record))
  const ends = waits.flatMap((sorted) =>
    sorted.length === 0 ? [] : [sorted[0] as number, sorted.at(-1) as number],
  )
  const range = ends.length === 0 ? undefined : ([Math.min(...ends), Math.max(...ends)] as const)
  const histograms = waits.map((sorted) => histogram(sorted, STEPS_PER_DECADE, range))
  const most = ceiling(histograms.flatMap(shares).map((share) => share * 1.05))
  return runs.map((run, index) => waitPlot(run, histograms[index] as (typeof histograms)[number], most))
}

function lanes(runs: readonly StressRun[]): Plot[] {
  const readable = runs.map((run) => readableMs(workBars(run), run.record))
  const lengthMs = Math.min(longestMs(runs), ...readable)
  return runs.map((run) => lanesPlot(run, lengthMs))
}

function fairness(runs: readonly StressRun[]): Plot[] {
  const done = runs.flatMap(({ record }) =>
    record.workers.map(({ operations }) => answeredAt(operations).length),
  )
  return runs.map((run) => fairnessPlot(run, ceiling(done)))
}

function longestMs(runs: readonly StressRun[]): number {
  return Math.max(...runs.map(({ record }) => record.elapsedMs))
}

/** A round number that none of them is above. */
function ceiling(values: readonly number[]): number {
  const most = values.reduce((greatest, value) => Math.max(greatest, value), 0)
  if (most === 0) return 1
  const unit = 10 ** Math.floor(Math.log10(most))
  return ([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((times) => times * unit >= most) ?? 10) * unit
}
