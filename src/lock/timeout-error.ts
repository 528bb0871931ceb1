import { type LockHolder, type LockMode, LockTimeoutError } from '../errors.ts'
import type { Site } from './site.ts'

/** Law 7: the error names the file, the mode, how long it waited, and who holds it. */
export function timeoutError(site: Site, mode: LockMode, waitedMs: number): LockTimeoutError {
  const holders = site.holders()
  const holding = holders.filter((holder) => holder.state === 'holding')
  const who =
    holding.length === 0
      ? 'Who holds it cannot be seen from here (another container?), or let go just now.'
      : `Held by ${holding.map(describeHolder).join(' and by ')}.`
  const own = holding.find((holder) => holder.acquiredAt !== undefined)
  const where = own ? `\nAcquired in this very process:\n${own.acquiredAt}` : ''
  return new LockTimeoutError(
    `no ${mode} lock of ${site.path} within ${Math.round(waitedMs)} ms. ${who} ` +
      `Give it more time with timeoutMs, or see who it is with "pslock status".${where}`,
    { path: site.path, mode, waitedMs, holders },
  )
}

/** "4711 (node worker.js, exclusive) for 3.2 s" */
function describeHolder(holder: LockHolder): string {
  const who = holder.pid === undefined ? 'a process that cannot be seen from here' : String(holder.pid)
  const since = holder.sinceMs === undefined ? '' : ` for ${(holder.sinceMs / 1000).toFixed(1)} s`
  return `${who} (${holder.command ?? 'unknown command'}, ${holder.mode})${since}`
}
