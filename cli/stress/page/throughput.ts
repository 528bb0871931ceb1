import { figure } from '../../base/table.ts'
import type { StressRun } from '../stress.ts'
import { clock } from './clock.ts'
import type { Plot, Point } from './plot.ts'

const STEPS_AT_MOST = 60
/** With fewer in a step, on average, one would look at chance. */
const ANSWERS_IN_A_STEP = 8

/** Answered operations per second, over the time of the run. */
export function throughputPoints({ record: { workers, elapsedMs } }: StressRun): Point[] {
  const ends = workers.flatMap(({ operations }) =>
    operations.flatMap(({ toMs, said }) => (toMs === undefined || said === 'error' ? [] : [toMs])),
  )
  if (ends.length === 0 || elapsedMs <= 0) return []
  const steps = Math.max(1, Math.min(STEPS_AT_MOST, Math.floor(ends.length / ANSWERS_IN_A_STEP)))
  const stepMs = elapsedMs / steps
  const counts = Array<number>(steps).fill(0)
  for (const end of ends) {
    const step = Math.min(steps - 1, Math.floor(end / stepMs))
    counts[step] = (counts[step] ?? 0) + 1
  }
  return counts.map((count, step) => ({ x: (step + 0.5) * stepMs, y: (count * 1000) / stepMs }))
}

/** @param scale its end, in operations per second, and whether the plot beside it has another one */
export function throughputPlot(
  run: StressRun,
  points: readonly Point[],
  { most, isItsOwn }: { readonly most: number; readonly isItsOwn: boolean },
): Plot {
  const { acknowledged, opsPerSecond } = run.verdict
  const { elapsedMs } = run.record
  const rates = points.map(({ y }) => y).sort((a, b) => a - b)
  return {
    finding:
      points.length === 0
        ? 'Nothing was acknowledged.'
        : `${acknowledged.toLocaleString('en-US')} operations acknowledged in ${clock(elapsedMs)}: ` +
          `${whole(opsPerSecond)} per second on average, between ${whole(rates[0])} and ${whole(rates.at(-1))}.${isItsOwn ? ' The scales of the two plots differ.' : ''}`,
    drawing: points.length === 0 ? undefined : { kind: 'throughput', points, untilMs: elapsedMs, most },
    table: {
      head: ['at', 'operations per second'],
      rows: points.map(({ x, y }) => [`${figure(x / 1000)} s`, figure(y)]),
    },
  }
}

function whole(rate = 0): string {
  return Math.round(rate).toLocaleString('en-US')
}
