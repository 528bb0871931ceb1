import { type LockHolder, type LockMode, LockTimeoutError } from '../errors.ts'
import type { Site } from './site.ts'

/** Law 7: the error names the file, the mode, how long it waited, and who holds it. */
export function timeoutError(site: Site, mode: LockMode, waitedMs: number): LockTimeoutError {
  let holders: LockHolder[] = []
  let cause: unknown
  try {
    holders = site.holders()
  } catch (error) {
    // That the time is up is what the caller must know.
    cause = error
  }
  const holding = holders.filter((holder) => holder.state === 'holding')
  const who =
    holding.length === 0
      ? 'Who holds it cannot be seen from here (another container?), or let go just now.'
      : `Held by ${holding.map(describeHolder).join(' and by ')}.`
  const advice = holding.some(({ pid }) => pid === process.pid)
    ? 'Give it more time with timeoutMs. If that hold waits for this very call, directly or by a queue of jobs, no time is ' +
      'enough: make the call in the context of the hold, or do not await it there.'
    : 'Give it more time with timeoutMs, or see who it is with "pslock status".'
  return new LockTimeoutError(
    `no ${mode} lock of ${site.path} within ${Math.round(waitedMs)} ms. ${who} ${advice}`,
    { path: site.path, mode, waitedMs, holders, ...(cause === undefined ? {} : { cause }) },
  )
}

/** Of a holder, or a waiter, that is. */
export const STOPPED = 'stopped (until it gets SIGCONT: fg, or kill -CONT)'

/** "4711 (node worker.js, exclusive) for 3.2 s, stopped" */
function describeHolder(holder: LockHolder): string {
  const { pid, stopped } = holder
  const own = pid === process.pid ? 'this very process, ' : ''
  const who = pid === undefined ? 'a process that cannot be seen from here' : `${own}${pid}`
  const since = holder.sinceMs === undefined ? '' : ` for ${(holder.sinceMs / 1000).toFixed(1)} s`
  return `${who} (${holder.command ?? 'unknown command'}, ${holder.mode})${since}${stopped ? `, ${STOPPED}` : ''}`
}
