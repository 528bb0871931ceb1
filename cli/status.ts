import { existsSync } from 'node:fs'
import type { LockHolder } from '../src/errors.ts'
import { PsLock } from '../src/lock/ps-lock.ts'
import { duration, table } from './table.ts'

/** Who holds the lock of a file and who waits for it. */
export interface Status {
  readonly lock: string
  readonly held: boolean
  readonly holders: readonly LockHolder[]
}

/** Looks without locking, and without creating a lock file where there is none. */
export async function status(file: string): Promise<Status> {
  const lock = new PsLock(file)
  try {
    const holders = existsSync(lock.path) ? lock.holders() : []
    return { lock: lock.path, held: holders.some(({ state }) => state === 'holding'), holders }
  } finally {
    await lock.close()
  }
}

/** For people. */
export function statusText({ lock, held, holders }: Status): string {
  if (holders.length === 0) return `${lock}: free`
  const rows = holders.map(({ state, mode, pid, sinceMs, command }) => [
    state,
    mode,
    pid === undefined ? '?' : String(pid),
    sinceMs === undefined ? '?' : duration(sinceMs),
    command ?? '?',
  ])
  return `${lock}: ${held ? 'held' : 'free'}\n${table([['state', 'mode', 'pid', 'since', 'command'], ...rows])}`
}
