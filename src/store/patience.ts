import { LockLostError } from '../errors.ts'
import { willPass } from '../os/open-files.ts'

/** So long is waited for a descriptor, under the lock, where other files of ours are in use. */
const SHORTAGE_MS = 1_000

/**
 * Two lock files for one data file may be a passing state: somebody deleted the first while its holder was still
 * writing. So may be a shortage of descriptors. Tries again until then, and reports it at the end.
 */
export async function untilUnsplit<T>(timeoutMs: number, look: () => T): Promise<Awaited<T>> {
  for (const start = performance.now(); ; ) {
    try {
      return await look()
    } catch (error) {
      if (!mayPass(error, start, timeoutMs)) throw error
      await new Promise((resolve) => setTimeout(resolve, paceMs()))
    }
  }
}

/** As `untilUnsplit`, blocking the thread. */
export function untilUnsplitSync<T>(timeoutMs: number, look: () => T): T {
  for (const start = performance.now(); ; ) {
    try {
      return look()
    } catch (error) {
      if (!mayPass(error, start, timeoutMs)) throw error
      Atomics.wait(sleeper, 0, 0, paceMs())
    }
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4))

function mayPass(error: unknown, start: number, timeoutMs: number): boolean {
  const waitedMs = performance.now() - start
  if (error instanceof LockLostError) return waitedMs < timeoutMs
  return willPass(error) && waitedMs < Math.min(timeoutMs, SHORTAGE_MS)
}

/** Random, so that no two stay in step. */
function paceMs(): number {
  return 2 + 8 * Math.random()
}
