import assert from 'node:assert/strict'
import { closeSync, constants, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { writeSlot } from '../../src/lock/wait-queue.ts'
import { monotonicMs } from '../../src/os/processes.ts'
import { ownWaker } from '../../src/os/wakeup.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsThere } from '../fixtures/must-block.ts'
import { openPipe } from '../fixtures/pipe.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

/** What is beside the lock file orders those who wait. Whatever somebody writes there, it neither locks nor frees. */
describe('nonsense in the turn file', () => {
  const crew = useCrew()
  const at = useFolder()
  const DOUBLES = [
    0,
    -1,
    1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.MAX_SAFE_INTEGER,
    Number.MAX_VALUE,
    1e-300,
  ]

  /** Bytes at random, or numbers at the edges of sense and near the clock that all share. */
  function noise(next: () => number): Buffer {
    const bytes = Buffer.alloc(8 * Math.ceil(next() * 64))
    for (let at = 0; at < bytes.length; at += 8) {
      const kind = next()
      const nowMs = Number(process.hrtime.bigint()) / 1e6
      if (kind < 0.3) bytes.writeDoubleLE(DOUBLES[Math.floor(next() * DOUBLES.length)] as number, at)
      else if (kind < 0.6) bytes.writeDoubleLE(nowMs + (next() - 0.5) * 4_000, at)
      else if (kind < 0.8) bytes.writeUInt32LE(Math.floor(next() * 70_000), at)
      else bytes.writeDoubleLE(Math.floor(next() * 1_000), at)
    }
    return bytes
  }

  const disturbances: [string, (fd: number, next: () => number) => void][] = [
    ['written over it', (fd, next) => writeSync(fd, noise(next), 0, undefined, Math.floor(next() * 20) * 8)],
    ['and cut off', (fd, next) => ftruncateSync(fd, Math.floor(next() * 400))],
    ['and blown up', (fd, next) => writeSync(fd, noise(next), 0, undefined, Math.floor(next() * 2 ** 20))],
  ]

  for (const [what, disturb] of disturbances) {
    it(`${what}: nothing is lost, and all go on`, async () => {
      const seed = newSeed()
      const next = random(seed)
      const mates = await crew.processes(4)
      const held = await new PsLock(at('data')).acquire()
      const work = mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 80, tasks: 2, seed: seed + i }),
      )
      await sleep(60)
      held.release()
      let done = false
      const finished = Promise.all(work).finally(() => {
        done = true
      })
      let times = 0
      while (!done) {
        // Made if it is not there, and not for appending: the place of what is written counts.
        const fd = openSync(at('data.lock.turn'), constants.O_RDWR | constants.O_CREAT)
        disturb(fd, next)
        closeSync(fd)
        times++
        await sleep(next() * 20)
      }
      await finished
      const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
      note(`seed ${seed}: disturbed ${times} times, ${handOvers} hand-overs`)
      assert.equal(count, 640)
      new PsLock(at('data')).tryAcquire()!.release()
    })
  }

  it('left by an earlier boot or a crash: a free lock is had within seconds, and nobody is shown to hold it', async () => {
    const seed = newSeed()
    const next = random(seed)
    note(`seed ${seed}`)
    for (let i = 0; i < 6; i++) {
      const fd = openSync(at('data.lock.turn'), 'w')
      for (let place = 0; place < 10; place++) writeSync(fd, noise(next))
      closeSync(fd)
      const lock = new PsLock(at('data'))
      await lock.exclusive(() => {}, { timeoutMs: 10_000 })
      assert.deepEqual(
        lock.holders().filter(({ state }) => state === 'holding'),
        [],
      )
      await lock.close()
      rmSync(at('data.lock.turn'))
    }
  })

  it("a place with another process's pipe for a waker: nothing is written into it, and who waits is woken", async function () {
    if (process.platform !== 'linux') this.skip()
    const pipe = await openPipe()
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const fd = openSync(at('data.lock.turn'), constants.O_RDWR | constants.O_CREAT)
    const wait = mate.call('acquire', at('data'))
    const blocked = await mustBlock('the mate', wait, { seen: waitsThere(mate, at('data')), quietMs: 80 })
    const ownMark = ownWaker(true)?.mark ?? 0
    for (const [i, mark] of [1, 2, 17, 18, 19, 20, 21, 22, ownMark].entries()) {
      const now = monotonicMs()
      const waker = { ...pipe.end, mark }
      // Before the mate, which has the ticket 1.
      writeSlot(fd, 1 + i, { ticket: (i + 1) / 100, seenMs: now, sinceMs: now, mode: 'exclusive', waker })
      const pid = Buffer.alloc(4)
      pid.writeUInt32LE(pipe.end.pid)
      writeSync(fd, pid, 0, 4, 64 * (2 + i) + 24)
    }
    await blocked.unblock(() => held.release())
    assert.equal(await pipe.close(), '')
    closeSync(fd)
    await mate.call('release')
    await lock.close()
  })
})
