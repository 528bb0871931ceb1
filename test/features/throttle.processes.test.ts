import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { LockedNedb } from '../../adapters/nedb.ts'
import { type ThrottleOptions, throttle } from '../../src/index.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, until, useFolder } from '../fixtures/folder.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { note } from '../fixtures/random.ts'
import { isStopped, stoppedBefore } from '../fixtures/stopped.ts'
import type { ThrottledCommands } from '../fixtures/throttled-worker.ts'
import { type PeerProcess, usePeers } from '../harness/peer.ts'

/** One write, then none for longer than any test takes, and none is delayed. */
const ONE: ThrottleOptions = { writesPerSecond: 1e-3, maxDelayMs: 0 }

describe('throttle, in several processes', () => {
  const at = useFolder()
  const crew = useCrew()
  const nedb = () => new LockedNedb<{ n?: number }>({ filename: at('a.db'), autoload: true })

  const start = usePeers<ThrottledCommands>('throttled-worker')

  /** Processes with a throttle each, on one file; ready. */
  const processes = (count: number, options: ThrottleOptions) =>
    start([at('a.db'), JSON.stringify(options)], count)

  /** Has each of them insert as many at once. */
  async function flood(peers: readonly PeerProcess<ThrottledCommands>[], each: number) {
    const reports = await Promise.all(peers.map((peer) => peer.call('insert', each)))
    return {
      done: reports.reduce((sum, { done }) => sum + done, 0),
      failures: reports.flatMap(({ failures }) => failures),
    }
  }

  const lines = () => readFileSync(at('a.db'), 'utf8').split('\n').filter(Boolean).length

  it('a delayed write does not hold the lock, and no process waits for it', async () => {
    await using db = nedb()
    const [other] = await Promise.all([crew.process(), db.countAsync({})])
    const abort = new AbortController()
    db.use(throttle({ writesPerSecond: 1e-3, maxDelayMs: Number.POSITIVE_INFINITY }))
    await db.insertAsync({ n: 1 })
    const delayed = failing(() => db.transaction(() => {}, { signal: abort.signal }))
    assert.ok(await staysPending(delayed, 30), 'it did not wait')
    assert.ok(await other.call('tryAcquire', at('a.db')), 'the lock is held')
    abort.abort(new Error('given up'))
    assert.match(String(await delayed), /given up/)
  })

  it('per store: all processes together are as slow as one would be', async () => {
    const children = await processes(4, { writesPerSecond: 100, per: 'store' })
    const since = performance.now()
    const { done, failures } = await flood(children, 15)
    const tookMs = performance.now() - since
    note(`60 writes of 4 processes took ${tookMs.toFixed(0)} ms`)
    assert.deepEqual([done, failures], [60, []])
    assert.ok(tookMs >= 59 * 10 - 5, 'they were not delayed')
    assert.equal(lines(), 60)
  })

  it('per store: of what all processes try exactly as much is written as is allowed', async () => {
    const children = await processes(4, { ...ONE, burst: 7, per: 'store' })
    const { done, failures } = await flood(children, 5)
    assert.deepEqual([done, failures], [7, Array(13).fill('PSLOCK_THROTTLED')])
    assert.equal(lines(), 7)
  })

  it('per store: who has made the file of the turns, and was slow, overwrites nothing in it', async () => {
    const options: ThrottleOptions = { ...ONE, burst: 3, per: 'store' }
    await using db = nedb()
    await db.insertAsync({})
    const [quick] = await processes(1, options)
    const [slow] = await start([at('a.db'), JSON.stringify(options)], 1, stoppedBefore('write {"pid":0,'))
    const ofSlow = slow!.call('insert', 5)
    await isStopped(slow!.pid)
    assert.ok(existsSync(at('a.db.lock.throttle')), 'it was stopped somewhere else')
    const ofQuick = quick!.call('insert', 5)
    await staysPending(ofQuick, 300)
    await slow!.signal('SIGCONT')
    const reports = await Promise.all([ofSlow, ofQuick])
    assert.equal(reports[0].done + reports[1].done, 3)
    assert.equal(lines(), 1 + 3)
  })

  it('per process: each has its own allowance', async () => {
    const children = await processes(4, { ...ONE, burst: 2 })
    const { done } = await flood(children, 5)
    assert.equal(done, 8)
    assert.equal(lines(), 8)
    assert.ok(!existsSync(at('a.db.lock.throttle')))
  })

  it('per store: kill -9 while it is delayed costs its turn, and nothing else', async () => {
    const [victim, other] = await processes(2, { writesPerSecond: 20, per: 'store' })
    void victim!.call('insert', 10)
    await until('one of its writes is done', () => lines() > 0)
    await victim!.kill()
    const before = lines()
    const { done } = await flood([other!], 2)
    assert.equal(done, 2)
    assert.equal(lines(), before + 2)
  })
})
