import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Lab } from '../lab/lab.ts'
import type { Mate } from '../lab/mate.ts'
import { sum } from '../lab/statistics.ts'

const WARM_UP_MS = 2_000
const WINDOW_MS = 3_000
/** So many waits of one process, twice as many as libuv has threads. */
export const WAITS_OF_ONE = 8
const HELD_BESIDE_MS = 1_000
const GIVE_UP_AFTER_MS = 100
/** For a wait that was given up to be granted all the same, after the release. */
const LATE_MS = 300

/** Processor time of all these waiters while nothing happens, in percent of one core. */
export async function idleCpu(
  holder: Mate,
  waiters: readonly Mate[],
  lock: string,
  path: string,
): Promise<number> {
  await holder.call('acquire', lock, path)
  const spent = await Promise.all(waiters.map((mate) => mate.call('idle', lock, path, WARM_UP_MS, WINDOW_MS)))
  await holder.call('releaseAfter', 0)
  await Promise.all(waiters.map((mate) => mate.call('drained')))
  return (sum(spent) / WINDOW_MS) * 100
}

/** Milliseconds that a small `fs.readFile` takes in a process that waits with several tasks. */
export async function readBesideWaits(lab: Lab, holder: Mate, lock: string, path: string): Promise<number> {
  const file = lab.path(lock, 'small')
  writeFileSync(file, 'hello')
  const [waiting] = await lab.start(1, 'node', lock)
  if (!waiting) throw new Error('no process was started')
  await holder.call('acquire', lock, path)
  const read = waiting.call('readBeside', lock, path, WAITS_OF_ONE, file)
  await Promise.race([read, sleep(HELD_BESIDE_MS)])
  await holder.call('releaseAfter', 0)
  const ms = await read
  await waiting.call('drained')
  await lab.end(waiting)
  return ms
}

/** Whether a wait that was given up is gone: the lock is not granted to it afterwards. */
export async function canBeCancelled(
  holder: Mate,
  waiter: Mate,
  lock: string,
  path: string,
): Promise<boolean> {
  const before = await waiter.call('lateGrants')
  await holder.call('acquire', lock, path)
  await waiter.call('giveUp', lock, path, GIVE_UP_AFTER_MS)
  await holder.call('releaseAfter', 0)
  await sleep(LATE_MS)
  return (await waiter.call('lateGrants')) === before
}
