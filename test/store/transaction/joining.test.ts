import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockTimeoutError, TransactionError } from '../../../src/index.ts'
import { staysPending, useFolder } from '../../fixtures/folder.ts'
import { failing } from '../../fixtures/lowdb-tools.ts'
import { KINDS, openStore } from '../../fixtures/stores.ts'

/** What is part of a transaction, and what is not. */
for (const kind of KINDS) {
  describe(`calls and transactions on ${kind}`, () => {
    const at = useFolder()
    const open = (name = 'numbers.db') => openStore(kind, at(name))
    const thrown = new Error('undo')

    it('calls on the store inside join it; other tasks wait and are no part of it', async () => {
      const db = await open()
      let go = () => {}
      const started = new Promise<void>((resolve) => {
        go = resolve
      })
      const running = failing(() =>
        db.transaction(async () => {
          await db.insert('inside', 1)
          go()
          await sleep(30)
          await db.insert('inside too', 1)
          throw thrown
        }),
      )
      await started
      const other = db.insert('other', 1)
      assert.ok(await staysPending(other, 10), 'it did not wait')
      assert.equal(await running, thrown)
      await other
      assert.deepEqual(await db.names(), ['other'])
    })

    it('what shall not join waits for its end, and is not undone with it', async () => {
      const db = await open()
      let other: Promise<unknown> | undefined
      let seen: Promise<string[]> | undefined
      const error = await failing(() =>
        db.transaction(async (tx) => {
          await tx.insert('inside', 1)
          other = db.transaction((own) => own.insert('other', 1), { join: false })
          seen = db.view((own) => own.names(), { join: false })
          assert.ok(await staysPending(other, 10), 'it did not wait')
          const inVain = db.transaction(() => assert.fail('it ran'), { join: false, timeoutMs: 20 })
          assert.ok((await failing(() => inVain)) instanceof LockTimeoutError)
          throw thrown
        }),
      )
      assert.equal(error, thrown)
      await other
      assert.deepEqual(await seen, ['other'])
      assert.deepEqual(await db.names(), ['other'])
      const wrong = { join: 1 } as unknown as { join: boolean }
      assert.ok((await failing(() => db.transaction(() => {}, wrong))) instanceof TypeError)
    })

    it('parallel calls inside take turns', async () => {
      const db = await open()
      await db.transaction(async (tx) => {
        await tx.insert('n', 0)
        const step = () =>
          db.transaction(async (inner) => {
            const n = (await inner.get('n')) ?? 0
            await new Promise(setImmediate)
            await inner.set('n', n + 1)
          })
        await Promise.all(Array.from({ length: 20 }, step))
      })
      assert.equal(await db.get('n'), 20)
    })

    it('calls that nobody awaits belong to it all the same', async () => {
      const db = await open()
      await db.transaction(() => {
        for (let i = 0; i < 5; i++) void db.insert(`kept ${i}`, i)
      })
      assert.equal((await db.names()).length, 5)
      await failing(() =>
        db.transaction(() => {
          for (let i = 0; i < 5; i++) void db.insert(`lost ${i}`, i)
          throw thrown
        }),
      )
      assert.equal((await db.names()).length, 5)
    })

    it('a timer that was started inside and fires after the end is a newcomer', async () => {
      const db = await open()
      let late: Promise<void> | undefined
      await failing(() =>
        db.transaction(() => {
          setTimeout(() => {
            late = db.insert('late', 1)
          }, 5)
          throw thrown
        }),
      )
      const { promise, done } = blocker()
      const second = db.transaction(() => promise)
      await sleep(20)
      assert.ok(await staysPending(late as Promise<void>, 20), 'it did not queue')
      done()
      await second
      await late
      assert.deepEqual(await db.names(), ['late'])
    })

    it('two stores do not mix: the throw of one undoes nothing of the other', async () => {
      const [a, b] = [await open('a.db'), await open('b.db')]
      await failing(() =>
        a.transaction(async () => {
          await a.insert('x', 1)
          await b.insert('y', 1)
          await b.transaction((tx) => tx.insert('z', 1))
          throw thrown
        }),
      )
      assert.deepEqual([await a.names(), await b.names()], [[], ['y', 'z']])
      await a.transaction(async () => {
        await a.insert('x', 1)
        await failing(() =>
          b.transaction(async () => {
            await a.insert('x2', 1)
            await b.insert('w', 1)
            throw thrown
          }),
        )
      })
      assert.deepEqual(
        [await a.names(), await b.names()],
        [
          ['x', 'x2'],
          ['y', 'z'],
        ],
      )
    })

    it('a task that queues together with a call from inside another store’s transaction is no part of that', async () => {
      const [a, b] = [await open('a.db'), await open('b.db')]
      let queue = () => {}
      const queued = new Promise<void>((resolve) => {
        queue = resolve
      })
      // Issued in the same turn: what is called from inside a's transaction comes first, and this shares its batch.
      const outsider = queued.then(() => b.transaction(() => a.insert('outside', 1)))
      await failing(() =>
        a.transaction(async () => {
          const inside = b.insert('y', 1)
          queue()
          await inside
          await sleep(20)
          throw thrown
        }),
      )
      await outsider
      assert.deepEqual(await a.names(), ['outside'])
    })

    it('the callback runs in the asynchronous context that it was passed in', async () => {
      const db = await open()
      const context = new AsyncLocalStorage<number>()
      const seen = await Promise.all(
        [1, 2, 3].map((n) => context.run(n, () => db.transaction(() => context.getStore()))),
      )
      assert.deepEqual(seen, [1, 2, 3])
      assert.deepEqual(
        await Promise.all([4, 5].map((n) => context.run(n, () => db.view(() => context.getStore())))),
        [4, 5],
      )
    })

    it('waits for nobody’s acknowledgement, and nobody’s acknowledgement waits for it', async () => {
      const db = await open()
      const { promise, done } = blocker()
      const first = db.insert('first', 1)
      const transaction = db.transaction(async (tx) => {
        await first
        assert.ok(readFileSync(at('numbers.db'), 'utf8').includes('first'))
        await promise
        await tx.insert('second', 2)
      })
      const last = db.insert('last', 3)
      await first
      done()
      await Promise.all([transaction, last])
      assert.deepEqual(await db.names(), ['first', 'last', 'second'])
    })

    it('a write through another store object on the same file is refused at once; a read sees the state before', async () => {
      const [db, other] = [await open(), await open()]
      await db.insert('old', 1)
      await db.transaction(async (tx) => {
        await tx.insert('a', 1)
        assert.deepEqual(await other.names(), ['old'])
        const error = await failing(() => other.insert('b', 2))
        assert.ok(error instanceof TransactionError, `${error}`)
      })
      assert.deepEqual(
        [await db.names(), await other.names()],
        [
          ['a', 'old'],
          ['a', 'old'],
        ],
      )
      await db.lock.exclusive(async () => {
        await db.insert('c', 1)
        await other.insert('d', 1)
      })
      assert.deepEqual(await db.names(), ['a', 'c', 'd', 'old'])
    })
  })
}

function blocker(): { promise: Promise<void>; done: () => void } {
  let done = () => {}
  const promise = new Promise<void>((resolve) => {
    done = resolve
  })
  return { promise, done: () => done() }
}
