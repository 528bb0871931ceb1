import assert from 'node:assert/strict'
import { AsyncLocalStorage, createHook } from 'node:async_hooks'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { LockedLow } from '../../../adapters/lowdb.ts'
import type { TreeOptions } from '../../../src/store/options.ts'
import { useFolder } from '../../fixtures/folder.ts'

const isOn = process.env.PSLOCK_STRAIGHT_PATH !== 'off'

interface Data {
  n: number
  list: number[]
}

/** An operation that is queued makes an async resource of its own, and one on the straight path does not. */
async function queued(run: () => PromiseLike<unknown>): Promise<number> {
  let count = 0
  const hook = createHook({
    init: (_id, type) => {
      if (type === 'pslock.operation') count++
    },
  })
  // What was issued before is over.
  await new Promise((done) => setImmediate(done))
  hook.enable()
  try {
    await run()
  } finally {
    hook.disable()
  }
  return count
}

for (const journal of [false, true]) {
  describe(`the straight path of lowdb${journal ? ' with a journal' : ''}`, () => {
    const at = useFolder()
    const stores: LockedLow<Data>[] = []
    const open = async (options: TreeOptions = {}) => {
      const db = new LockedLow<Data>(at('a.json'), { n: 0, list: [] }, { journal, ...options })
      stores.push(db)
      await db.update((data) => void data.n++)
      return db
    }
    const isStraight = async (run: () => PromiseLike<unknown>) => (await queued(run)) === 0
    const saved = async () => {
      const db = new LockedLow<Data>(at('a.json'), { n: 0, list: [] }, { journal })
      await db.read()
      const { n, list } = db.data
      await db.close()
      return { n, list: [...list] }
    }
    const increment = (db: LockedLow<Data>) => () => db.update((data) => void data.n++)

    afterEach(async () => {
      for (const db of stores.splice(0)) await db.close()
    })

    it('is taken by a write that is alone in its tick, and only while it is not switched off', async () => {
      const db = await open()
      assert.equal(await isStraight(increment(db)), isOn)
      assert.equal(await isStraight(() => db.transaction((tx) => void tx.data.n++)), isOn)
      assert.equal(await isStraight(() => db.update(async (data) => void data.list.push(1))), isOn)
      if (!journal) {
        db.data.n++
        assert.equal(await isStraight(() => db.write()), isOn)
      }
      assert.deepEqual(await saved(), { n: journal ? 3 : 4, list: [1] })
    })

    it('is not for several calls of one tick, which share a hold and keep their order', async () => {
      const db = await open()
      const { ino } = statSync(at('a.json'))
      const seen: number[] = []
      const calls = () =>
        Promise.all([1, 2, 3].map((n) => db.update((data) => void seen.push(data.list.push(n)))))
      assert.equal(await queued(calls), 3)
      assert.deepEqual(seen, [1, 2, 3])
      assert.deepEqual((await saved()).list, [1, 2, 3])
      if (journal) assert.equal(statSync(at('a.json')).ino, ino)
      await Promise.all([increment(db)(), db.read(), db.view((tx) => void seen.push(tx.data.n))])
      assert.equal(seen.at(-1), 2)
    })

    it('is not for what somebody is told of, or is part of something, or has a wait of its own', async () => {
      const db = await open()
      const off = db.use({ before() {} })
      assert.equal(await isStraight(increment(db)), false)
      off()
      assert.equal(await isStraight(increment(db)), isOn)
      assert.equal(await db.lock.exclusive(() => isStraight(increment(db))), false)
      const { signal } = new AbortController()
      for (const options of [{ timeoutMs: 100 }, { signal }, { join: false }, { retry: 1 }])
        assert.equal(await isStraight(() => db.transaction((tx) => void tx.data.n++, options)), false)
      assert.equal((await saved()).n, 8)
      await assert.rejects(
        db.transaction(() => {}, { join: 1 as unknown as boolean }),
        TypeError,
      )
      await assert.rejects(db.update(1 as unknown as () => void), TypeError)
    })

    it('waits like any other where the lock is held', async () => {
      const db = await open()
      const other = new LockedLow<Data>(at('a.json'), { n: 0, list: [] }, { journal, timeoutMs: 20 })
      stores.push(other)
      const held = await db.lock.acquire()
      await assert.rejects(increment(other)(), { code: 'PSLOCK_TIMEOUT' })
      const waiting = increment(db)()
      held.release()
      await waiting
      assert.equal((await saved()).n, 2)
    })

    it('works on what others have written', async () => {
      const db = await open()
      const other = await open()
      for (let turn = 0; turn < 3; turn++) {
        assert.equal(await isStraight(increment(db)), isOn)
        assert.equal(await isStraight(increment(other)), isOn)
      }
      assert.equal(other.data.n, 8)
      if (journal) return
      writeFileSync(at('a.json'), '{"n":100,"list":[]}')
      await increment(db)()
      assert.equal((await saved()).n, 101)
    })

    it('a callback that throws or rejects leaves file and memory, which has what others wrote', async () => {
      const db = await open()
      const other = await open()
      await increment(other)()
      const before = readFileSync(at('a.json'), 'utf8')
      for (const fail of [
        (data: Data): void => {
          data.n = -1
          throw new Error('mine')
        },
        async (data: Data) => {
          data.n = -1
          await new Promise((done) => setImmediate(done))
          throw new Error('mine')
        },
      ]) {
        await assert.rejects(db.update(fail), /mine/)
        assert.equal(readFileSync(at('a.json'), 'utf8'), before)
        assert.equal(db.data.n, 3)
      }
      await increment(db)()
      assert.equal((await saved()).n, 4)
    })

    it('what is called inside is part of it: updates, transactions, reads, views, holds, other stores', async () => {
      const db = await open()
      const elsewhere = new LockedLow<Data>(at('b.json'), { n: 0, list: [] }, { journal })
      stores.push(elsewhere)
      await db.update(async (data) => {
        data.n = 10
        await db.update((inner) => void inner.list.push(inner.n))
        await assert.rejects(
          db.transaction(async (tx) => {
            tx.data.n = -1
            await new Promise((done) => setImmediate(done))
            throw new Error('inner')
          }),
          /inner/,
        )
        assert.equal(await db.view((tx) => tx.data.n), 10)
        await db.read()
        assert.equal(data.n, 10)
        await db.lock.exclusive(() => increment(db)())
        await elsewhere.update((other) => {
          other.n = data.n
        })
        await assert.rejects(db.close(), { code: 'PSLOCK_TRANSACTION' })
        await assert.rejects(db.checkpoint(), { code: 'PSLOCK_TRANSACTION' })
        // Nobody waits for it, and it is part of this one.
        void db.update((inner) => void inner.list.push(2))
      })
      assert.deepEqual(await saved(), { n: 11, list: [10, 2] })
      assert.equal(elsewhere.data.n, 11)
    })

    it('what is called beside it, or by a timer that it has left, comes after it', async () => {
      const db = await open({ timeoutMs: 5_000 })
      let go = () => {}
      const order: string[] = []
      let end = () => {}
      const ended = new Promise<void>((resolve) => {
        end = resolve
      })
      let late: Promise<void> | undefined
      const first = db.update(async (data) => {
        late = ended.then(() => db.update((after) => void after.list.push(after.n)))
        await new Promise<void>((resolve) => {
          go = resolve
        })
        data.n = 20
        order.push('first')
      })
      await new Promise((done) => setImmediate(done))
      const options = { timeoutMs: 0 }
      await assert.rejects(
        db.transaction(() => {}, options),
        { code: 'PSLOCK_TIMEOUT' },
      )
      await assert.rejects(
        db.transaction(() => {}, { timeoutMs: 10 }),
        { code: 'PSLOCK_TIMEOUT' },
      )
      const gone = new AbortController()
      const aborted = db.transaction(() => {}, { signal: gone.signal })
      gone.abort(new Error('enough'))
      await assert.rejects(aborted, /enough/)
      const second = db.update((data) => {
        order.push('second')
        data.n++
      })
      go()
      await Promise.all([first, second])
      assert.deepEqual(order, ['first', 'second'])
      end()
      await late
      assert.deepEqual(await saved(), { n: 21, list: [21] })
    })

    it('what it has left behind may call the store while it is being written', async () => {
      const db = await open()
      for (let turn = 0; turn < 10; turn++) {
        const late: Promise<void>[] = []
        await db.update((data) => {
          data.n++
          for (let wait = 0; wait < 4; wait++)
            setTimeout(() => {
              late.push(increment(db)())
            }, wait)
          setImmediate(() => {
            late.push(increment(db)())
          })
        })
        await new Promise((done) => setTimeout(done, 10))
        await Promise.all(late)
      }
      assert.equal((await saved()).n, 61)
    })

    it('a callback finds the context of its caller, also where another call of the tick has queued it', async () => {
      const db = await open()
      const context = new AsyncLocalStorage<string>()
      const seen: unknown[] = []
      const update = (name: string) =>
        context.run(name, () =>
          db.update(async () => {
            seen.push(context.getStore())
            await null
            seen.push(context.getStore())
          }),
        )
      await update('alone')
      await Promise.all([update('a'), update('b')])
      assert.deepEqual(seen, ['alone', 'alone', 'a', 'a', 'b', 'b'])
    })

    it('the lock is free when the result is there, and close() waits for what runs', async () => {
      const db = await open()
      for (let turn = 0; turn < 20; turn++) {
        await increment(db)()
        const held = db.lock.tryAcquire()
        assert.ok(held, 'the lock was held')
        held.release()
      }
      const last = increment(db)()
      await db.close()
      await last
      assert.equal((await saved()).n, 22)
      await assert.rejects(increment(db)(), { code: 'PSLOCK_CLOSED' })
    })
  })
}
