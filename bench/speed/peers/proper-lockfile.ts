import { createRequire } from 'node:module'
import type { lock as Lock, LockOptions } from 'proper-lockfile'

const { lock } = createRequire(import.meta.url)('proper-lockfile') as { lock: typeof Lock }

/**
 * By itself it does not wait. Asking every 1 to 50 ms is what its users write, and does best in a crowd. The age is set so
 * that no live holder of a busy machine is robbed: that would be another measurement.
 */
const OPTIONS: LockOptions = {
  realpath: false,
  stale: 60_000,
  retries: { forever: true, retries: 10, factor: 1.5, minTimeout: 1, maxTimeout: 50, randomize: true },
}

/** The recipe: lock, do it, unlock. */
export async function lockedBy<T>(path: string, run: () => T | Promise<T>): Promise<T> {
  const release = await lock(path, OPTIONS)
  try {
    return await run()
  } finally {
    await release()
  }
}
