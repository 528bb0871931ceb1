import { LockLostError } from '../errors.ts'

/**
 * Two lock files for one data file may be a passing state: somebody deleted the first while its holder was still
 * writing. Tries again until then, and reports the split at the end.
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
  return error instanceof LockLostError && performance.now() - start < timeoutMs
}

/** Random, so that no two stay in step. */
function paceMs(): number {
  return 2 + 8 * Math.random()
}
