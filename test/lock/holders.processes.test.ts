import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, unlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'

/** holders(): who holds, who waits, since when. Unknown is undefined, never guessed. */
describe('holders', () => {
  const crew = useCrew()
  const at = useFolder()
  const pids = (lock: PsLock, state: 'holding' | 'waiting') =>
    lock
      .holders()
      .filter((holder) => holder.state === state)
      .map(({ pid }) => pid)
      .sort()

  it('nobody has a lock that nobody has, also one whose file does not exist', async () => {
    const lock = new PsLock(at('data'))
    assert.deepEqual(lock.holders(), [])
    await lock.exclusive(() => {})
    assert.deepEqual(lock.holders(), [])
  })

  it('names the holder of another process: pid, command, mode, since when', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    for (const mode of ['exclusive', 'shared'] as const) {
      await mate.call('acquire', at('data'), { mode })
      await sleep(100)
      const given = new AbortController()
      // It says since when as soon as somebody waits.
      const waiting = lock.acquire({ signal: given.signal }).catch(() => {})
      const holding = () => lock.holders().filter(({ state }) => state === 'holding')
      await until('it is known since when', () => holding()[0]?.sinceMs !== undefined)
      const [holder, ...more] = holding()
      given.abort()
      await waiting
      assert.deepEqual(more, [])
      assert.deepEqual([holder?.pid, holder?.mode, holder?.state], [mate.pid, mode, 'holding'])
      assert.match(holder?.command ?? '', /lock-worker\.[jt]s/)
      assert.ok(holder?.sinceMs !== undefined && holder.sinceMs >= 90 && holder.sinceMs < 10_000)
      await mate.call('release')
      assert.deepEqual(lock.holders(), [])
    }
  })

  it('names every one of several shared holders', async () => {
    const mates = await crew.processes(3)
    await Promise.all(mates.map((mate) => mate.call('acquire', at('data'), { mode: 'shared' })))
    const lock = new PsLock(at('data'))
    const own = await lock.acquire({ mode: 'shared' })
    assert.deepEqual(pids(lock, 'holding'), [process.pid, ...mates.map(({ pid }) => pid)].sort())
    own.release()
    assert.deepEqual(pids(lock, 'holding'), mates.map(({ pid }) => pid).sort())
    for (const holder of lock.holders()) assert.equal(holder.mode, 'shared')
  })

  it('names the holds and waits of this process, with the place of acquire', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const waiting = [lock.acquire({ mode: 'shared' }), lock.acquire({ mode: 'shared' })]
    await sleep(30)
    const holders = lock.holders()
    assert.deepEqual(
      holders.map(({ pid, mode, state }) => [pid, mode, state]),
      [
        [process.pid, 'exclusive', 'holding'],
        [process.pid, 'shared', 'waiting'],
        [process.pid, 'shared', 'waiting'],
      ],
    )
    for (const { sinceMs, command } of holders) {
      assert.ok(sinceMs !== undefined && sinceMs >= 20)
      assert.ok(command)
    }
    assert.match(holders[0]?.acquiredAt ?? '', /holders\.processes\.test\.[jt]s/)
    held.release()
    for (const one of await Promise.all(waiting)) one.release()
    assert.deepEqual(lock.holders(), [])
  })

  it('a nested hold is not a holder of its own', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => lock.exclusive(() => assert.equal(lock.holders().length, 1)))
  })

  it('names a waiter of another process', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    void mate.call('acquire', at('data'))
    await until('it is shown as waiting', () => pids(lock, 'waiting').includes(mate.pid))
    const waiter = lock.holders().find(({ state }) => state === 'waiting')
    assert.match(waiter?.command ?? '', /lock-worker\.[jt]s/)
    assert.equal(waiter?.mode, 'exclusive')
    held.release()
    await until('it is shown as holding', () => pids(lock, 'holding').includes(mate.pid))
    // It leaves the line when it has the lock: for a moment it is shown as both.
    await until('it is not shown as waiting', () => pids(lock, 'waiting').length === 0)
  })

  it('names every process that waits, in the order of the line, with mode and since when', async () => {
    const mates = await crew.processes(5)
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const granted: number[] = []
    const done: Promise<void>[] = []
    for (const [i, mate] of mates.entries()) {
      const mode = i % 2 === 0 ? 'exclusive' : 'shared'
      done.push(
        mate.call('acquire', at('data'), { mode }).then(() => {
          granted.push(mate.pid)
          return mate.call('release')
        }),
      )
      await until('it waits', () => lock.holders().some(({ pid }) => pid === mate.pid))
    }
    await sleep(50)
    const waiting = lock.holders().filter(({ state }) => state === 'waiting')
    assert.deepEqual(
      waiting.map(({ pid, mode }) => [pid, mode]),
      mates.map(({ pid }, i) => [pid, i % 2 === 0 ? 'exclusive' : 'shared']),
    )
    for (const { command, sinceMs } of waiting) {
      assert.match(command ?? '', /lock-worker\.[jt]s/)
      assert.ok(sinceMs !== undefined && sinceMs >= 40 && sinceMs < 20_000, String(sinceMs))
    }
    const sinces = waiting.map(({ sinceMs }) => sinceMs)
    assert.deepEqual(
      sinces,
      sinces.toSorted((a, b) => b! - a!),
    )
    held.release()
    await Promise.all(done)
    assert.deepEqual(
      granted,
      mates.map(({ pid }) => pid),
      'first come, first served',
    )
  })

  it('names who waits in the kernel too: flock(1)', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const child = spawn('flock', [at('data.lock'), 'true'], { stdio: 'ignore' })
    await until('it is shown as waiting', () => pids(lock, 'waiting').includes(child.pid))
    const waiter = lock.holders().find(({ state }) => state === 'waiting')
    assert.equal(waiter?.mode, 'exclusive')
    assert.match(waiter?.command ?? '', /^flock /)
    assert.equal(waiter?.sinceMs, undefined, 'the kernel does not tell, and nothing is guessed')
    held.release()
    await once(child, 'exit')
  })

  it('a shared waiter of another process is shown as shared', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    void mate.call('acquire', at('data'), { mode: 'shared' })
    await until('it is shown as waiting', () => pids(lock, 'waiting').includes(mate.pid))
    assert.equal(lock.holders().find(({ state }) => state === 'waiting')?.mode, 'shared')
    held.release()
  })

  it('kill -9 removes the holder and the waiter at once, notes or not', async () => {
    const [holder, waiter] = await crew.processes(2)
    const lock = new PsLock(at('data'))
    await holder!.call('acquire', at('data'))
    void waiter!.call('acquire', at('data'))
    await until('both are shown', () => lock.holders().length === 2)
    await waiter!.signal('SIGKILL')
    assert.deepEqual(pids(lock, 'waiting'), [])
    await holder!.signal('SIGKILL')
    assert.deepEqual(lock.holders(), [])
  })

  it('the age of a hold is its own, never that of an earlier hold of the same process', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    await mate.call('acquire', at('data'))
    await sleep(100)
    await mate.call('release')
    await sleep(600)
    // Busy from the first moment on, so that no timer of its can say since when it holds this time.
    const done = mate.call('acquireAndSpin', at('data'), 400, at('announce'))
    await until('it holds again', () => lock.holders().length > 0)
    const [holder] = lock.holders()
    assert.equal(holder?.pid, mate.pid)
    const shown = holder.sinceMs
    assert.ok(
      shown === undefined || shown < 450,
      `it holds for ${shown} ms, which is the age of the first hold`,
    )
    await done
  })

  it('who looks sees the present file, after the one it had open was deleted', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    unlinkSync(at('data.lock'))
    await mate.call('acquire', at('data'))
    assert.deepEqual(pids(lock, 'holding'), [mate.pid])
  })

  it('a worker thread that holds is shown with the pid of its process', async () => {
    const thread = await crew.thread()
    await thread.call('acquire', at('data'))
    assert.deepEqual(pids(new PsLock(at('data')), 'holding'), [process.pid])
  })

  it('no argument of a command line is ever written to disk', async () => {
    const secret = 'hunter2'
    const mate = await crew.process({ execArgv: [...process.execArgv, `--title=${secret}`] })
    await mate.call('acquire', at('data'))
    await sleep(80)
    assert.ok(!readFileSync(at('data.lock'), 'utf8').includes(secret))
    assert.match(new PsLock(at('data')).holders()[0]?.command ?? '', /./)
  })

  it('looking disturbs nobody', async () => {
    const mates = await crew.processes(2)
    const lock = new PsLock(at('data'))
    const work = mates.map((mate, i) =>
      mate.call('increment', at('data'), at('counter'), { times: 100, seed: i + 1 }),
    )
    let done = false
    const all = Promise.all(work).then(() => {
      done = true
    })
    while (!done) {
      lock.holders()
      await sleep(1)
    }
    await all
    assert.equal(JSON.parse(readFileSync(at('counter'), 'utf8')).count, 200)
  })
})
