import { PsLock } from '../../src/lock/ps-lock.ts'
import type { LockProcess } from '../fixtures/crew.ts'
import { until } from '../fixtures/folder.ts'

/** Has that process take the lock of a file, and waits until others can see since when. */
export async function holdForLong(holder: LockProcess, path: string): Promise<void> {
  await holder.call('acquire', path)
  await using lock = new PsLock(path)
  await until('it has left its note', () => lock.holders().some(({ sinceMs }) => sinceMs !== undefined))
}
