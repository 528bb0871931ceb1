/** A point or a span of the time of a run, in milliseconds, as people read it: "340 ms", "12.7 s". */
export function clock(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}
