import { createRequire } from 'node:module'
import type { lock as Lock, LockOptions, lockSync as LockSync } from 'proper-lockfile'
import { abandonable, type Release } from './candidate.ts'

const { lock, lockSync } = createRequire(import.meta.url)('proper-lockfile') as {
  lock: typeof Lock
  lockSync: typeof LockSync
}

/** It need not exist, as with the others. */
const OPTIONS: LockOptions = { realpath: false }
/** Asks as often as the polling candidate does; its own default is not to wait at all. */
const RETRIES = { forever: true, retries: 10, factor: 1.5, minTimeout: 1, maxTimeout: 50, randomize: true }

async function wait(path: string): Promise<Release> {
  return lock(path, { ...OPTIONS, retries: RETRIES })
}

/** A folder made with mkdir, kept fresh by a timer; taken over when it has not been touched for 10 s. */
export function acquire(path: string, signal?: AbortSignal): Promise<Release> {
  return abandonable(wait(path), signal)
}

export function acquireWithin(path: string, timeoutMs: number): Promise<Release> {
  return lock(path, { ...OPTIONS, retries: { ...RETRIES, maxRetryTime: timeoutMs } })
}

export function acquireSync(path: string): Release {
  return lockSync(path, OPTIONS)
}
