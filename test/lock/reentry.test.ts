import assert from 'node:assert/strict'
import { symlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockDeadlockError, LockTimeoutError, LockUpgradeError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { newGate, staysPending, useFolder } from '../fixtures/folder.ts'

/** One may go in again where one is already; everybody else waits, in the same process too. */
describe('re-entrancy', () => {
  const crew = useCrew()
  const at = useFolder()
  const newLock = (name = 'data') => new PsLock(at(name), { timeoutMs: 3000 })

  for (const [outer, inner] of [
    ['exclusive', 'exclusive'],
    ['exclusive', 'shared'],
    ['shared', 'shared'],
  ] as const) {
    it(`${inner} inside ${outer} re-enters, after an await and through another PsLock too`, async () => {
      const lock = newLock()
      const result = await lock[outer](async () => {
        await sleep(1)
        return lock[inner](async () => newLock()[inner](async () => 'innermost'))
      })
      assert.equal(result, 'innermost')
      lock.tryAcquire()!.release()
    })
  }

  it('with `join: false` it does not re-enter, but waits for the end, which it must not be awaited before', async () => {
    const lock = newLock()
    const steps: string[] = []
    let other: Promise<unknown> | undefined
    await lock.exclusive(async () => {
      other = lock.exclusive(() => steps.push('other'), { join: false })
      await assert.rejects(
        lock.shared(() => {}, { join: false, timeoutMs: 20 }),
        LockTimeoutError,
      )
      assert.throws(() => lock.exclusiveSync(() => {}, { join: false }), LockDeadlockError)
      steps.push('outer')
    })
    await other
    assert.deepEqual(steps, ['outer', 'other'])
    await assert.rejects(
      lock.exclusive(() => {}, { join: 'no' as unknown as boolean }),
      TypeError,
    )
  })

  it('exclusive inside shared is a LockUpgradeError at once, in every form, and the hold goes on', async () => {
    const lock = newLock()
    await lock.shared(async () => {
      const is = (error: unknown) =>
        error instanceof LockUpgradeError &&
        error.code === 'PSLOCK_UPGRADE' &&
        error.path === lock.path &&
        error.message.includes(lock.path)
      const never = () => assert.fail('it ran')
      await assert.rejects(lock.exclusive(never), is)
      await assert.rejects(newLock().exclusive(never), is)
      assert.throws(() => lock.exclusiveSync(never), is)
      assert.equal(await lock.shared(() => 'still'), 'still')
    })
    const held = await lock.acquire({ mode: 'shared' })
    await assert.rejects(
      held.run(() => lock.exclusive(() => assert.fail('it ran'))),
      LockUpgradeError,
    )
    held.release()
  })

  it('exclusive inside shared inside exclusive is refused, not a hang', async () => {
    const lock = newLock()
    await lock.exclusive(() =>
      lock.shared(() =>
        assert.rejects(
          lock.exclusive(() => {}),
          LockUpgradeError,
        ),
      ),
    )
  })

  it('a symbolic link to the data re-enters: it is the same lock', async () => {
    writeFileSync(at('data'), '')
    symlinkSync(at('data'), at('link'))
    assert.equal(await newLock().exclusive(() => newLock('link').exclusive(() => 'same')), 'same')
  })

  it('another task waits, though it runs in the same process meanwhile', async () => {
    const lock = newLock()
    let open = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const first = lock.exclusive(() => gate)
    const second = lock.exclusive(() => 'second')
    assert.ok(await staysPending(second, 40))
    open()
    await first
    assert.equal(await second, 'second')
  })

  it('siblings in Promise.all of nested exclusives exclude each other', async () => {
    const lock = newLock()
    let inside = 0
    let most = 0
    await lock.exclusive(() =>
      Promise.all(
        Array.from({ length: 8 }, () =>
          lock.exclusive(async () => {
            most = Math.max(most, ++inside)
            // A descendant of one sibling goes in past the others.
            await lock.exclusive(() => sleep(2))
            inside--
          }),
        ),
      ),
    )
    assert.equal(most, 1)
  })

  it('nested shared siblings run together, and exclude a nested exclusive one', async () => {
    const lock = newLock()
    const log: string[] = []
    const reader = () =>
      lock.shared(async () => {
        log.push('in')
        await sleep(20)
        log.push('out')
      })
    await lock.exclusive(() => Promise.all([reader(), reader(), lock.exclusive(() => log.push('writer'))]))
    assert.deepEqual(log, ['in', 'in', 'out', 'out', 'writer'])
  })

  it('a timer started inside that fires after the release queues as a newcomer', async () => {
    const lock = newLock()
    let late: Promise<string> | undefined
    await lock.exclusive(() => {
      setTimeout(() => {
        late = lock.exclusive(() => 'late')
      }, 30)
    })
    const held = await lock.acquire()
    await sleep(60)
    assert.ok(late)
    assert.ok(await staysPending(late, 40), 'the hold that it was started in is over')
    held.release()
    assert.equal(await late, 'late')
  })

  it('a timer that fires after its nested hold ended goes into the outer one, still open', async () => {
    const lock = newLock()
    await lock.exclusive(async () => {
      const fired = await lock.exclusive(() =>
        // Not returned as a promise: the nested hold ends before it fires.
        ({ later: sleep(20).then(() => lock.exclusive(() => 'in the outer one')) }),
      )
      assert.equal(await fired.later, 'in the outer one')
    })
  })

  it('the kernel lock, and the promise, stay until accepted nested work has ended', async () => {
    const mate = await crew.process()
    const lock = newLock()
    const gate = newGate()
    let nestedEnded = false
    const outer = lock.exclusive(() => {
      void lock.exclusive(async () => {
        await gate.opened
        nestedEnded = true
      })
    })
    assert.ok(await staysPending(outer, 30))
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    gate.open()
    await outer
    assert.equal(nestedEnded, true)
    assert.equal(await mate.call('tryAcquire', at('data')), true)
  })

  it('a throw outside does not cut off nested work that still runs', async () => {
    const lock = newLock()
    let nestedEnded = false
    await assert.rejects(
      lock.exclusive(() => {
        void lock.exclusive(async () => {
          await sleep(40)
          nestedEnded = true
        })
        throw new Error('outer')
      }),
      /outer/,
    )
    assert.equal(nestedEnded, true)
    lock.tryAcquire()!.release()
  })

  it('locks of two files nest without knowing of each other', async () => {
    const [a, b] = [newLock('a'), newLock('b')]
    const result = await a.shared(() => b.exclusive(() => a.shared(() => b.exclusive(() => 'both'))))
    assert.equal(result, 'both')
  })

  it('a hold does not leak into the code around it', async () => {
    const lock = newLock()
    const gate = newGate()
    const running = lock.exclusive(() => gate.opened)
    await sleep(10)
    // Same function, same tick, outside of the callback: a newcomer.
    assert.equal(lock.tryAcquire(), undefined)
    const newcomer = lock.exclusive(() => {})
    assert.ok(await staysPending(newcomer, 20))
    gate.open()
    await Promise.all([running, newcomer])
  })

  it('a thenable that begins to work when it is awaited, such as a query, works inside', async () => {
    const lock = new PsLock(at('data'))
    const query = () => ({
      // biome-ignore lint/suspicious/noThenProperty: that is what is tested
      then: (resolve: (value: number) => void, reject: (reason: unknown) => void) =>
        void lock.exclusive(() => 7, { timeoutMs: 0 }).then(resolve, reject),
    })
    assert.equal(await lock.exclusive(query), 7)
    const held = await lock.acquire()
    assert.equal(await held.run(query), 7)
    held.release()
  })
})
