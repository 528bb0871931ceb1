import { mustTurn, turn } from '../lock/event-loop.ts'
import type { Acquisition, Granted } from './acquisition.ts'
import { timeoutError, upgradeError } from './refusal.ts'

/**
 * How often a waiter asks: soon at first, then ever more seldom; each time costs about 0.1 ms of CPU. Who has a gate
 * closed is next, and asks more often: it is one at a node.
 */
const PACE_MS = { first: 1, growth: 1.5, slowestNext: 5, slowest: 25 }

/**
 * Who was refused without seeing by whom came between a grant and its note, or while a name was appended. Both take
 * some microseconds, or a little longer where that process has just lost its processor.
 */
const NAMELESS_MS = 100

/** How long one attempt blocks while another process appends a name; after that it asks again later. */
const BLOCKING_MS = 2

export interface TreePatience {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/**
 * Asks until it is granted, the time is over, or the signal aborts. Between two attempts nothing of this waits but a
 * timer.
 * @param ownSlots the notes of the holds around it, which are in nobody's way here
 * @throws LockTimeoutError, LockUpgradeError, LockIoError, LockUnsupportedError, LockLostError, the signal's reason
 */
export async function waitFor(
  acquisition: Acquisition,
  ownSlots: readonly number[],
  { timeoutMs, signal }: TreePatience,
): Promise<Granted> {
  const { request } = acquisition
  const start = performance.now()
  try {
    if (mustTurn()) await turn(signal)
    for (let paceMs = PACE_MS.first; ; paceMs *= PACE_MS.growth) {
      const granted = acquisition.attempt({ willWait: timeoutMs > 0, blockingMs: BLOCKING_MS }, () =>
        upgradeError(request, ownSlots),
      )
      if (granted) return granted
      const waitedMs = performance.now() - start
      if (waitedMs >= timeoutMs) {
        const error = timeoutError(request, [...ownSlots, acquisition.slot], timeoutMs === 0 ? 0 : waitedMs)
        if (error.holders.length > 0 || waitedMs >= NAMELESS_MS + timeoutMs) throw error
        await pause(1, signal)
      } else {
        paceMs = Math.min(paceMs, acquisition.isNext ? PACE_MS.slowestNext : PACE_MS.slowest)
        // Random, so that no two stay in step.
        await pause(Math.min(paceMs * (0.5 + Math.random()), timeoutMs - waitedMs), signal)
      }
    }
  } catch (error) {
    acquisition.abandon()
    throw error
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', abort, { once: true })
  })
}
