import { PsLock } from '../../src/lock/lock.ts'
import type { Release } from './candidate.ts'

/** Ours, with its defaults but for the timeout. */
const locks = new Map<string, PsLock>()

function lockOf(path: string): PsLock {
  let lock = locks.get(path)
  if (!lock) {
    lock = new PsLock(path, { timeoutMs: Number.POSITIVE_INFINITY })
    locks.set(path, lock)
  }
  return lock
}

export async function acquire(path: string, signal?: AbortSignal): Promise<Release> {
  const held = await lockOf(path).acquire(signal ? { signal } : {})
  return () => held.release()
}

export function acquireSync(path: string): Release {
  const held = lockOf(path).acquireSync()
  return () => held.release()
}
