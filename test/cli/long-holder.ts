import { PsLock } from '../../src/lock/lock.ts'
import type { LockProcess } from '../fixtures/crew.ts'
import { until } from '../fixtures/folder.ts'

/** Has that process take the lock of a file, and waits until others can see since when: it says so when somebody waits. */
export async function holdForLong(holder: LockProcess, path: string): Promise<void> {
  await holder.call('acquire', path)
  await using lock = new PsLock(path)
  const given = new AbortController()
  const waiting = lock.acquire({ signal: given.signal }).catch(() => {})
  await until('it has left its note', () =>
    lock.holders().some(({ state, sinceMs }) => state === 'holding' && sinceMs !== undefined),
  )
  given.abort()
  await waiting
}
