import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LockMode } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, until, useFolder } from '../fixtures/folder.ts'

/** Shared together, exclusive alone; first come first served within a process. */
describe('modes', () => {
  const crew = useCrew()
  const at = useFolder()

  /** mode held first, mode asked second, may both hold? */
  const table: [LockMode, LockMode, boolean][] = [
    ['shared', 'shared', true],
    ['shared', 'exclusive', false],
    ['exclusive', 'shared', false],
    ['exclusive', 'exclusive', false],
  ]

  for (const [first, second, both] of table) {
    it(`${second} beside ${first} of another process ${both ? 'is granted' : 'waits'}`, async () => {
      const mate = await crew.process()
      await mate.call('acquire', at('data'), { mode: first })
      const lock = new PsLock(at('data'))
      const held = lock.acquire({ mode: second })
      assert.equal(await staysPending(held), !both)
      await mate.call('release')
      ;(await held).release()
    })

    it(`${second} beside ${first} of another task ${both ? 'is granted' : 'waits'}`, async () => {
      const holding = await new PsLock(at('data')).acquire({ mode: first })
      const held = new PsLock(at('data')).acquire({ mode: second })
      assert.equal(await staysPending(held, 30), !both)
      holding.release()
      ;(await held).release()
    })
  }

  it('the kernel lock of shared tasks stays until the last of them has left', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const [one, two] = await Promise.all([lock.acquire({ mode: 'shared' }), lock.acquire({ mode: 'shared' })])
    one.release()
    one.release()
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    two.release()
    assert.equal(await mate.call('tryAcquire', at('data')), true)
  })

  it('the handle knows its mode, and exclusive is what one gets without asking', async () => {
    const lock = new PsLock(at('data'))
    for (const [mode, expected] of [
      [undefined, 'exclusive'],
      ['exclusive', 'exclusive'],
      ['shared', 'shared'],
    ] as const) {
      const held = await lock.acquire({ mode })
      assert.deepEqual([held.mode, held.path], [expected, lock.path])
      held.release()
    }
  })

  it('is first come first served within a process', async () => {
    const holding = await new PsLock(at('data')).acquire()
    const order: number[] = []
    const all = Array.from({ length: 30 }, (_, i) =>
      new PsLock(at('data')).exclusive(async () => {
        order.push(i)
        if (i % 4 === 0) await sleep(1)
      }),
    )
    holding.release()
    await Promise.all(all)
    assert.deepEqual(
      order,
      Array.from({ length: 30 }, (_, i) => i),
    )
  })

  it('is first come first served when the holder is another process', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const order: number[] = []
    const lock = new PsLock(at('data'))
    const all = Array.from({ length: 30 }, (_, i) => lock.exclusive(() => order.push(i)))
    await sleep(60)
    assert.deepEqual(order, [])
    await mate.call('release')
    await Promise.all(all)
    assert.deepEqual(
      order,
      Array.from({ length: 30 }, (_, i) => i),
    )
  })

  it('readers that come after a waiting writer of their process do not overtake it', async () => {
    const lock = new PsLock(at('data'))
    const reading = await lock.acquire({ mode: 'shared' })
    const order: string[] = []
    const all = [
      lock.exclusive(() => order.push('writer')),
      lock.shared(() => order.push('late reader')),
      lock.shared(() => order.push('late reader')),
    ]
    await sleep(30)
    assert.deepEqual(order, [], 'the writer cannot, and the readers must not')
    reading.release()
    await Promise.all(all)
    assert.deepEqual(order, ['writer', 'late reader', 'late reader'])
  })

  it('readers behind a writer go in together', async () => {
    const lock = new PsLock(at('data'))
    const writing = await lock.acquire()
    let inside = 0
    let most = 0
    const all = Array.from({ length: 8 }, () =>
      lock.shared(async () => {
        most = Math.max(most, ++inside)
        await until('all eight are inside', () => most === 8, 5000)
        inside--
      }),
    )
    writing.release()
    await Promise.all(all)
    assert.equal(most, 8)
  })

  it('the lock is free for other processes before the promise resolves', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const mateLock = new PsLock(at('data'))
    for (let i = 0; i < 20; i++) {
      await lock.exclusive(() => sleep(1))
      // A value, at once: nobody has to wait a turn of the event loop for a lock that was reported as given back.
      const held = mateLock.tryAcquire()
      assert.ok(held)
      held.release()
    }
    await lock.exclusive(() => sleep(1))
    assert.equal(await mate.call('tryAcquire', at('data')), true)
  })

  it('exclusive and shared return what run returns, and reject with what it throws, the lock free again', async () => {
    const lock = new PsLock(at('data'))
    const thrown = new Error('mine')
    for (const form of ['exclusive', 'shared'] as const) {
      assert.equal(await lock[form](() => 42), 42)
      assert.equal(await lock[form](async () => 'later'), 'later')
      await assert.rejects(
        lock[form](() => {
          throw thrown
        }),
        (error) => error === thrown,
      )
      await assert.rejects(
        lock[form](() => Promise.reject(thrown)),
        (error) => error === thrown,
      )
      lock.tryAcquire()!.release()
    }
  })
})
