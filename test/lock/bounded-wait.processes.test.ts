import assert from 'node:assert/strict'
import { PsLock } from '../../src/lock/lock.ts'
import { type LockProcess, type LockThread, useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere } from '../fixtures/must-block.ts'

/**
 * The three cases of every lock with a timeout: no wait for the first, a bounded wait for the next, in time when it is
 * released in time. A well-known lock of this kind runs its body without the lock when the time is over, and says so
 * only by a value that nobody looks at; here the body does not run and the call throws.
 */
describe('a bounded wait', () => {
  const crew = useCrew()
  const at = useFolder()

  const holders: [string, () => Promise<LockProcess | LockThread>][] = [
    ['another process', () => crew.process()],
    ['a worker thread', () => crew.thread()],
  ]

  it('is no wait for the first user', async () => {
    const lock = new PsLock(at('data'), { timeoutMs: 0 })
    for (let i = 0; i < 20; i++) {
      assert.equal(await lock.exclusive(() => i), i)
      assert.equal(
        lock.exclusiveSync(() => i),
        i,
      )
    }
  })

  for (const [who, start] of holders) {
    it(`behind ${who} ends in time, without running anything and without the lock`, async () => {
      const mate = await start()
      await mate.call('acquire', at('data'))
      const lock = new PsLock(at('data'), { timeoutMs: 250 })
      let ran = 0
      const asked = performance.now()
      for (const attempt of [
        () => lock.exclusive(() => ran++),
        () => lock.shared(() => ran++),
        async () => lock.exclusiveSync(() => ran++),
        async () => lock.sharedSync(() => ran++),
      ]) {
        await assert.rejects(attempt(), { code: 'PSLOCK_TIMEOUT' })
      }
      const tookMs = performance.now() - asked
      assert.ok(tookMs >= 4 * 245 && tookMs < 20_000, `four waits took ${tookMs} ms`)
      await mate.call('release')
      assert.equal(ran, 0, 'nor later, when the lock is free')
      lock.tryAcquire()!.release()
    })

    it(`behind ${who} that releases in time is granted, once`, async () => {
      const mate = await start()
      await mate.call('acquire', at('data'))
      const lock = new PsLock(at('data'), { timeoutMs: 20_000 })
      let ran = 0
      const wait = lock.exclusive(() => ++ran)
      const blocked = await mustBlock('we', wait, { seen: waitsHere(lock) })
      assert.equal(await blocked.unblock(() => mate.call('release')), 1)
      assert.equal(ran, 1)
    })
  }

  it('what cannot be locked at all is not waited for: it fails at once, and is not called busy', async () => {
    const lock = new PsLock(at('missing/data'), { timeoutMs: 60_000 })
    const asked = performance.now()
    await assert.rejects(lock.acquire(), { code: 'PSLOCK_IO' })
    assert.throws(() => lock.acquireSync(), { code: 'PSLOCK_IO' })
    assert.throws(() => lock.tryAcquire(), { code: 'PSLOCK_IO' })
    assert.ok(performance.now() - asked < 20_000)
  })
})
