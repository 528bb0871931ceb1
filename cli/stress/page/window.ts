import type { RunRecord } from '../run-record.ts'
import type { Span } from './plot.ts'

/** How many spans of time remain readable. */
const SPANS_AT_MOST = 600
/** How much of a run may be shown, the most first. */
const LENGTHS_MS = [5000, 2000, 1000, 500, 200, 100, 50, 20, 10]

/**
 * The part of a run that can be shown in such detail: a quarter of it before the first kill or stop, else from the
 * beginning on.
 */
export function window(
  spans: readonly Span[],
  { disturbances, elapsedMs }: Pick<RunRecord, 'disturbances' | 'elapsedMs'>,
): readonly [fromMs: number, untilMs: number] {
  const anchor =
    disturbances.find(({ what }) => what === 'kill') ?? disturbances.find(({ what }) => what === 'stop')
  const around = (lengthMs: number): readonly [number, number] => {
    const from = Math.max(0, Math.min((anchor?.atMs ?? 0) - lengthMs / 4, elapsedMs - lengthMs))
    return [from, Math.min(from + lengthMs, elapsedMs)]
  }
  const length = LENGTHS_MS.find((lengthMs) => {
    const [from, until] = around(lengthMs)
    return spans.filter(({ fromMs, toMs }) => toMs >= from && fromMs <= until).length <= SPANS_AT_MOST
  })
  return around(length ?? (LENGTHS_MS.at(-1) as number))
}
