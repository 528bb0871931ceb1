import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClosedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'

/** close(): no new use, its holds end in peace, others on the same path go on. */
describe('close', () => {
  const crew = useCrew()
  const at = useFolder()

  it('every use afterwards is a ClosedError with code and path', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    await lock.close()
    const is = (error: unknown) =>
      error instanceof ClosedError && error.code === 'PSLOCK_CLOSED' && error.path.startsWith(at('data'))
    const never = () => assert.fail('it ran')
    await assert.rejects(lock.exclusive(never), is)
    await assert.rejects(lock.shared(never), is)
    await assert.rejects(lock.acquire(), is)
    assert.throws(() => lock.tryAcquire(), is)
    assert.throws(() => lock.exclusiveSync(never), is)
    assert.throws(() => lock.sharedSync(never), is)
    assert.throws(() => lock.acquireSync(), is)
  })

  it('may be called again, also before any use, and its path can still be read', async () => {
    const lock = new PsLock(at('data'))
    const path = lock.path
    await lock.close()
    await lock.close()
    await lock[Symbol.asyncDispose]()
    assert.equal(lock.path, path)
  })

  it('refuses new use from the moment it is called', async () => {
    const lock = new PsLock(at('data'))
    const running = lock.exclusive(() => sleep(40))
    const closing = lock.close()
    await assert.rejects(
      lock.exclusive(() => {}),
      ClosedError,
    )
    await Promise.all([running, closing])
  })

  it('waits for a running exclusive, which ends as if nothing was', async () => {
    const lock = new PsLock(at('data'))
    const order: string[] = []
    const running = lock.exclusive(async () => {
      await sleep(50)
      order.push('work')
      return 'done'
    })
    await lock.close().then(() => order.push('closed'))
    assert.deepEqual(order, ['work', 'closed'])
    assert.equal(await running, 'done')
  })

  for (const form of ['acquire', 'tryAcquire', 'acquireSync'] as const) {
    it(`waits for the release of a hold made by ${form}, which stays exclusive until then`, async () => {
      const lock = new PsLock(at('data'))
      const held = await lock[form]()
      assert.ok(held)
      const closing = lock.close()
      assert.ok(await staysPending(closing, 40), 'its holds have not ended')
      assert.equal(new PsLock(at('data')).tryAcquire(), undefined)
      held.release()
      await closing
      new PsLock(at('data')).tryAcquire()!.release()
    })
  }

  it('lets those who already wait have their turn', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const waiting = [lock.exclusive(() => 1), lock.exclusive(() => 2)]
    const closing = lock.close()
    assert.ok(await staysPending(closing, 60))
    await mate.call('release')
    assert.deepEqual(await Promise.all(waiting), [1, 2])
    await closing
  })

  it('several calls of close while it is in use all resolve', async () => {
    const lock = new PsLock(at('data'))
    const running = lock.exclusive(() => sleep(40))
    const closings = Promise.all([lock.close(), lock.close(), lock[Symbol.asyncDispose]()])
    await running
    assert.equal(await staysPending(closings, 500), false, 'one of them never resolves')
  })

  it('another PsLock on the path goes on, holding or waiting', async () => {
    const mate = await crew.process()
    const [one, two] = [new PsLock(at('data')), new PsLock(at('data'))]
    const held = await two.acquire()
    await one.exclusive(() => {}, { timeoutMs: 0 }).catch(() => {})
    const waiting = two.exclusive(() => 'served')
    await one.close()
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    held.release()
    assert.equal(await waiting, 'served')
    two.tryAcquire()!.release()
  })

  it("inside one's own hold, whose end it would wait for, it is refused at once", async () => {
    const lock = new PsLock(at('data'))
    const refused = () => assert.rejects(lock.close(), { code: 'PSLOCK_DEADLOCK', path: lock.path })
    await lock.exclusive(refused)
    await lock.shared(refused)
    await lock.exclusive(() => lock.exclusive(refused))
    const held = await lock.acquire()
    await held.run(refused)
    held.release()
    await lock.exclusiveSync(() => {
      void refused()
    })
    await lock.close()
    await assert.rejects(
      lock.exclusive(() => {}),
      ClosedError,
    )
  })

  it('await using closes it at the end of the block', async () => {
    let outside: PsLock
    {
      await using lock = new PsLock(at('data'))
      await lock.exclusive(() => {})
      outside = lock
    }
    await assert.rejects(
      outside.exclusive(() => {}),
      ClosedError,
    )
  })

  it('gives its descriptors back', async () => {
    const mate = await crew.process()
    const before = await mate.call('openDescriptors')
    for (let i = 0; i < 50; i++) {
      await mate.call('acquire', at(`data${i}`))
      await mate.call('release')
      await mate.call('close', at(`data${i}`))
    }
    assert.ok((await mate.call('openDescriptors')) <= before + 4)
  })
})
