import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClosedError } from '../../src/errors.ts'
import { HeldLock } from '../../src/lock/held-lock.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, until, useFolder } from '../fixtures/folder.ts'

/** The handle of acquire, tryAcquire and acquireSync: kept until it is released, once. */
describe('held locks', () => {
  const crew = useCrew()
  const at = useFolder()

  it('tryAcquire gives a handle where the lock is free, and undefined where another process has it', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const held = lock.tryAcquire()
    assert.ok(held instanceof HeldLock)
    assert.equal(held.mode, 'exclusive')
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    held.release()
    assert.equal(await mate.call('tryAcquire', at('data')), true)
    assert.equal(lock.tryAcquire(), undefined)
    assert.equal(lock.tryAcquire({ mode: 'shared' }), undefined)
    await mate.call('release')
    assert.equal(await mate.call('tryAcquire', at('data'), { mode: 'shared' }), true)
    assert.equal(lock.tryAcquire(), undefined)
    lock.tryAcquire({ mode: 'shared' })!.release()
  })

  it('tryAcquire gives undefined where another task of the process has it', async () => {
    const held = await new PsLock(at('data')).acquire()
    assert.equal(new PsLock(at('data')).tryAcquire(), undefined)
    held.release()
    new PsLock(at('data')).tryAcquire()!.release()
  })

  it('release is idempotent: a second one frees nobody else', async () => {
    const lock = new PsLock(at('data'))
    const one = await lock.acquire()
    one.release()
    const two = await lock.acquire()
    one.release()
    one[Symbol.dispose]()
    await one[Symbol.asyncDispose]()
    assert.equal(lock.tryAcquire(), undefined)
    two.release()
    lock.tryAcquire()!.release()
  })

  it('using and await using give it back at the end of the block, also on a throw', async () => {
    const lock = new PsLock(at('data'))
    {
      using held = await lock.acquire()
      assert.equal(held.mode, 'exclusive')
      assert.equal(lock.tryAcquire(), undefined)
    }
    {
      await using held = await lock.acquire()
      assert.equal(held.mode, 'exclusive')
      assert.equal(lock.tryAcquire(), undefined)
    }
    await assert.rejects(async () => {
      await using held = lock.acquireSync()
      throw new Error(`inside ${held.mode}`)
    }, /inside exclusive/)
    lock.tryAcquire()!.release()
  })

  it('run re-enters the hold, also through another PsLock and in the blocking form', async () => {
    const lock = new PsLock(at('data'), { timeoutMs: 2000 })
    const held = await lock.acquire()
    const result = await held.run(async () => {
      assert.equal(
        lock.exclusiveSync(() => 'sync'),
        'sync',
      )
      await lock.shared(() => sleep(1))
      return new PsLock(at('data'), { timeoutMs: 2000 }).exclusive(() => 'inside')
    })
    assert.equal(result, 'inside')
    assert.ok(
      await staysPending(
        lock.exclusive(() => {}),
        30,
      ),
      'outside of run it waits like anybody',
    )
    held.release()
  })

  it('run gives back what its function returns, and rejects with what it throws, still holding', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    assert.equal(await held.run(() => 7), 7)
    await assert.rejects(
      held.run(() => Promise.reject(new Error('mine'))),
      /mine/,
    )
    assert.equal(lock.tryAcquire(), undefined)
    held.release()
  })

  it('a released handle cannot run: ClosedError with code and path, and nothing runs', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    held.release()
    await assert.rejects(
      held.run(() => assert.fail('it ran')),
      (error) => error instanceof ClosedError && error.code === 'PSLOCK_CLOSED' && error.path === lock.path,
    )
  })

  it('a release while run still runs takes effect when it has ended', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    let ended = false
    const running = held.run(async () => {
      await sleep(80)
      ended = true
    })
    held.release()
    const next = lock.exclusive(() => ended)
    assert.equal(await next, true)
    await running
  })

  it('a hold outlives its PsLock object: garbage collection releases nothing', async () => {
    const mate = await crew.process({ execArgv: [...process.execArgv, '--expose-gc'] })
    await mate.call('acquireAndForgetLock', at('data'))
    const other = await crew.process()
    assert.equal(await other.call('tryAcquire', at('data')), false)
    await mate.call('release')
    assert.equal(await other.call('tryAcquire', at('data')), true)
  })

  it('forgotten PsLock objects give their descriptors back', async () => {
    const mate = await crew.process({ execArgv: [...process.execArgv, '--expose-gc'] })
    const before = await mate.call('openDescriptors')
    await mate.call('useAndForget', at('data'), 200)
    await until('the descriptors are closed', async () => {
      await mate.call('collectGarbage')
      const open = await mate.call('openDescriptors')
      return open <= before + 4
    })
  })
})
