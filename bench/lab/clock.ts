/** Milliseconds of CLOCK_MONOTONIC: the same clock in every process, also in Python's time.monotonic(). */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
