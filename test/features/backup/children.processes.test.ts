import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { LockedJSONFilePreset } from '../../../adapters/lowdb.ts'
import { fixture } from '../../fixtures/code.ts'
import { openStore, type StoreKind } from '../../fixtures/dump-worker.ts'
import { until, useFolder } from '../../fixtures/folder.ts'

/**
 * A child process has copies of all descriptors from the fork to its exec: what is locked through one of them must be
 * unlocked before that is closed, or the next process finds it locked by nobody that it knows.
 */
describe('a process that restores while other threads of it start children', () => {
  const at = useFolder()

  const operations: [string, StoreKind, (path: string) => Promise<() => Promise<unknown>>][] = [
    ['a blocking update', 'lowdb-sync', async (path) => steps('lowdb-sync', path)],
    ['an insert', 'nedb', async (path) => steps('nedb', path)],
    [
      'an optimistic transaction',
      'lowdb',
      async (path) => {
        const db = await LockedJSONFilePreset(path, { n: 0 })
        return () => db.transaction((tx) => tx.data.n++, { retry: 1000 })
      },
    ],
  ]

  for (const [what, kind, open] of operations) {
    it(`${what} of another process takes it for no writer without the lock`, async () => {
      const restorer = fork(fixture('restoring'), [kind, at('data'), at('dump')])
      try {
        await until('it restores', async () => (await once(restorer, 'message'))[0] === 'restoring')
        const operate = await open(at('data'))
        let done = 0
        for (const end = performance.now() + 1200; performance.now() < end; ) {
          await operate()
          done++
          await new Promise((resolve) => setTimeout(resolve, 1))
        }
        assert.ok(done > 5, `${done} operations`)
      } finally {
        restorer.kill('SIGKILL')
      }
    })
  }

  async function steps(kind: StoreKind, path: string): Promise<() => Promise<unknown>> {
    const store = await openStore(kind, path)
    return async () => store.step()
  }
})
