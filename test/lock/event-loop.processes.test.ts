import assert from 'node:assert/strict'
import { LockedLow } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { hasRangeLocks } from '../../src/os/range-lock.ts'
import { useFolder } from '../fixtures/folder.ts'

/** Calls that are awaited one after the other keep nobody out: timers fire and input is read in between. */
describe('the event loop turns while calls follow each other', () => {
  const at = useFolder()
  const FOR_MS = 400

  /** Calls again and again: whether a timer fires meanwhile. */
  async function turns(call: () => unknown): Promise<void> {
    const start = performance.now()
    let hasFired = false
    const timer = setTimeout(() => {
      hasFired = true
    }, 50)
    while (performance.now() - start < FOR_MS) await call()
    clearTimeout(timer)
    assert.ok(hasFired, `a timer of 50 ms had not fired after ${FOR_MS} ms`)
  }

  for (const mode of ['exclusive', 'shared'] as const) {
    it(`${mode}, by itself and inside a hold`, async () => {
      const lock = new PsLock(at('data'))
      await turns(() => lock[mode](() => {}))
      await lock.exclusive(() => turns(() => lock[mode](() => {})))
    })
  }

  it('acquire and release', async () => {
    const lock = new PsLock(at('data'))
    await turns(async () => (await lock.acquire()).release())
  })

  it('a LockTree, by itself, inside a hold, and acquire', async function () {
    if (!hasRangeLocks) this.skip()
    const tree = new LockTree(at('db'))
    await turns(() => tree.exclusive('app', () => {}))
    await tree.exclusive('app', () => turns(() => tree.shared('app/orders', () => {})))
    await turns(async () => (await tree.acquire('app')).release())
  })

  it('NeDB: insert, update, find; in a hold, a transaction and a view', async () => {
    await using db = new LockedNedb<{ _id?: string; n: number }>({ filename: at('nedb'), autoload: true })
    await db.insertAsync({ _id: 'one', n: 0 })
    await turns(() => db.insertAsync({ n: 1 }))
    await turns(() => db.updateAsync({ _id: 'one' }, { $inc: { n: 1 } }))
    const find = () => db.findOneAsync({ _id: 'one' })
    await turns(find)
    await db.lock.exclusive(() => turns(find))
    await db.transaction(() => turns(() => db.insertAsync({ n: 2 })))
    await db.view(() => turns(find))
  })

  for (const journal of [false, true]) {
    it(`lowdb: update and read${journal ? ', with a journal' : ''}`, async () => {
      await using db = new LockedLow<{ n: number }>(at('low'), { n: 0 }, { journal })
      await turns(() => db.update((data) => void data.n++))
      await turns(() => db.read())
      await db.transaction(() => turns(() => db.update((data) => void data.n++)))
    })
  }

  it('an abort while it turns ends the wait, and nothing is run', async () => {
    const held = await new PsLock(at('busy')).acquire()
    const [busy, free] = [new PsLock(at('busy')), new PsLock(at('free'))]
    for (const wait of [
      (signal: AbortSignal) => busy.exclusive(() => assert.fail('it ran'), { signal }),
      (signal: AbortSignal) => busy.acquire({ signal }),
      (signal: AbortSignal) => free.exclusive(() => assert.fail('it ran'), { signal }),
      (signal: AbortSignal) => free.acquire({ signal }),
    ]) {
      await new Promise(setImmediate)
      // So long that the next call must let the event loop turn.
      const before = new PsLock(at('other')).exclusive(() => {})
      for (const end = performance.now() + 8; performance.now() < end; );
      const given = new AbortController()
      const waiting = wait(given.signal)
      given.abort(new Error('given up'))
      await assert.rejects(waiting, /given up/)
      await before
    }
    held.release()
    free.tryAcquire()!.release()
  })

  it('what was called in a hold, and not awaited, is still a part of it', async () => {
    const lock = new PsLock(at('data'))
    const order: string[] = []
    await lock.exclusive(() => {
      for (const end = performance.now() + 8; performance.now() < end; );
      void lock.exclusive(() => order.push('inside'))
    })
    order.push('after')
    assert.deepEqual(order, ['inside', 'after'])
  })
})
