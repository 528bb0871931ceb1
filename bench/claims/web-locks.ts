import workerThreads from 'node:worker_threads'
import type { Claims } from './claim.ts'

const NAME = 'web-locks'

interface LockManager {
  request<T>(
    name: string,
    options: { mode?: 'shared' | 'exclusive'; ifAvailable?: boolean; signal?: AbortSignal },
    run: (lock: object | null) => T,
  ): Promise<Awaited<T>>
  query(): Promise<{ held: { name: string; mode: string }[] }>
}

function locks(): LockManager {
  return (workerThreads as unknown as { locks: LockManager }).locks
}

function isFree(name: string, mode: 'shared' | 'exclusive'): Promise<boolean> {
  return locks().request(name, { mode, ifAvailable: true }, (lock) => lock !== null)
}

export const webLocks: Claims = {
  title: 'Web Locks',
  load: (lab) => lab.start(1, 'node', NAME),
  claims: [
    {
      text: 'another process is not kept out',
      isTrue: async (lab) => {
        const path = lab.path(NAME)
        const mates = await lab.start(2, 'node', NAME)
        await Promise.all(mates.map((mate) => mate.call('acquire', NAME, path)))
        await Promise.all(mates.map((mate) => lab.end(mate)))
        return true
      },
    },
    {
      text: 'shared and exclusive; an exclusive one does not re-enter; query() names the holders',
      isTrue: () =>
        locks().request('modes', { mode: 'shared' }, async () => {
          const { held } = await locks().query()
          const isNamed = held.some(({ name, mode }) => name === 'modes' && mode === 'shared')
          return isNamed && (await isFree('modes', 'shared')) && !(await isFree('modes', 'exclusive'))
        }),
    },
    {
      text: 'a wait ends by its signal',
      isTrue: () =>
        locks().request('signal', {}, () =>
          locks()
            .request('signal', { signal: AbortSignal.timeout(50) }, () => false)
            .catch((error) => error.name === 'TimeoutError'),
        ),
    },
    {
      text: 'waiters get it in their order',
      isTrue: async () => {
        const order: number[] = []
        await Promise.all([0, 1, 2, 3].map((n) => locks().request('order', {}, () => order.push(n))))
        return order.join() === '0,1,2,3'
      },
    },
  ],
}
