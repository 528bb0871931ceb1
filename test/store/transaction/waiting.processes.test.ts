import assert from 'node:assert/strict'
import { ConflictError, LockTimeoutError, TransactionError } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, untouched } from '../../fixtures/lowdb-tools.ts'
import { KINDS, openStore } from '../../fixtures/stores.ts'
import type { TransactionCommands } from '../../fixtures/transaction-worker.ts'
import { usePeer } from '../../harness/peer.ts'

/** Who waits for whom: views, NOWAIT, patience and optimism. */
for (const kind of KINDS) {
  describe(`waiting and transactions on ${kind}`, () => {
    const at = useFolder()
    const peer = usePeer<TransactionCommands>('transaction-worker')
    const open = (options = {}) => openStore(kind, at('numbers.db'), options)
    const other = () => peer([kind, at('numbers.db')])

    it('a view sees one state while another process writes; a write inside is a TransactionError', async () => {
      const db = await open()
      await db.insert('n', 1)
      const writer = await other()
      await db.view(async (tx) => {
        await writer.call('set', 'n', 2)
        await writer.call('insert', 'new', 1)
        assert.deepEqual([await tx.get('n'), await tx.names()], [1, ['n']])
        const write = await untouched(at('numbers.db'), () => failing(() => db.insert('x', 1)))
        assert.ok(write instanceof TransactionError, `${write}`)
        assert.ok((await failing(() => db.transaction(() => {}))) instanceof TransactionError)
        assert.deepEqual(await tx.names(), ['n'])
      })
      assert.deepEqual([await db.get('n'), await db.names()], [2, ['n', 'new']])
    })

    it('a view inside a transaction sees what that has done, and writes nothing', async () => {
      const db = await open()
      await db.transaction(async (tx) => {
        await tx.insert('a', 1)
        assert.deepEqual(await db.view((view) => view.names()), ['a'])
        assert.ok((await failing(() => db.view(() => db.insert('b', 1)))) instanceof TransactionError)
        await tx.insert('c', 1)
      })
      assert.deepEqual(await db.names(), ['a', 'c'])
    })

    it('timeoutMs: 0 does not wait, for this process or another, and succeeds as soon as the lock is free', async () => {
      const db = await open()
      const peer = await other()
      await db.transaction(async () => {
        await assert.rejects(peer.call('tryTransaction'), { code: 'PSLOCK_TIMEOUT' })
      })
      const { promise, done } = withResolvers()
      const first = db.transaction(() => promise)
      const refused = await failing(() => db.transaction(() => {}, { timeoutMs: 0 }))
      assert.ok(refused instanceof LockTimeoutError, `${refused}`)
      done()
      await first
      for (let i = 0; i < 50; i++) {
        await db.set('n', i)
        await db.transaction(() => {}, { timeoutMs: 0 })
      }
    })

    it('a timeout and an abort end the wait behind a transaction; the others go on', async () => {
      const db = await open({ timeoutMs: 60 })
      const { promise, done } = withResolvers()
      const first = db.transaction((tx) => promise.then(() => tx.insert('first', 1)))
      const reason = new Error('no longer')
      const controller = new AbortController()
      const waits = [
        failing(() => db.transaction(() => {}, { timeoutMs: 20 })),
        failing(() => db.insert('call', 1)),
        failing(() => db.transaction(() => {}, { timeoutMs: 60_000, signal: controller.signal })),
      ]
      const last = db.transaction((tx) => tx.insert('last', 1), { timeoutMs: Number.POSITIVE_INFINITY })
      const [soon, call] = await Promise.all(waits.slice(0, 2))
      assert.ok(soon instanceof LockTimeoutError && call instanceof LockTimeoutError, `${soon}, ${call}`)
      controller.abort(reason)
      assert.equal(await waits[2], reason)
      done()
      await Promise.all([first, last])
      assert.deepEqual(await db.names(), ['first', 'last'])
    })

    it('with retry no lock is held while it runs, a conflict undoes it, and it runs again on the new state', async () => {
      const db = await open()
      await db.insert('n', 1)
      const writer = await other()
      const seen: (number | undefined)[] = []
      await db.transaction(
        async (tx) => {
          const n = (await tx.get('n')) ?? 0
          seen.push(n)
          await tx.set('n', n + 1)
          if (seen.length <= 2) await writer.call('set', 'n', 10 * seen.length)
        },
        { retry: 5 },
      )
      assert.deepEqual(seen, [1, 10, 20])
      assert.deepEqual([await db.get('n'), await writer.call('get', 'n')], [21, 21])
    })

    it('when the retries are used up it is a ConflictError, and nothing of it is left', async () => {
      const db = await open()
      await db.insert('n', 1)
      const writer = await other()
      let runs = 0
      const step = () =>
        db.transaction(
          async (tx) => {
            await tx.insert('mine', 1)
            runs++
            await writer.call('set', 'n', 10 * runs)
          },
          { retry: 2 },
        )
      assert.ok((await failing(step)) instanceof ConflictError)
      assert.equal(runs, 3)
      assert.deepEqual([await db.names(), await db.get('n')], [['n'], 30])
    })

    it('an optimistic transaction gives way to a hold of the same process instead of waiting for it for ever', async () => {
      const db = await open()
      const { promise, done } = withResolvers()
      const { promise: started, done: start } = withResolvers()
      let runs = 0
      const optimistic = db.transaction(
        async (tx) => {
          await tx.insert('mine', ++runs)
          start()
          if (runs === 1) await promise
        },
        { retry: 3 },
      )
      await started
      await db.lock.exclusive(async () => {
        const inserted = db.insert('held', 1)
        done()
        await inserted
      })
      await optimistic
      assert.deepEqual([await db.names(), await db.get('mine')], [['held', 'mine'], 2])
    })
  })
}

function withResolvers(): { promise: Promise<void>; done: () => void } {
  let done = () => {}
  const promise = new Promise<void>((resolve) => {
    done = resolve
  })
  return { promise, done: () => done() }
}
