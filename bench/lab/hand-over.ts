import { setTimeout as sleep } from 'node:timers/promises'
import type { Mate } from './mate.ts'

/** For a waiter to begin its wait. */
const BEGIN_MS = 5

/** How long a lock lies free when it is released while one other process waits, in milliseconds. */
export async function handOver(
  holder: Mate,
  waiter: Mate,
  lock: string,
  path: string,
  holdMs: number,
): Promise<number> {
  await holder.call('acquire', lock, path)
  const granted = waiter.call('acquire', lock, path)
  await sleep(BEGIN_MS)
  const releasedAt = await holder.call('releaseAfter', Math.max(0, holdMs - BEGIN_MS))
  const grantedAt = await granted
  await waiter.call('releaseAfter', 0)
  return grantedAt - releasedAt
}
