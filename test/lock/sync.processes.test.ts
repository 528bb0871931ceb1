import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockDeadlockError, LockTimeoutError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { newGate, useFolder } from '../fixtures/folder.ts'

/** The blocking twins: the same lock, the same patience, and never a wait that cannot end. */
describe('blocking forms', () => {
  const crew = useCrew()
  const at = useFolder()

  it('return what run returns, throw what it throws, and have given the lock back', () => {
    const lock = new PsLock(at('data'))
    for (const form of ['exclusiveSync', 'sharedSync'] as const) {
      assert.equal(
        lock[form](() => 42),
        42,
      )
      const thrown = new Error('mine')
      assert.throws(
        () =>
          lock[form](() => {
            throw thrown
          }),
        (error) => error === thrown,
      )
      lock.tryAcquire()!.release()
    }
  })

  it('exclusive alone and shared together, as the asynchronous ones', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const shared = lock.acquireSync({ mode: 'shared' })
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    assert.equal(await mate.call('tryAcquire', at('data'), { mode: 'shared' }), true)
    shared.release()
    await mate.call('release')
    const exclusive = lock.acquireSync()
    assert.equal(exclusive.mode, 'exclusive')
    assert.equal(await mate.call('tryAcquire', at('data'), { mode: 'shared' }), false)
    exclusive.release()
  })

  it("re-enter inside each other and inside one's own asynchronous hold", async () => {
    const lock = new PsLock(at('data'))
    assert.equal(
      lock.exclusiveSync(() => lock.sharedSync(() => new PsLock(at('data')).sharedSync(() => 'three deep'))),
      'three deep',
    )
    const result = await lock.exclusive(async () => {
      await sleep(1)
      return lock.exclusiveSync(() => lock.exclusiveSync(() => 'inside'))
    })
    assert.equal(result, 'inside')
    assert.equal(await lock.shared(() => lock.sharedSync(() => 'shared')), 'shared')
  })

  it('an asynchronous call inside a blocking hold keeps the lock until it has ended', async () => {
    const lock = new PsLock(at('data'))
    let nested: Promise<string> | undefined
    lock.exclusiveSync(() => {
      nested = lock.exclusive(async () => {
        await sleep(30)
        return 'nested'
      })
    })
    assert.equal(lock.tryAcquire(), undefined)
    assert.equal(await nested, 'nested')
    lock.tryAcquire()!.release()
  })

  it('beside another asynchronous hold of the process they are a LockDeadlockError, at once', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const is = (error: unknown) =>
      error instanceof LockDeadlockError &&
      error.code === 'PSLOCK_DEADLOCK' &&
      error.path === lock.path &&
      error.message.includes(lock.path)
    const asked = performance.now()
    const options = { timeoutMs: 20_000 }
    assert.throws(() => lock.exclusiveSync(() => assert.fail('it ran'), options), is)
    assert.throws(() => lock.sharedSync(() => assert.fail('it ran'), options), is)
    assert.throws(() => new PsLock(at('data')).acquireSync(options), is)
    assert.ok(performance.now() - asked < 5000)
    held.release()
  })

  it('a nested blocking call beside a nested sibling is a LockDeadlockError', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(async () => {
      const gate = newGate()
      const sibling = lock.exclusive(() => gate.opened)
      await sleep(1)
      assert.throws(() => lock.exclusiveSync(() => {}), LockDeadlockError)
      gate.open()
      await sibling
    })
  })

  it("sharedSync beside another task's shared hold goes in", async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire({ mode: 'shared' })
    assert.equal(
      lock.sharedSync(() => 'in'),
      'in',
    )
    assert.equal(lock.tryAcquire(), undefined, 'the other one still holds')
    held.release()
  })

  it('wait for another process, and get the lock when it is free', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    await mate.call('releaseOnceWaitedFor', at('data'), process.pid)
    const enteredAt = new PsLock(at('data')).exclusiveSync(process.hrtime.bigint, { timeoutMs: 20_000 })
    assert.ok(enteredAt > BigInt(await mate.call('releasedAt')), 'it blocked')
  })

  it('wait in vain, and time out with all fields', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    assert.throws(
      () => lock.exclusiveSync(() => assert.fail('it ran'), { timeoutMs: 100 }),
      (error) =>
        error instanceof LockTimeoutError &&
        error.waitedMs >= 95 &&
        error.mode === 'exclusive' &&
        error.holders[0]?.pid === mate.pid,
    )
    await mate.call('release')
    assert.equal(
      lock.exclusiveSync(() => 'free again'),
      'free again',
    )
  })

  it('a wait ends when the holder is killed', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    // Killed by a third process, for this one blocks.
    await (await crew.process()).call('killAfter', mate.pid, 100)
    assert.equal(
      new PsLock(at('data')).exclusiveSync(() => 'in', { timeoutMs: 20_000 }),
      'in',
    )
  })

  it('a blocking call goes on beside asynchronous waiters of its process', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const waiting = lock.exclusive(() => 'asynchronous')
    await sleep(20)
    await mate.call('releaseAfterSpin', 50)
    assert.equal(
      lock.exclusiveSync(() => 'blocking'),
      'blocking',
    )
    assert.equal(await waiting, 'asynchronous')
  })

  const promises: [string, () => unknown][] = [
    ['a promise', async () => 1],
    ['a rejected promise', () => Promise.reject(new Error('unheard'))],
    // biome-ignore lint/suspicious/noThenProperty: queries of many libraries are thenables, not promises
    ['a thenable', () => ({ then: (resolve: (value: number) => void) => resolve(1) })],
  ]
  for (const [what, run] of promises) {
    it(`run that returns ${what} is a TypeError that names the asynchronous form`, () => {
      const lock = new PsLock(at('data'))
      for (const form of ['exclusiveSync', 'sharedSync'] as const) {
        assert.throws(
          () => lock[form](run),
          (error) => error instanceof TypeError && /exclusive\(\)|shared\(\)/.test(error.message),
        )
        lock.tryAcquire()!.release()
      }
    })
  }
})
