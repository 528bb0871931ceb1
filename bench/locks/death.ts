import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs } from '../lab/clock.ts'
import type { Lab } from '../lab/lab.ts'
import type { Mate } from '../lab/mate.ts'
import type { Contender } from './contenders.ts'

/** Milliseconds from a kill -9 of the holder until the waiter has the lock. */
export async function nextAfterKill(
  lab: Lab,
  { name, language }: Contender,
  waiter: Mate,
  path: string,
  holdMs: number,
): Promise<number> {
  const [holder] = await lab.start(1, language, name)
  if (!holder) throw new Error('no process was started')
  await holder.call('acquire', name, path)
  const granted = waiter.call('acquire', name, path)
  await sleep(holdMs)
  const killedAt = nowMs()
  await lab.end(holder)
  const grantedAt = await granted
  await waiter.call('releaseAfter', 0)
  return grantedAt - killedAt
}
