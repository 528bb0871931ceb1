import { figure } from '../../base/table.ts'
import type { StressRun } from '../stress.ts'
import { clock } from './clock.ts'
import { answeredAt } from './fairness.ts'
import type { Plot, Point } from './plot.ts'

const STEPS_AT_MOST = 60
/** With fewer in a step, on average, one would look at chance. */
const ANSWERS_IN_A_STEP = 8

/** How long a step has to be, at least, so that it shows more than chance. */
export function throughputStepMs({ record: { workers, elapsedMs } }: StressRun): number {
  const answered = workers.reduce((sum, { operations }) => sum + answeredAt(operations).length, 0)
  return elapsedMs / Math.max(1, Math.min(STEPS_AT_MOST, Math.floor(answered / ANSWERS_IN_A_STEP)))
}

/** Answered operations per second, over the time of the run, in steps of about that length. */
export function throughputPoints({ record: { workers, elapsedMs } }: StressRun, aboutMs: number): Point[] {
  const ends = workers.flatMap(({ operations }) => answeredAt(operations))
  if (ends.length === 0 || elapsedMs <= 0) return []
  const steps = Math.max(1, Math.round(elapsedMs / aboutMs))
  const stepMs = elapsedMs / steps
  const counts = Array<number>(steps).fill(0)
  for (const end of ends) {
    const step = Math.min(steps - 1, Math.floor(end / stepMs))
    counts[step] = (counts[step] ?? 0) + 1
  }
  return counts.map((count, step) => ({ x: step * stepMs, y: (count * 1000) / stepMs }))
}

/** @param scale its ends, in milliseconds and in operations per second */
export function throughputPlot(
  run: StressRun,
  points: readonly Point[],
  scale: { readonly untilMs: number; readonly most: number },
): Plot {
  const { acknowledged, opsPerSecond } = run.verdict
  const { elapsedMs } = run.record
  const rates = points.map(({ y }) => y).sort((a, b) => a - b)
  const range = points.length > 1 ? `, between ${whole(rates[0])} and ${whole(rates.at(-1))}` : ''
  return {
    finding:
      points.length === 0
        ? 'Nothing was acknowledged.'
        : `${acknowledged.toLocaleString('en-US')} operations acknowledged in ${clock(elapsedMs)}: ` +
          `${whole(opsPerSecond)} per second on average${range}.`,
    drawing: points.length === 0 ? undefined : { kind: 'throughput', points, endMs: elapsedMs, ...scale },
    table: {
      head: ['from', 'operations per second'],
      rows: points.map(({ x, y }) => [clock(x), figure(y)]),
    },
  }
}

function whole(rate = 0): string {
  return Math.round(rate).toLocaleString('en-US')
}
