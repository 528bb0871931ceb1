import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { type LockProcess, type LockThread, useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere, waitsThere } from '../fixtures/must-block.ts'

/** A worker thread is a party of its own: it excludes the others of its process, and its death frees what it had. */
describe('worker threads', () => {
  const crew = useCrew()
  const at = useFolder()

  const parties: [string, () => Promise<LockThread | LockProcess>][] = [
    ['another thread', () => crew.thread()],
    ['another process', () => crew.process()],
  ]

  for (const [who, start] of parties) {
    it(`exclusive in a thread excludes shared and exclusive in ${who}, in both directions`, async () => {
      for (const [first, second] of [
        [await crew.thread(), await start()],
        [await start(), await crew.thread()],
      ] as const) {
        await first.call('acquire', at('data'))
        for (const mode of ['shared', 'exclusive'] as const) {
          assert.equal(await second.call('tryAcquire', at('data'), { mode, as: 'no' }), false)
        }
        const wait = second.call('acquire', at('data'), { mode: 'shared' })
        const blocked = await mustBlock('the second', wait, { seen: waitsThere(second, at('data')) })
        await blocked.unblock(() => first.call('release'))
        assert.equal(await first.call('tryAcquire', at('data')), false, 'shared excludes exclusive')
        assert.equal(await first.call('tryAcquire', at('data'), { mode: 'shared' }), true)
        await Promise.all([first.call('release'), second.call('release')])
      }
    })
  }

  it('a thread and the main thread of its process exclude each other', async () => {
    const thread = await crew.thread()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const wait = thread.call('acquire', at('data'))
    const there = await mustBlock('the thread', wait, { seen: waitsThere(thread, at('data')) })
    await there.unblock(() => held.release())
    const here = await mustBlock('the main thread', lock.acquire(), { seen: waitsHere(lock) })
    ;(await here.unblock(() => thread.call('release'))).release()
  })

  it('terminated while it waits, it leaves nothing behind: no hold, no turn, and the others go on', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const [dying, living] = await Promise.all([crew.thread(), crew.thread()])
    const first = dying.call('acquire', at('data'))
    await mustBlock('the dying thread', first, { seen: waitsThere(dying, at('data')) })
    const second = living.call('acquire', at('data'))
    const blocked = await mustBlock('the living thread', second, { seen: waitsThere(living, at('data')) })
    const asked = performance.now()
    await dying.worker.terminate()
    assert.ok(performance.now() - asked < 5_000, 'terminate() does not wait for the lock')
    await assert.rejects(first, /ended before/)
    blocked.stillBlocked()
    await blocked.unblock(() => held.release())
    assert.equal(lock.tryAcquire(), undefined)
    await living.call('release')
    lock.tryAcquire()!.release()
  })

  it('terminated in a blocking wait, it ends too', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const thread = await crew.thread()
    const wait = thread.call('acquireSync', at('data'), { timeoutMs: 60_000 })
    await mustBlock('the thread', wait, { quietMs: 150 })
    const asked = performance.now()
    await thread.worker.terminate()
    assert.ok(performance.now() - asked < 5_000, 'terminate() does not wait for the lock')
    await assert.rejects(wait, /ended before/)
    held.release()
    await (await crew.process()).call('acquire', at('data'), { timeoutMs: 10_000 })
  })

  it('terminated while it holds, also in the middle of a blocking hold, it frees the lock', async () => {
    const lock = new PsLock(at('data'))
    for (const command of ['acquire', 'acquireSync', 'tryAcquire'] as const) {
      const thread = await crew.thread()
      await thread.call(command, at('data'))
      if (command === 'acquireSync') void thread.call('spin', 60_000)
      const blocked = await mustBlock('the main thread', lock.acquire(), { seen: waitsHere(lock) })
      ;(await blocked.unblock(() => thread.worker.terminate())).release()
    }
  })

  it('a thread that ends by itself with a hold frees it: by its end, process.exit() or a throw', async () => {
    const lock = new PsLock(at('data'))
    for (const how of ['exit', 'throw'] as const) {
      const thread = await crew.thread()
      thread.worker.on('error', () => {})
      await thread.call('acquire', at('data'))
      const blocked = await mustBlock('the main thread', lock.acquire(), { seen: waitsHere(lock) })
      ;(await blocked.unblock(() => void thread.call('endThread', how))).release()
    }
  })

  it('the end of a thread frees no hold but its own', async () => {
    const mate = await crew.process()
    const [one, two] = await Promise.all([crew.thread(), crew.thread()])
    const mine = await new PsLock(at('mine')).acquire()
    await one.call('acquire', at('its'))
    const shared = await new PsLock(at('both')).acquire({ mode: 'shared' })
    await Promise.all(
      [one, two].map((thread) => thread.call('acquire', at('both'), { as: 'both', mode: 'shared' })),
    )
    await two.worker.terminate()
    for (const name of ['mine', 'its', 'both']) {
      assert.equal(await mate.call('tryAcquire', at(name), { as: 'no' }), false, name)
    }
    await one.worker.terminate()
    assert.equal(await mate.call('tryAcquire', at('its')), true)
    assert.equal(await mate.call('tryAcquire', at('both'), { as: 'no' }), false)
    shared.release()
    assert.equal(await mate.call('tryAcquire', at('both'), { as: 'both' }), true)
    mine.release()
  })

  it('twelve threads that come and go beside each other, some of them terminated, leave a free lock', async () => {
    const threads = await Promise.all(Array.from({ length: 12 }, () => crew.thread()))
    // Each has loaded what it needs by then: to terminate a thread that loads native code is another matter.
    await Promise.all(threads.map((thread) => thread.call('contend', at('data'), { forMs: 300 })))
    const work = threads.map((thread) =>
      thread.call('contend', at('data'), { forMs: 3000 }).catch(() => undefined),
    )
    for (const thread of threads.slice(0, 6)) {
      await sleep(60)
      await thread.worker.terminate()
    }
    const survivors = (await Promise.all(work)).filter((result) => result !== undefined)
    assert.equal(survivors.length, 6)
    for (const { turns } of survivors) assert.ok(turns > 0, 'a survivor never got in')
    new PsLock(at('data')).tryAcquire()!.release()
  })
})
