import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockLostError, LockTimeoutError, LockUnsupportedError, PsLockError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'

/** Law 7: every wait ends, and the error says what one needs to know. */
describe('timeouts', () => {
  const crew = useCrew()
  const at = useFolder()

  async function timeoutOf(promise: Promise<unknown>): Promise<LockTimeoutError> {
    const error = await promise.then(
      () => assert.fail('it got the lock'),
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof LockTimeoutError, String(error))
    return error
  }

  it('the error names the file, the mode, how long it waited, and who holds it', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    await sleep(50)
    const lock = new PsLock(at('data'))
    for (const mode of ['exclusive', 'shared'] as const) {
      const error = await timeoutOf(lock[mode](() => assert.fail('it ran'), { timeoutMs: 120 }))
      assert.ok(error instanceof PsLockError)
      assert.deepEqual(
        [error.name, error.code, error.path, error.mode],
        ['LockTimeoutError', 'PSLOCK_TIMEOUT', lock.path, mode],
      )
      assert.ok(error.waitedMs >= 115 && error.waitedMs < 5000, `waited ${error.waitedMs}`)
      const [holder, ...more] = error.holders.filter(({ state }) => state === 'holding')
      assert.deepEqual(more, [])
      assert.equal(holder?.pid, mate.pid)
      assert.equal(holder.mode, 'exclusive')
      assert.match(holder.command ?? '', /lock-worker\.[jt]s/)
      assert.ok(holder.sinceMs !== undefined && holder.sinceMs >= 50, `holds since ${holder.sinceMs}`)
      for (const part of [lock.path, mode, String(mate.pid), 'lock-worker.', 'timeoutMs']) {
        assert.ok(error.message.includes(part), `"${part}" is not in: ${error.message}`)
      }
    }
  })

  it('every form of waiting times out', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const timeoutMs = 40
    await timeoutOf(lock.exclusive(() => {}, { timeoutMs }))
    await timeoutOf(lock.shared(() => {}, { timeoutMs }))
    await timeoutOf(lock.acquire({ timeoutMs }))
    await timeoutOf(lock.acquire({ mode: 'shared', timeoutMs }))
    for (const blocking of [
      () => lock.exclusiveSync(() => {}, { timeoutMs }),
      () => lock.sharedSync(() => {}, { timeoutMs }),
      () => lock.acquireSync({ timeoutMs }),
    ]) {
      assert.throws(blocking, LockTimeoutError)
    }
  })

  it('a call takes the timeout of its lock where it has none of its own', async () => {
    const held = await new PsLock(at('data')).acquire()
    const lock = new PsLock(at('data'), { timeoutMs: 50 })
    assert.ok((await timeoutOf(lock.acquire())).waitedMs < 5000)
    const longer = lock.acquire({ timeoutMs: 20_000 })
    assert.ok(await staysPending(longer, 200))
    held.release()
    ;(await longer).release()
  })

  it('it stays a timeout where the holders cannot be looked up, which is its cause', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    rmSync(lock.path)
    execFileSync('mkfifo', [lock.path])
    const error = await timeoutOf(lock.acquire({ timeoutMs: 30 }))
    assert.deepEqual([error.code, error.mode, error.holders], ['PSLOCK_TIMEOUT', 'exclusive', []])
    assert.ok(error.cause instanceof LockUnsupportedError, String(error.cause))
    assert.match(error.message, /cannot be seen from here/)
    assert.throws(() => held.release(), LockLostError)
  })

  it('timeoutMs 0 does not wait, takes what is free, and is past those who wait', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'), { timeoutMs: 0 })
    assert.equal(await lock.exclusive(() => 'free'), 'free')
    assert.equal(
      lock.exclusiveSync(() => 'free'),
      'free',
    )
    await mate.call('acquire', at('data'))
    const asked = performance.now()
    const { waitedMs } = await timeoutOf(lock.acquire())
    assert.ok(waitedMs <= 5 && performance.now() - asked < 1000, `waited ${waitedMs}`)
    assert.throws(() => lock.acquireSync(), LockTimeoutError)
  })

  it('Infinity, and more than a timer can count, wait for ever', async () => {
    const held = await new PsLock(at('data')).acquire()
    const waits = [Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 40, Number.MAX_VALUE].map((timeoutMs) =>
      new PsLock(at('data'), { timeoutMs }).exclusive(() => timeoutMs),
    )
    assert.ok(await staysPending(Promise.race(waits), 150))
    held.release()
    await Promise.all(waits)
  })

  it('a wait that timed out never runs, and those behind it go on', async () => {
    const held = await new PsLock(at('data')).acquire()
    const lock = new PsLock(at('data'))
    const order: string[] = []
    const gone = timeoutOf(lock.exclusive(() => order.push('gone'), { timeoutMs: 50 }))
    const next = lock.exclusive(() => order.push('next'))
    await gone
    held.release()
    await next
    await sleep(30)
    assert.deepEqual(order, ['next'])
  })

  it('readers go in when the writer before them gives up', async () => {
    const reading = await new PsLock(at('data')).acquire({ mode: 'shared' })
    const lock = new PsLock(at('data'))
    const writer = timeoutOf(lock.acquire({ timeoutMs: 60 }))
    const reader = lock.shared(() => 'in')
    assert.ok(await staysPending(reader, 20))
    await writer
    assert.equal(await reader, 'in')
    reading.release()
  })

  it('a wait behind a hold of the same process shows where that hold was acquired', async () => {
    const lock = new PsLock(at('data'))
    const takeAndForget = () => lock.acquire()
    const held = await takeAndForget()
    const error = await timeoutOf(lock.exclusive(() => {}, { timeoutMs: 30 }))
    assert.match(error.message, /takeAndForget/)
    assert.match(error.message, /timeout\.processes\.test\.[jt]s/)
    assert.equal(error.holders[0]?.pid, process.pid)
    held.release()
  })

  it("acquire inside one's own hold is a wait for oneself, and the error tells that the holder is oneself", async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(async () => {
      const error = await timeoutOf(lock.acquire({ timeoutMs: 50 }))
      assert.ok(error.message.includes(String(process.pid)), error.message)
    })
    lock.tryAcquire()!.release()
  })

  it('the timeout is served beside hundreds of waiters, and each gets its own', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const errors = await Promise.all(
      Array.from({ length: 300 }, (_, i) => timeoutOf(lock.acquire({ timeoutMs: 50 + (i % 3) * 50 }))),
    )
    for (const [i, { waitedMs }] of errors.entries()) {
      const timeoutMs = 50 + (i % 3) * 50
      assert.ok(waitedMs >= timeoutMs - 5 && waitedMs < timeoutMs + 5000, `${waitedMs} of ${timeoutMs}`)
    }
  })
})
