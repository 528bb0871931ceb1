import { rmSync } from 'node:fs'
import { nowMs } from './clock.ts'
import { Counter } from './counter.ts'
import type { Mate } from './mate.ts'
import { sum } from './statistics.ts'

/** Time to send all of them the message, so that they start together. */
const HEAD_START_MS = 150

/** What a crowd got in one run. */
export interface Crowd {
  readonly count: number
  /** Rounds that the counter does not know of: two were inside at once. Where it is not 0 the run is void. */
  readonly lost: number
  readonly perSecond: number
  /** How often a process got it from another one: who got fewest, who most. */
  readonly fewest: number
  readonly most: number
  readonly longestMs: number
  /** The mean wait for such a turn. */
  readonly meanMs: number
}

/** All these processes want one lock again and again, from the same moment on. */
export async function contend(
  mates: readonly Mate[],
  lock: string,
  path: string,
  forMs: number,
): Promise<Crowd> {
  const file = `${path}.counter`
  rmSync(file, { force: true })
  const startAtMs = nowMs() + HEAD_START_MS
  const results = await Promise.all(
    mates.map((mate) => mate.call('contend', lock, path, file, startAtMs, forMs)),
  )
  const counter = new Counter(file)
  const counted = counter.value
  counter.close()
  const each = results.map(({ turns }) => turns)
  const count = sum(results.map((result) => result.count))
  const elapsedMs = Math.max(...results.map(({ endedAtMs }) => endedAtMs)) - startAtMs
  return {
    count,
    lost: count - counted,
    perSecond: (count / elapsedMs) * 1000,
    fewest: Math.min(...each),
    most: Math.max(...each),
    longestMs: Math.max(...results.map(({ longestMs }) => longestMs)),
    meanMs: sum(results.map(({ waitedMs }) => waitedMs)) / sum(each),
  }
}
