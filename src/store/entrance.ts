import { type LockMode, LockTimeoutError } from '../errors.ts'
import { queueUp } from '../lock/enter.ts'
import { Hold } from '../lock/hold.ts'
import { lockInternals, type PsLock } from '../lock/ps-lock.ts'
import { isReadOnlyFolder } from '../os/lock-file.ts'
import { lockFailure } from './data-file.ts'
import type { Operation } from './operation.ts'

/** As `enterFor`, at once; undefined where it must wait, or where there is something to be said. */
export function enterNow(lock: PsLock, mode: LockMode, { timeoutMs, signal }: Operation): Hold | undefined {
  try {
    const { site, patience } = lockInternals.entry(lock, mode, { timeoutMs, signal })
    return site.room.tryEnter(mode, patience.sliceMs) ? ofStore(new Hold(site, mode, 0)) : undefined
  } catch {
    // It is met again there.
    return undefined
  }
}

/**
 * Takes the lock for the operation that is first in its queue.
 * @param giveUp ends the wait
 * @param waitedBeforeMs how long it has waited for it already: nothing, where it comes to commit what it did without the lock
 * @returns undefined where a reader may go without, because no lock file can be made in this folder
 * @throws the errors of `PsLock#exclusive`; StoreIoError where the data cannot be written either
 */
export async function enterFor(
  lock: PsLock,
  mode: LockMode,
  head: Operation,
  giveUp?: AbortSignal,
  waitedBeforeMs: number = head.waitedMs,
): Promise<Hold | undefined> {
  const { timeoutMs, signal } = head
  const { site, patience } = lockInternals.entry(lock, mode, {
    timeoutMs,
    signal: giveUp && signal ? either(signal, giveUp) : (giveUp ?? signal),
  })
  let waitedMs = 0
  try {
    if (!site.room.tryEnter(mode, patience.sliceMs)) {
      const left = Math.max(1, patience.timeoutMs - waitedBeforeMs)
      const patient = patience.timeoutMs === 0 ? patience : { ...patience, timeoutMs: left }
      waitedMs = await queueUp(site, site.room, mode, patient)
    }
  } catch (error) {
    if (mode === 'shared' && isReadOnlyFolder(error)) return undefined
    throw mode === 'exclusive' ? lockFailure(lockInternals.guarded(lock), error) : error
  }
  return ofStore(new Hold(site, mode, waitedMs))
}

/** A hold of a store's, see `Hold.isOfStore`. */
export function ofStore(hold: Hold): Hold {
  hold.isOfStore = true
  return hold
}

/** As `AbortSignal.any`, which refuses signals of other libraries. */
function either(one: AbortSignal, other: AbortSignal): AbortSignal {
  const both = new AbortController()
  for (const signal of [one, other]) {
    if (signal.aborted) both.abort(signal.reason)
    signal.addEventListener('abort', () => both.abort(signal.reason), { once: true, signal: both.signal })
  }
  return both.signal
}

/** The lock was not granted: those who have waited long enough are told, the others go on. */
export function refuseWaiting(queue: Operation[], error: unknown): void {
  const now = performance.now()
  const head = queue.shift()
  head?.reject(error)
  if (!(error instanceof LockTimeoutError) || !head || head.timeoutMs !== undefined) return
  while (queue[0] && queue[0].since - head.since < 1 && now > queue[0].since) {
    queue.shift()?.reject(error)
  }
}
