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
      if (!(error instanceof LockLostError) || performance.now() - start >= timeoutMs) throw error
      await new Promise((resolve) => setTimeout(resolve, 2 + 8 * Math.random()))
    }
  }
}
