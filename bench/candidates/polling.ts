import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { tryFlock } from '../../src/os/flock.ts'
import type { Release } from './candidate.ts'

const PAUSE_MS = { from: 1, to: 50, factor: 1.5 }

/** Asks flock(2) again and again, ever more seldom up to a bound, then often again (a sawtooth). */
export async function acquire(path: string, signal?: AbortSignal): Promise<Release> {
  const lockFile = `${path}.lock`
  const fd = openSync(lockFile, 'a')
  let pauseMs = PAUSE_MS.from
  try {
    while (!tryFlock(fd, 'exclusive', lockFile)) {
      await sleep(pauseMs, undefined, signal ? { signal } : {})
      pauseMs = pauseMs >= PAUSE_MS.to ? PAUSE_MS.from : Math.min(PAUSE_MS.to, pauseMs * PAUSE_MS.factor)
    }
  } catch (error) {
    closeSync(fd)
    throw error
  }
  return () => closeSync(fd)
}
