/** Milliseconds on the clock that all processes of a machine share and that nobody can set, from one boot to the next. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
