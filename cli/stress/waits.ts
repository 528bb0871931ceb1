import type { RunRecord } from './run-record.ts'

/** How long every answered operation took, from its call to its answer, in milliseconds; shortest first. */
export function waitsOf({ workers }: RunRecord): number[] {
  const waits = workers.flatMap(({ operations }) =>
    operations.flatMap(({ fromMs, toMs, said }) =>
      toMs === undefined || said === 'error' ? [] : [toMs - fromMs],
    ),
  )
  return waits.sort((a, b) => a - b)
}

/** How many waits are in each of some steps of equal ratio: step i goes from bound i to bound i + 1. */
export interface Histogram {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
}

/** Less than the clock can tell apart, and more than the logarithm of nothing. */
const LEAST_MS = 0.001

/**
 * @param waits sorted
 * @param range the shortest and the longest that it must have room for; those of the waits unless given
 */
export function histogram(
  waits: readonly number[],
  stepsPerDecade: number,
  [least, most]: readonly [number, number] = [waits[0] ?? 1, waits.at(-1) ?? 1],
): Histogram {
  const step = (ms: number) => Math.floor(Math.log10(Math.max(ms, LEAST_MS)) * stepsPerDecade)
  const first = step(least)
  const counts = Array<number>(step(most) - first + 1).fill(0)
  for (const ms of waits) counts[step(ms) - first] = (counts[step(ms) - first] ?? 0) + 1
  const bounds = Array.from(
    { length: counts.length + 1 },
    (_, index) => 10 ** ((first + index) / stepsPerDecade),
  )
  return { bounds, counts }
}
