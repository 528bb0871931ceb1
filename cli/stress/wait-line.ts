import pc from 'picocolors'
import { duration } from '../base/table.ts'
import type { Latency } from './contention.ts'
import { histogram } from './waits.ts'

const STEPS_PER_DECADE = 6
const BLOCKS = '▁▂▃▄▅▆▇█'
const ASCII = '.:-=+*#@'

/**
 * The distribution of the waits in one line, on a logarithmic scale.
 * @param waits in milliseconds, shortest first
 * @param isUtf8 whether block characters can be read
 * @returns undefined where nobody waited
 */
export function waitLine(
  waits: readonly number[],
  latency: Latency | undefined,
  isUtf8: boolean,
): string | undefined {
  const [least, most] = [waits[0], waits.at(-1)]
  if (least === undefined || most === undefined || latency === undefined) return undefined
  const { counts } = histogram(waits, STEPS_PER_DECADE)
  const highest = Math.max(...counts)
  const steps = isUtf8 ? BLOCKS : ASCII
  const bars = counts.map((count) =>
    count === 0 ? ' ' : steps[Math.ceil((count / highest) * steps.length) - 1],
  )
  const { p50, p99, max } = latency
  return (
    `waits from ${duration(least)} to ${duration(most)} (logarithmic) [${pc.cyan(bars.join(''))}] ` +
    `p50 ${duration(p50)}, p99 ${duration(p99)}, max ${duration(max)}`
  )
}
