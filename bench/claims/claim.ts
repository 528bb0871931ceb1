import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Lab } from '../lab/lab.ts'
import type { Mate } from '../lab/mate.ts'

/** Something that docs/comparison.md says of another lock. */
export interface Claim {
  readonly text: string
  /** Whether it is so. */
  readonly isTrue: (lab: Lab) => Promise<boolean>
}

/** All that is said of one lock. */
export interface Claims {
  readonly title: string
  /** Rejects where it is not installed. */
  load(lab: Lab): Promise<unknown>
  readonly claims: readonly Claim[]
}

type Language = 'node' | 'python'

async function pair(lab: Lab, language: Language, lock: string): Promise<[Mate, Mate]> {
  return (await lab.start(2, language, lock)) as [Mate, Mate]
}

/** Whether the lock is granted to another process within so many milliseconds after the holder was sent a signal. */
export async function grantedAfter(
  lab: Lab,
  language: Language,
  lock: string,
  signal: 'SIGKILL' | 'SIGSTOP',
  ms: number,
): Promise<boolean> {
  const path = lab.path(lock, `after-${signal}-${ms}`)
  const [holder, waiter] = await pair(lab, language, lock)
  await holder.call('acquire', lock, path)
  holder.child.kill(signal)
  const granted = waiter.call('acquire', lock, path).then(() => true)
  const result = await Promise.race([granted, sleep(ms, false)])
  await Promise.all([lab.end(holder), lab.end(waiter)])
  return result
}

/** Whether flock(1) is kept out while another process holds the lock. */
export async function keepsOutFlock(lab: Lab, language: Language, lock: string): Promise<boolean> {
  const path = lab.path(lock, 'beside-flock')
  const [holder, other] = await pair(lab, language, lock)
  await holder.call('acquire', lock, path)
  const { status, error } = spawnSync('flock', ['--nonblock', `${path}.lock`, 'true'])
  if (error) throw error
  await Promise.all([lab.end(holder), lab.end(other)])
  return status === 1
}

/** Whether waiters get it in the order in which they came. */
export async function isInOrder(lab: Lab, language: Language, lock: string): Promise<boolean> {
  const path = lab.path(lock, 'order')
  const mates = await lab.start(6, language, lock)
  const [first, ...waiters] = mates as [Mate, ...Mate[]]
  await first.call('acquire', lock, path)
  const order: number[] = []
  const turns: Promise<unknown>[] = []
  for (const [index, waiter] of waiters.entries()) {
    const turn = waiter.call('acquire', lock, path).then(() => {
      order.push(index)
      return waiter.call('releaseAfter', 5)
    })
    turns.push(turn)
    await sleep(50)
  }
  await first.call('releaseAfter', 0)
  await Promise.all(turns)
  await Promise.all(mates.map((mate) => lab.end(mate)))
  return order.join() === [...waiters.keys()].join()
}
