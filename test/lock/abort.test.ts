import assert from 'node:assert/strict'
import { getEventListeners, setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'

/** An AbortSignal ends a wait, never a hold; the reason is the caller's own value. */
describe('abort signals', () => {
  const crew = useCrew()
  const at = useFolder()

  it('an aborted signal rejects at once with its reason, and nothing runs, though the lock is free', async () => {
    const reason = new Error('changed my mind')
    const signal = AbortSignal.abort(reason)
    const lock = new PsLock(at('data'))
    const isReason = (error: unknown) => error === reason
    await assert.rejects(
      lock.exclusive(() => assert.fail('it ran'), { signal }),
      isReason,
    )
    await assert.rejects(
      lock.shared(() => assert.fail('it ran'), { signal }),
      isReason,
    )
    await assert.rejects(lock.acquire({ signal }), isReason)
    assert.throws(() => lock.exclusiveSync(() => assert.fail('it ran'), { signal }), isReason)
    assert.throws(() => lock.acquireSync({ signal }), isReason)
    lock.tryAcquire()!.release()
  })

  it('aborting without a reason rejects with an AbortError', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const controller = new AbortController()
    const waiting = assert.rejects(lock.acquire({ signal: controller.signal }), { name: 'AbortError' })
    controller.abort()
    await waiting
    held.release()
  })

  it('any value is a reason, also one that is no error', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const controller = new AbortController()
    const waiting = lock.acquire({ signal: controller.signal }).then(
      () => 'granted',
      (reason: unknown) => reason,
    )
    controller.abort(7)
    assert.equal(await waiting, 7)
    held.release()
  })

  it('ends a wait for another process, and the queue behind it goes on', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const controller = new AbortController()
    const reason = new Error('stop')
    const order: string[] = []
    const head = lock.exclusive(() => order.push('aborted'), { signal: controller.signal })
    const next = lock.exclusive(() => order.push('next'))
    assert.ok(await staysPending(head))
    controller.abort(reason)
    await assert.rejects(head, (error) => error === reason)
    assert.ok(await staysPending(next), 'the lock is still held over there')
    await mate.call('release')
    await next
    assert.deepEqual(order, ['next'])
  })

  it('ends a wait in the middle of the queue without disturbing its order', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const controller = new AbortController()
    const order: number[] = []
    const all = Array.from({ length: 9 }, (_, i) =>
      lock
        .exclusive(() => order.push(i), i % 3 === 1 ? { signal: controller.signal } : {})
        .catch((error: Error) => error.name),
    )
    controller.abort()
    held.release()
    const results = await Promise.all(all)
    assert.equal(results.filter((result) => result === 'AbortError').length, 3)
    assert.deepEqual(order, [0, 2, 3, 5, 6, 8])
  })

  it('does not touch a granted hold', async () => {
    const lock = new PsLock(at('data'))
    const controller = new AbortController()
    const result = await lock.exclusive(
      async () => {
        controller.abort()
        await sleep(10)
        assert.equal(lock.tryAcquire(), undefined)
        return 'whole'
      },
      { signal: controller.signal },
    )
    assert.equal(result, 'whole')
  })

  it('leaves no listener on the signal, however the wait ended', async () => {
    const lock = new PsLock(at('data'))
    const { signal } = new AbortController()
    const held = await lock.acquire({ signal })
    const late = lock.acquire({ signal, timeoutMs: 20 })
    const granted = lock.acquire({ signal })
    await assert.rejects(late, { code: 'PSLOCK_TIMEOUT' })
    held.release()
    ;(await granted).release()
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  })

  it('one signal ends many waits', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const controller = new AbortController()
    // Node warns of a leak from the eleventh listener on, whoever adds it.
    setMaxListeners(0, controller.signal)
    const all = Array.from({ length: 40 }, () => lock.acquire({ signal: controller.signal }))
    controller.abort()
    for (const { status } of await Promise.allSettled(all)) assert.equal(status, 'rejected')
    held.release()
    lock.tryAcquire()!.release()
  })

  it('AbortSignal.timeout ends a wait, whichever comes first', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    await assert.rejects(lock.acquire({ signal: AbortSignal.timeout(30), timeoutMs: 20_000 }), {
      name: 'TimeoutError',
    })
    await assert.rejects(lock.acquire({ signal: AbortSignal.timeout(20_000), timeoutMs: 30 }), {
      code: 'PSLOCK_TIMEOUT',
    })
    held.release()
  })

  it('ends a wait inside a hold', async () => {
    const lock = new PsLock(at('data'))
    const controller = new AbortController()
    await lock.exclusive(async () => {
      const first = lock.exclusive(() => sleep(80))
      const second = lock.exclusive(() => assert.fail('it ran'), { signal: controller.signal })
      controller.abort()
      await assert.rejects(second, { name: 'AbortError' })
      await first
    })
    lock.tryAcquire()!.release()
  })
})
