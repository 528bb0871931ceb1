import type { PgLockHolder } from '../../errors.ts'
import { LocalQueue } from '../../lock/local-queue.ts'
import type { Address } from '../server/url.ts'

/** What this thread knows of one lock: of its tasks only the first waits at the server, so that it needs one connection. */
export interface LocalLock {
  readonly queue: LocalQueue
  /** The outermost holds, by the process of the server that serves each. */
  readonly holds: Map<number, { readonly since: number; readonly acquiredAt: Error | undefined }>
  /** Whoever asks the server just now who holds it. */
  looking?: Promise<PgLockHolder[]> | undefined
}

/** By the key of the address. */
export const localLocks: Map<string, LocalLock> = new Map()

export function localLockOf({ key }: Address): LocalLock {
  const known: LocalLock = localLocks.get(key) ?? { queue: new LocalQueue(), holds: new Map() }
  localLocks.set(key, known)
  return known
}

/** Somebody of this thread is done with it. */
export function leaveLocalLock(address: Address, local: LocalLock): void {
  local.queue.leave()
  if (local.queue.inside === 0 && local.queue.waiting.length === 0) localLocks.delete(address.key)
}
