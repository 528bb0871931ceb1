import type { RunRecord } from '../run-record.ts'
import type { Span } from './plot.ts'

/** How many spans of time remain readable. */
const SPANS_AT_MOST = 600
/** How much of a run may be shown, the most first. */
const LENGTHS_MS = [5000, 2000, 1000, 500, 200, 100, 50, 20, 10]

type Timed = Pick<RunRecord, 'disturbances' | 'elapsedMs'>

/** How much of a run can be shown so that its spans remain readable, in milliseconds; it may be more than there is. */
export function readableMs(spans: readonly Span[], run: Timed): number {
  const isReadable = (lengthMs: number) => {
    const [from, until] = window(run, lengthMs)
    return spans.filter(({ fromMs, toMs }) => toMs >= from && fromMs <= until).length <= SPANS_AT_MOST
  }
  return LENGTHS_MS.find(isReadable) ?? (LENGTHS_MS.at(-1) as number)
}

/** A part of a run: a quarter of it before the first kill or stop, else from the beginning on; or all, if it is shorter. */
export function window(
  { disturbances, elapsedMs }: Timed,
  lengthMs: number,
): readonly [fromMs: number, untilMs: number] {
  const anchor =
    disturbances.find(({ what }) => what === 'kill') ?? disturbances.find(({ what }) => what === 'stop')
  const from = Math.max(0, Math.min((anchor?.atMs ?? 0) - lengthMs / 4, elapsedMs - lengthMs))
  return [from, Math.min(from + lengthMs, elapsedMs)]
}
