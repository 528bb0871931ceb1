import assert from 'node:assert/strict'
import { closeSync, existsSync, openSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { readQueue } from '../../src/lock/wait-queue.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { note } from '../fixtures/random.ts'

/** Law 7: waiting costs nobody else anything. libuv's pool has four threads; 50 waiters must hold none of them. */
describe('polite waiting', () => {
  const crew = useCrew()
  const at = useFolder()
  const turnFile = () => `${at('data')}.lock.turn`

  /** 50 waiters on one lock and 10 on locks of their own, all held by another process. */
  async function crowd(): Promise<{ ended: Promise<PromiseSettledResult<unknown>[]> }> {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const waits: Promise<unknown>[] = []
    const timeoutMs = 3000
    for (let i = 0; i < 10; i++) {
      await mate.call('acquire', at(`data${i}`), { as: `held${i}` })
      waits.push(new PsLock(at(`data${i}`)).acquire({ timeoutMs }))
    }
    for (let i = 0; i < 50; i++) waits.push(new PsLock(at('data')).acquire({ timeoutMs }))
    const ended = Promise.allSettled(waits)
    await sleep(100)
    return { ended }
  }

  it('files are read as quickly as ever beside 60 waiters', async () => {
    await writeFile(at('other'), 'x'.repeat(1000))
    await crowd()
    const times: number[] = []
    for (let i = 0; i < 50; i++) {
      const asked = performance.now()
      await Promise.all(Array.from({ length: 8 }, () => readFile(at('other'))))
      times.push(performance.now() - asked)
      await sleep(5)
    }
    times.sort((a, b) => a - b)
    note(`8 reads at once: median ${times[25]?.toFixed(1)} ms, longest ${times[49]?.toFixed(1)} ms`)
    assert.ok(times[25]! < 100, `the median of 8 reads was ${times[25]} ms`)
    assert.ok(times[49]! < 2000, `8 reads took ${times[49]} ms`)
  })

  it('the event loop turns beside 60 waiters, and they cost little processor time', async () => {
    await crowd()
    const delay = monitorEventLoopDelay({ resolution: 5 })
    delay.enable()
    const before = process.cpuUsage()
    const started = performance.now()
    let turns = 0
    while (performance.now() - started < 1000) {
      await new Promise(setImmediate)
      await sleep(1)
      turns++
    }
    const { user, system } = process.cpuUsage(before)
    const share = (user + system) / 1000 / (performance.now() - started)
    delay.disable()
    const median = delay.percentile(50) / 1e6
    note(
      `${turns} turns a second, median delay ${median.toFixed(1)} ms, ${(share * 100).toFixed(0)}% of a core`,
    )
    assert.ok(turns > 100, `only ${turns} turns in a second`)
    assert.ok(median < 50, `the event loop is delayed by ${median} ms`)
    assert.ok(share < 0.7, `waiting used ${share} of a core`)
  })

  it('all waiters are answered: each times out by itself', async () => {
    const { ended } = await crowd()
    for (const result of await ended) {
      assert.equal(result.status, 'rejected')
      assert.equal(result.status === 'rejected' && result.reason.code, 'PSLOCK_TIMEOUT')
    }
  })

  it('a process with waiters uses no more descriptors than two files a lock and the pipe that wakes it, and no thread', async () => {
    const mate = await crew.process()
    const holder = await crew.process()
    await holder.call('acquire', at('data'))
    const before = { open: await mate.call('openDescriptors'), threads: await mate.call('threads') }
    for (let i = 0; i < 100; i++) void mate.call('acquire', at('data'), { as: `held${i}`, timeoutMs: 300 })
    await sleep(150)
    // Of the doorbell there are both ends of a pipe, and the mark that says whose it is.
    assert.ok((await mate.call('openDescriptors')) <= before.open + 5)
    assert.ok((await mate.call('threads')) <= before.threads + 1, 'no thread is parked')
  })

  it('thirty waiting processes cost next to nothing', async () => {
    const holder = await crew.process()
    await holder.call('acquire', at('data'))
    const mates = await crew.processes(30)
    for (const mate of mates) void mate.call('acquire', at('data'))
    // What a wait costs at its beginning is not what is measured here.
    await sleep(1500)
    const usage = () => Promise.all(mates.map((mate) => mate.call('cpuMs')))
    const before = await usage()
    const started = performance.now()
    await sleep(3000)
    const after = await usage()
    const usedMs = after.reduce((sum, ms, i) => sum + ms - before[i]!, 0)
    const share = usedMs / (performance.now() - started)
    note(`30 waiting processes used ${(share * 100).toFixed(1)}% of a core`)
    assert.ok(share < 0.3, `30 waiting processes used ${share} of a core`)
  })

  it('the first in line, which will be rung, does not look again and again', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const looks: number[] = []
    for (let i = 0; i < 3; i++) {
      const held = await lock.acquire()
      const granted = mate.call('grantedAt', at('data'))
      const seen = new Set<number>()
      for (let since = Number.POSITIVE_INFINITY; performance.now() - since < 150; ) {
        const fd = existsSync(turnFile()) ? openSync(turnFile(), 'r') : undefined
        const waiter = fd === undefined ? undefined : readQueue(fd).slots[0]
        if (fd !== undefined) closeSync(fd)
        if (waiter) {
          since = Math.min(since, performance.now())
          seen.add(waiter.seenMs)
        }
        await new Promise(setImmediate)
      }
      held.release()
      await granted
      looks.push(seen.size)
    }
    note(`looks in 150 ms: ${looks.join(' ')}`)
    // At its first wait it makes its waker; from then on it has one.
    assert.ok(looks[2]! <= 12, `${looks[2]} looks in 150 ms`)
  })

  it('a waiter is woken by the release: it does not find out by asking now and then', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const delays: number[] = []
    for (let i = 0; i < 15; i++) {
      const held = await lock.acquire()
      const granted = mate.call('grantedAt', at('data'))
      // By now it asks every 25 ms at most.
      await sleep(250)
      const released = Number(process.hrtime.bigint()) / 1e6
      held.release()
      delays.push((await granted) - released)
    }
    delays.sort((a, b) => a - b)
    note(`handed over after ${delays.map((ms) => ms.toFixed(1)).join(' ')} ms`)
    assert.ok(delays[7]! < 5, `the median is ${delays[7]} ms`)
  })
})
