import { duration, figure } from '../../base/table.ts'
import type { StressRun } from '../stress.ts'
import type { Histogram } from '../waits.ts'
import type { Plot } from './plot.ts'

/** Steps in which each is a third longer than the one before. */
export const STEPS_PER_DECADE = 8

/** The share of the waits in each step, in percent. */
export function shares({ counts }: Histogram): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return counts.map((count) => (total === 0 ? 0 : (100 * count) / total))
}

/** @param most the end of the scale, in percent */
export function waitPlot({ verdict }: StressRun, waits: Histogram, most: number): Plot {
  const { count, p50, p99, max } = verdict.latencyMs.all ?? { count: 0, p50: 0, p99: 0, max: 0 }
  const inSteps = shares(waits)
  const rows = waits.counts.flatMap((waited, step) =>
    waited === 0
      ? []
      : [
          [
            `${duration(waits.bounds[step] as number)} to ${duration(waits.bounds[step + 1] as number)}`,
            waited.toLocaleString('en-US'),
            `${figure(inSteps[step] as number)} %`,
          ],
        ],
  )
  return {
    finding:
      count === 0
        ? 'Nothing was answered, so nobody knows how long it would have taken.'
        : `From the call to its answer, half took no longer than ${duration(p50)}, 99 of 100 no longer than ` +
          `${duration(p99)}; the longest took ${duration(max)}.`,
    drawing:
      count === 0
        ? undefined
        : {
            kind: 'waits',
            bounds: waits.bounds,
            shares: inSteps,
            marks: [
              { name: 'half within', ms: p50 },
              { name: '99 of 100 within', ms: p99 },
              { name: 'longest', ms: max },
            ],
            most,
          },
    table: { head: ['wait', 'operations', 'share'], rows },
  }
}
