import { execFileSync } from 'node:child_process'
import { PsLock } from 'pslock'

/** How often C's time lock and unlock took, with nobody else there. */
export interface Pairs {
  readonly exclusive: number
  readonly exclusiveSync: number
  readonly acquireSync: number
}

/** Nanoseconds since then. */
function since(start: bigint): number {
  return Number(process.hrtime.bigint() - start)
}

/** @param loop the compiled bench/flock-loop.c: flock, stat of the path, unlock */
export async function measurePairs(path: string, loop: string, count: number): Promise<Pairs> {
  const lock = new PsLock(path)
  const c = Number(execFileSync(loop, [`${path}.c`, String(count * 5)], { encoding: 'utf8' }))

  let start = process.hrtime.bigint()
  for (let i = 0; i < count; i++) await lock.exclusive(() => {})
  const exclusive = since(start) / count / c

  start = process.hrtime.bigint()
  for (let i = 0; i < count; i++) lock.exclusiveSync(() => {})
  const exclusiveSync = since(start) / count / c

  start = process.hrtime.bigint()
  for (let i = 0; i < count; i++) lock.acquireSync().release()
  const acquireSync = since(start) / count / c

  await lock.close()
  return { exclusive, exclusiveSync, acquireSync }
}
