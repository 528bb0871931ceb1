import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere, waitsThere } from '../fixtures/must-block.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** Signals interrupt system calls (EINTR), stop and continue processes, and end them. */
describe('signals', () => {
  const crew = useCrew()
  const at = useFolder()

  describe('that come all the time and are handled', () => {
    let storm: ChildProcess | undefined

    /** As many as a shell can send, to all of them, until the test ends. */
    async function startStorm(mates: LockProcess[]): Promise<void> {
      for (const mate of mates) await mate.call('countSignals')
      const script = 'while kill -USR2 "$@" && kill -WINCH "$@"; do :; done'
      storm = spawn('sh', ['-c', script, 'storm', ...mates.map(({ pid }) => String(pid))], {
        stdio: 'ignore',
      })
    }

    async function stopStorm(): Promise<void> {
      if (!storm) return
      const closed = once(storm, 'close')
      storm.kill('SIGKILL')
      await closed
      storm = undefined
    }

    afterEach(stopStorm)

    async function assertStormy(mates: LockProcess[]): Promise<void> {
      await stopStorm()
      const counts = await Promise.all(mates.map((mate) => mate.call('signalsSeen')))
      note(`signals handled: ${counts.join(', ')}`)
      for (const count of counts) assert.ok(count > 50, `only ${count} signals: no storm`)
    }

    for (const command of ['acquire', 'acquireSync'] as const) {
      it(`${command}: waits as long as it said, and gets the lock when it is free`, async () => {
        const mate = await crew.process()
        const held = await new PsLock(at('data')).acquire()
        await startStorm([mate])
        await assert.rejects(mate.call(command, at('data'), { timeoutMs: 300 }), { code: 'PSLOCK_TIMEOUT' })
        const blocked = await mustBlock('the mate', mate.call(command, at('data')), { quietMs: 200 })
        await blocked.unblock(() => held.release())
        assert.equal(new PsLock(at('data')).tryAcquire(), undefined, 'and keeps it in the storm')
        await assertStormy([mate])
        await mate.call('release')
        new PsLock(at('data')).tryAcquire()!.release()
      })
    }

    it('increments of several processes lose nothing', async () => {
      const seed = newSeed()
      const mates = await crew.processes(3)
      await startStorm(mates)
      await Promise.all(
        mates.map((mate, i) =>
          mate.call('increment', at('data'), at('counter'), {
            times: 120,
            how: i === 0 ? 'sync' : 'exclusive',
            seed: seed + i,
          }),
        ),
      )
      await assertStormy(mates)
      const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
      note(`seed ${seed}: ${handOvers} hand-overs`)
      assert.equal(count, 360)
    })
  })

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2', 'SIGALRM', 'SIGKILL'] as const) {
    it(`a holder that ${signal} ends frees the lock, and the next one takes over cleanly`, async () => {
      const mate = await crew.process()
      await mate.call('acquire', at('data'))
      const lock = new PsLock(at('data'))
      const blocked = await mustBlock('the next one', lock.acquire(), { seen: waitsHere(lock) })
      const held = await blocked.unblock(() => mate.child.kill(signal))
      assert.deepEqual(
        lock.holders().map(({ pid }) => pid),
        [process.pid],
      )
      held.release()
    })
  }

  it('a waiter that is stopped past its timeout: afterwards it has the lock or has given up, never both', async () => {
    const lock = new PsLock(at('data'))
    for (const freedMeanwhile of [true, false]) {
      const mate = await crew.process()
      const held = await lock.acquire()
      const wait = mate.call('acquire', at('data'), { timeoutMs: 400 })
      let isOver = false
      const over = () => {
        isOver = true
      }
      wait.then(over, over)
      const waits = waitsThere(mate, at('data'))
      await until('the mate waits', () => isOver || waits())
      await mate.signal('SIGSTOP')
      await sleep(600)
      if (freedMeanwhile) held.release()
      await mate.signal('SIGCONT')
      const outcome = await wait.then(
        () => 'granted',
        ({ code }) => code,
      )
      note(`lock ${freedMeanwhile ? 'free' : 'held'} when it went on: ${outcome}`)
      if (!freedMeanwhile) {
        assert.equal(outcome, 'PSLOCK_TIMEOUT')
        held.release()
      }
      if (outcome === 'granted') {
        assert.equal(lock.tryAcquire(), undefined)
        await mate.call('release')
      } else assert.equal(outcome, 'PSLOCK_TIMEOUT')
      lock.tryAcquire()!.release()
    }
  })

  it('a holder that is stopped is not robbed by a blocking waiter either, and goes on as the holder', async () => {
    const [holder, waiter] = (await crew.processes(2)) as [LockProcess, LockProcess]
    await holder.call('acquire', at('data'))
    await holder.signal('SIGSTOP')
    await assert.rejects(waiter.call('acquireSync', at('data'), { timeoutMs: 500 }), (error: Error) => {
      const { code, holders } = error as Error & { code: string; holders: { pid: number }[] }
      return code === 'PSLOCK_TIMEOUT' && holders[0]?.pid === holder.pid
    })
    const blocked = await mustBlock('a blocking waiter', waiter.call('acquireSync', at('data')), {
      quietMs: 300,
    })
    await holder.signal('SIGCONT')
    assert.deepEqual(
      (await holder.call('holders', at('data')))
        .filter(({ state }) => state === 'holding')
        .map(({ pid }) => pid),
      [holder.pid],
    )
    await blocked.unblock(() => holder.call('release'))
  })
})
