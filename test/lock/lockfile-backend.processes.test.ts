import assert from 'node:assert/strict'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { lockSync } from 'proper-lockfile'
import { ClosedError, LockLostError, LockTimeoutError, LockUnsupportedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { LockFolder } from '../../src/lock/lockfile-backend.ts'
import type { PsLockOptions } from '../../src/lock/options.ts'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { staysPending, until, useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** The shortest that proper-lockfile allows. */
const STALE_MS = 2_000
const LOCKFILE = { backend: 'lockfile', staleMs: STALE_MS } as const
/** A process whose locks are of this kind; a long `staleMs` where a slow machine must not make somebody stale. */
const withStale = (staleMs: number) => ({
  env: { ...process.env, LOCK_WORKER_OPTIONS: JSON.stringify({ backend: 'lockfile', staleMs }) },
})
const worker = withStale(STALE_MS)
const slowWorker = withStale(30_000)
const lost = { isPsLockError: true, code: 'PSLOCK_LOST' }

/** The backend for file systems without flock: what it promises, what it reports, and how it ends. */
describe('lockfile backend', () => {
  const crew = useCrew()
  const at = useFolder()
  const lockOn = (options: PsLockOptions = {}) => new PsLock(at('data'), { ...LOCKFILE, ...options })

  /** Ends by itself: no crash on the way, and nothing that keeps it. */
  async function assertEndsClean(mate: LockProcess): Promise<void> {
    const exited = once(mate.child, 'exit')
    mate.child.disconnect()
    assert.deepEqual(await exited, [0, null])
  }

  it('is a folder of the name of the lock file while it is held, and nothing afterwards', async () => {
    const lock = lockOn()
    assert.equal(lock.path, at('data.lock'))
    assert.equal(await lock.exclusive(() => statSync(at('data.lock')).isDirectory()), true)
    assert.deepEqual(readdirSync(at()), [])
    assert.equal(
      lock.exclusiveSync(() => existsSync(at('data.lock'))),
      true,
    )
    assert.deepEqual(readdirSync(at()), [])
    await lock.close()
  })

  it('re-enters, times out with an unknown holder, and is busy as a value', async () => {
    const mate = await crew.process(worker)
    await mate.call('acquire', at('data'))
    const lock = lockOn({ timeoutMs: 50 })
    assert.equal(lock.tryAcquire(), undefined)
    const holders = [
      { pid: undefined, command: undefined, mode: 'exclusive', sinceMs: undefined, state: 'holding' },
    ] as const
    await assert.rejects(
      lock.exclusive(() => assert.fail('it ran')),
      (error) => {
        assert.ok(error instanceof LockTimeoutError)
        assert.deepEqual(
          error.holders.filter(({ state }) => state === 'holding'),
          holders,
        )
        return true
      },
    )
    await mate.call('release')
    assert.equal(await lock.exclusive(() => lock.exclusive(() => lock.shared(() => 'in'))), 'in')
    assert.deepEqual(lock.holders(), [])
    const held = await lock.acquire()
    assert.deepEqual(
      lock.holders().map(({ pid }) => pid),
      [process.pid],
    )
    held.release()
  })

  it('takes shared as exclusive between processes', async () => {
    const mate = await crew.process(worker)
    await mate.call('acquire', at('data'), { mode: 'shared' })
    assert.equal(lockOn().tryAcquire({ mode: 'shared' }), undefined)
    await mate.call('release')
    lockOn().tryAcquire({ mode: 'shared' })!.release()
  })

  it('who waits where no line can be stood in asks ever more seldom', async () => {
    mkdirSync(at('data.lock.turn'))
    const mate = await crew.process(slowWorker)
    await mate.call('acquire', at('data'))
    const { tryLock } = LockFolder.prototype
    let asked = 0
    LockFolder.prototype.tryLock = function (this: LockFolder) {
      asked++
      return tryLock.call(this)
    }
    try {
      await assert.rejects(lockOn().acquire({ timeoutMs: 1500 }), LockTimeoutError)
    } finally {
      LockFolder.prototype.tryLock = tryLock
    }
    note(`asked ${asked} times in 1.5 s`)
    assert.ok(asked > 3 && asked < 80, `${asked}`)
  })

  it('8 processes count exactly', async () => {
    const seed = newSeed()
    const mates = await crew.processes(8, slowWorker)
    await Promise.all(
      mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 25, seed: seed + i }),
      ),
    )
    const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
    note(`seed ${seed}: ${count} increments, ${handOvers} hand-overs`)
    assert.equal(count, 200)
    assert.ok(handOvers >= 20, 'they did contend')
    assert.equal(existsSync(at('data.lock')), false)
  })

  it('is excluded by a worker thread of the same process', async () => {
    process.env.LOCK_WORKER_OPTIONS = worker.env.LOCK_WORKER_OPTIONS
    try {
      const thread = await crew.thread()
      await thread.call('acquire', at('data'))
      assert.equal(lockOn().tryAcquire(), undefined)
      await thread.call('release')
      lockOn().tryAcquire()!.release()
    } finally {
      delete process.env.LOCK_WORKER_OPTIONS
    }
  })

  it('after kill -9 the next one gets it once it is stale, and not before', async () => {
    const mate = await crew.process(worker)
    await mate.call('acquire', at('data'))
    await mate.signal('SIGKILL')
    const dead = performance.now()
    const waiting = lockOn().acquire()
    assert.ok(await staysPending(waiting, 500), 'a dead holder looks like a silent one')
    const held = await waiting
    note(`in after ${Math.round(performance.now() - dead)} ms`)
    held.release()
    assert.equal(existsSync(at('data.lock')), false)
  })

  it('of several that take over one dead lock in the same millisecond one gets it', async () => {
    const paths = Array.from({ length: 40 }, (_, i) => at(`data-${i}`))
    for (const path of paths) {
      mkdirSync(`${path}.lock`)
      utimesSync(`${path}.lock`, 1, 1)
    }
    const mates = await crew.processes(6, slowWorker)
    const startMs = Date.now() + 300
    const got = await Promise.all(mates.map((mate) => mate.call('askAt', paths, startMs, 25)))
    note(`taken over by each: ${got.map((names) => names.length).join(', ')}`)
    assert.deepEqual(got.flat().sort(), [...paths].sort(), 'each by one')
    assert.ok(got.filter((names) => names.length > 0).length > 1, 'by several processes')
    await Promise.all(mates.flatMap((mate, i) => (got[i] ?? []).map((name) => mate.call('release', name))))
    assert.deepEqual(readdirSync(at()), [], 'and nothing is left behind')
  })

  it('a living holder is not robbed, however long it holds', async () => {
    const staleMs = 4_000
    const mate = await crew.process(withStale(staleMs))
    await mate.call('acquire', at('data'))
    const waiting = lockOn({ staleMs }).acquire()
    assert.ok(await staysPending(waiting, 1.5 * staleMs))
    await mate.call('release')
    ;(await waiting).release()
  })

  it('excludes, and is excluded by, proper-lockfile itself', async () => {
    writeFileSync(at('data'), '')
    const release = lockSync(at('data'))
    const mate = await crew.process(slowWorker)
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    release()
    assert.equal(await mate.call('tryAcquire', at('data')), true)
    assert.throws(() => lockSync(at('data')), { code: 'ELOCKED' })
    await mate.call('release')
    lockSync(at('data'))()
  })

  for (const mode of ['exclusive', 'shared'] as const) {
    it(`a holder stopped for too long: its ${mode}() rejects with LockLostError, and it does not crash`, async () => {
      const mate = await crew.process(worker)
      const inside = mate.call('stayInside', at('data'), mode, at('announce'))
      await until('it is inside', () => existsSync(at('announce')))
      await mate.signal('SIGSTOP')
      const successor = await lockOn().acquire()
      await mate.signal('SIGCONT')
      assert.ok(await staysPending(inside, 1500), 'reported once its callback has settled')
      await mate.call('finish')
      await assert.rejects(inside, lost)
      assert.ok(existsSync(at('data.lock')), "the successor's lock is left alone")
      assert.equal(lockOn().tryAcquire(), undefined)
      successor.release()
      await mate.call('acquire', at('data'))
      await mate.call('release')
      await assertEndsClean(mate)
    })
  }

  it('a held lock says so: its signal aborts, and release() throws, once', async () => {
    const mate = await crew.process(worker)
    await mate.call('acquire', at('data'))
    assert.equal(await mate.call('lossOf'), undefined)
    await mate.signal('SIGSTOP')
    const successor = await lockOn().acquire()
    await mate.signal('SIGCONT')
    await until('its heartbeat has told it', () => mate.call('lossOf'))
    await assert.rejects(mate.call('release'), lost)
    assert.equal(successor.signal.aborted, false)
    successor.release()
    await assertEndsClean(mate)
  })

  it('a holder that was busy for too long finds out before it gives back what is not its own', async () => {
    const mate = await crew.process(worker)
    const busy = mate.call('acquireAndSpin', at('data'), STALE_MS + 4_000, at('announce'))
    await until('it holds', () => existsSync(at('announce')))
    const successor = await lockOn().acquire()
    await assert.rejects(busy, lost)
    assert.ok(existsSync(at('data.lock')), "the successor's lock is left alone")
    const other = await crew.process(worker)
    assert.equal(await other.call('tryAcquire', at('data')), false)
    successor.release()
  })

  it('a robbed holder that exits leaves the lock of its successor', async () => {
    const mate = await crew.process(worker)
    await mate.call('acquire', at('data'))
    const exited = once(mate.child, 'exit')
    void mate.call('spinThenExit', STALE_MS + 4_000, 3)
    const successor = await lockOn().acquire()
    assert.equal(mate.child.exitCode, null, 'it was robbed while it was busy')
    assert.deepEqual(await exited, [3, null])
    assert.ok(existsSync(at('data.lock')))
    successor.release()
  })

  for (const [how, end] of [
    ['process.exit', (mate: LockProcess) => void mate.call('exit', 3)],
    ['SIGTERM', (mate: LockProcess) => mate.signal('SIGTERM')],
  ] as const) {
    it(`${how} under a hold ends the process at once and frees the lock`, async () => {
      const mate = await crew.process(worker)
      await mate.call('acquire', at('data'))
      const exited = once(mate.child, 'exit')
      await end(mate)
      const expected = how === 'SIGTERM' ? [null, 'SIGTERM'] : [3, null]
      assert.deepEqual(await exited, expected)
      assert.equal(existsSync(at('data.lock')), false)
    })
  }

  it('a lock folder that somebody removed is a loss too', async () => {
    const lock = lockOn()
    await assert.rejects(
      lock.exclusive(() => rmdirSync(at('data.lock'))),
      LockLostError,
    )
    assert.throws(() => lock.exclusiveSync(() => rmdirSync(at('data.lock'))), LockLostError)
    const held = await lock.acquire()
    await assert.rejects(
      held.run(() => rmdirSync(at('data.lock'))),
      LockLostError,
    )
    await assert.rejects(
      held.run(() => assert.fail('it ran')),
      LockLostError,
      'nothing more runs in a hold that is lost',
    )
    assert.throws(() => held.release(), LockLostError)
    held.release()
    await assert.rejects(
      held.run(() => {}),
      ClosedError,
    )
    assert.equal(await lock.exclusive(() => 'in'), 'in', 'the next hold is a new one')
  })

  it('so is one that was replaced within the same millisecond', async () => {
    const lock = lockOn()
    const replace = () => {
      rmdirSync(at('data.lock'))
      mkdirSync(at('data.lock'))
    }
    await assert.rejects(lock.exclusive(replace), LockLostError)
    assert.ok(existsSync(at('data.lock')), 'what is there now is not ours to remove')
  })

  it('LockLostError carries the error of proper-lockfile, and of the callback where it threw as well', async () => {
    const lock = lockOn()
    const broken = new Error('broken')
    const losing = lock.exclusive(() => {
      rmdirSync(at('data.lock'))
      throw broken
    })
    await assert.rejects(losing, (error) => {
      assert.ok(error instanceof LockLostError && error.cause instanceof AggregateError)
      const [cause, thrown] = error.cause.errors
      assert.equal(cause.code, 'ECOMPROMISED')
      assert.equal(thrown, broken)
      return true
    })
  })

  it('who joins readers that have lost the lock is refused before it runs', async () => {
    const lock = lockOn()
    const held = await lock.acquire({ mode: 'shared' })
    rmdirSync(at('data.lock'))
    await until('its heartbeat has told it', () => held.signal.aborted)
    await assert.rejects(
      lock.shared(() => assert.fail('it ran')),
      LockLostError,
    )
    await assert.rejects(lock.acquire({ mode: 'shared' }), LockLostError)
    assert.throws(() => held.release(), LockLostError)
    assert.equal(await lock.shared(() => 'in'), 'in')
  })

  it('a lock folder with something in it can be had by nobody, and everybody is told', async () => {
    const lock = lockOn()
    const ending = lock.exclusive(() => writeFileSync(at('data.lock/junk'), ''))
    const waiting = lock.exclusive(() => 'in', { timeoutMs: 100 })
    await assert.rejects(ending, LockLostError)
    await assert.rejects(waiting, LockTimeoutError)
    utimesSync(at('data.lock'), 1, 1)
    const told = { code: 'PSLOCK_IO', path: at('data.lock'), message: /something in it/ }
    await assert.rejects(lock.acquire(), told)
    rmSync(at('data.lock/junk'))
    utimesSync(at('data.lock'), 1, 1)
    assert.equal(await lock.exclusive(() => 'in'), 'in')
  })

  it('a lock folder that may not be removed is an error of the hold that ends', async function () {
    if (process.getuid?.() !== 0) this.skip()
    chmodSync(at(), 0o777)
    const mate = await crew.process({ ...worker, uid: 65534, gid: 65534 })
    await mate.call('acquire', at('data'))
    chmodSync(at(), 0o755)
    await assert.rejects(mate.call('release'), { code: 'PSLOCK_IO', message: /EACCES/ })
    await assert.rejects(mate.call('acquire', at('other')), { code: 'PSLOCK_IO', message: /lockPath/ })
    await assertEndsClean(mate)
  })

  it('the two kinds refuse each other, between processes', async () => {
    const flocked = await crew.process()
    await flocked.call('acquire', at('data'))
    const refused = (path: string) => ({ code: 'PSLOCK_UNSUPPORTED', path })
    await assert.rejects(lockOn().acquire(), { ...refused(at('data.lock')), message: /flock.*remove/s })
    assert.throws(() => lockOn().tryAcquire(), LockUnsupportedError)
    await flocked.call('release')
    await assert.rejects(lockOn().acquire(), refused(at('data.lock')))

    const foldered = await crew.process(worker)
    await foldered.call('acquire', at('other'))
    await assert.rejects(new PsLock(at('other')).acquire(), {
      ...refused(at('other.lock')),
      message: /folder.*lockfile/s,
    })
    assert.equal(new PsLock(at('other')).holders().length, 1, 'and are not shown as free')
    await foldered.call('release')
  })

  it('and within one process, also with another staleMs', async () => {
    const flock = new PsLock(at('data'))
    const held = await flock.acquire()
    await assert.rejects(lockOn().acquire(), {
      code: 'PSLOCK_UNSUPPORTED',
      message: /this very process.*flock/s,
    })
    held.release()
    const [one, two] = [new PsLock(at('b'), LOCKFILE), new PsLock(at('b'), { backend: 'lockfile' })]
    await one.exclusive(() => {})
    await assert.rejects(two.acquire(), {
      code: 'PSLOCK_UNSUPPORTED',
      message: /staleMs 10000.*staleMs 2000/s,
    })
    await one.close()
    await two.exclusive(() => {})
  })

  it('wrong options are TypeErrors that show them', () => {
    const make = (options: object) => () => new PsLock(at('data'), options)
    assert.throws(make({ backend: 'mkdir' }), /TypeError.*"mkdir"/)
    assert.throws(make({ staleMs: 5000 }), /TypeError.*lockfile.*5000/)
    for (const staleMs of [0, 1999, Number.NaN, Number.POSITIVE_INFINITY, '5000'])
      assert.throws(make({ backend: 'lockfile', staleMs }), TypeError)
  })

  it('a lock that is not held keeps no process alive, and loads nothing', async () => {
    const mate = await crew.process(worker)
    await mate.call('holders', at('data'))
    assert.equal(await mate.call('signalListeners'), 0)
    await mate.call('acquire', at('data'))
    await sleep(10)
    await mate.call('release')
    await assertEndsClean(mate)
  })
})
