import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

/** Law 6: dead holders free, stopped holders keep. */
describe('death and standstill', () => {
  const crew = useCrew()
  const at = useFolder()

  it('kill -9 of the holder lets the next one in at once', async () => {
    const lock = new PsLock(at('data'))
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const mate = await crew.process()
      await mate.call('acquire', at('data'))
      const waiting = lock.acquire()
      assert.ok(await staysPending(waiting, 40))
      await mate.signal('SIGKILL')
      const dead = performance.now()
      const held = await waiting
      times.push(performance.now() - dead)
      held.release()
    }
    note(`in after ${times.map((ms) => ms.toFixed(1)).join(', ')} ms`)
    assert.ok(Math.min(...times) < 100, `no age, no heartbeat is waited for: ${times}`)
  })

  it('kill -9 of a shared holder lets a writer in', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'), { mode: 'shared' })
    const writing = new PsLock(at('data')).exclusive(() => 'in')
    assert.ok(await staysPending(writing))
    await mate.signal('SIGKILL')
    assert.equal(await writing, 'in')
  })

  it('kill -9 of a waiter leaves nothing behind', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    void mate.call('acquire', at('data'), { timeoutMs: 20_000 })
    await sleep(100)
    await mate.signal('SIGKILL')
    assert.equal(lock.holders().length, 1)
    held.release()
    const other = await crew.process()
    await other.call('acquire', at('data'), { timeoutMs: 5000 })
  })

  it('a stopped holder is not robbed, however long it is stopped', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    await mate.signal('SIGSTOP')
    const waiting = new PsLock(at('data')).acquire()
    assert.ok(await staysPending(waiting, 1500))
    await mate.signal('SIGCONT')
    assert.ok(await staysPending(waiting, 100), 'awake again, it holds as before')
    await mate.call('release')
    ;(await waiting).release()
  })

  it('a busy holder is not robbed', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const spun = mate.call('spin', 1000)
    const waiting = new PsLock(at('data')).acquire()
    assert.ok(await staysPending(waiting, 700))
    await spun
    await mate.call('release')
    ;(await waiting).release()
  })

  it('a stopped waiter does not stop the others, whoever has the turn', async () => {
    const held = await new PsLock(at('data')).acquire()
    // One after the other, so that the first of them is the owner of the turn when it is stopped.
    const stopped = await crew.processes(3)
    for (const mate of stopped) {
      void mate.call('acquire', at('data'), { timeoutMs: 60_000 })
      await sleep(60)
    }
    await Promise.all(stopped.map((mate) => mate.signal('SIGSTOP')))
    const others = await crew.processes(2)
    const work = others.map((mate) => mate.call('contend', at('data'), { forMs: 1000, holdMs: 1 }))
    await sleep(50)
    held.release()
    const results = await Promise.all(work)
    note(`turns beside three stopped waiters: ${results.map(({ turns }) => turns).join(', ')}`)
    for (const { turns } of results) assert.ok(turns >= 10, `only ${turns} turns in a second`)
  })

  it('a stopped waiter gets the lock after it goes on', async () => {
    const held = await new PsLock(at('data')).acquire()
    const mate = await crew.process()
    const waiting = mate.call('acquire', at('data'))
    await sleep(60)
    await mate.signal('SIGSTOP')
    held.release()
    await sleep(100)
    new PsLock(at('data')).tryAcquire()!.release()
    await mate.signal('SIGCONT')
    await waiting
  })

  it('a child process started inside a hold does not inherit it', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const child = await mate.call('spawnSleeper')
    try {
      await mate.signal('SIGKILL')
      assert.equal(process.kill(child, 0), true, 'the child outlives its parent')
      new PsLock(at('data')).tryAcquire()!.release()
    } finally {
      process.kill(child, 'SIGKILL')
    }
  })

  it('a terminated worker thread frees its lock', async () => {
    const thread = await crew.thread()
    await thread.call('acquire', at('data'))
    const waiting = new PsLock(at('data')).acquire()
    assert.ok(await staysPending(waiting))
    await thread.worker.terminate()
    ;(await waiting).release()
  })

  it('after seeded kills at any moment the survivors go on', async () => {
    const seed = newSeed()
    const next = random(seed)
    const mates = await crew.processes(5)
    const work = mates.map((mate) => mate.call('contend', at('data'), { forMs: 1500 }).catch(() => undefined))
    await sleep(200)
    for (const mate of mates.slice(0, 3)) {
      await sleep(50 + next() * 200)
      await mate.signal('SIGKILL')
    }
    const survivors = (await Promise.all(work)).filter((result) => result !== undefined)
    note(`seed ${seed}: turns of the survivors: ${survivors.map(({ turns }) => turns).join(', ')}`)
    assert.equal(survivors.length, 2)
    for (const { turns } of survivors) assert.ok(turns > 100)
    // What a killed one keeps is kept from both; a busy machine lets one of them alone wait.
    assert.ok(Math.min(...survivors.map(({ longestMs }) => longestMs)) < 1000)
    new PsLock(at('data')).tryAcquire()!.release()
  })
})
