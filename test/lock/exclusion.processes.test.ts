import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** Law 1. The work is a counter file that is read, and written after a pause: two at once lose an increment. */
describe('exclusion', () => {
  const crew = useCrew()
  const at = useFolder()

  function counted(operations: number, seed: number): number {
    const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8')) as Record<string, number>
    note(`seed ${seed}: ${count} of ${operations} increments kept, ${handOvers} hand-overs`)
    return count!
  }

  it('the work of these tests does lose updates without the lock', async () => {
    const seed = newSeed()
    const mates = await crew.processes(4)
    await Promise.all(
      mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 200, how: 'unlocked', seed: seed + i }),
      ),
    )
    let kept = 0
    try {
      kept = counted(800, seed)
    } catch (error) {
      // Two writes at once can leave a file that is no JSON any more: then all is lost.
      assert.ok(error instanceof SyntaxError, String(error))
    }
    assert.ok(kept < 800, 'the test proves nothing where nothing collides')
  })

  it('processes that increment under the lock lose nothing', async () => {
    const seed = newSeed()
    const mates = await crew.processes(4)
    await Promise.all(
      mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 200, seed: seed + i }),
      ),
    )
    assert.equal(counted(800, seed), 800)
  })

  it('async tasks of several processes exclude each other', async () => {
    const seed = newSeed()
    const mates = await crew.processes(3)
    await Promise.all(
      mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 40, tasks: 6, seed: seed + i }),
      ),
    )
    assert.equal(counted(720, seed), 720)
  })

  it('the blocking and the asynchronous forms exclude each other', async () => {
    const seed = newSeed()
    const mates = await crew.processes(4)
    await Promise.all(
      mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), {
          times: 150,
          how: i % 2 === 0 ? 'sync' : 'exclusive',
          seed: seed + i,
        }),
      ),
    )
    assert.equal(counted(600, seed), 600)
  })

  it('worker threads exclude each other, the main thread and other processes', async () => {
    const seed = newSeed()
    const mates = await Promise.all([crew.thread(), crew.thread(), crew.process()])
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const work = mates.map((mate, i) =>
      mate.call('increment', at('data'), at('counter'), { times: 100, tasks: 2, seed: seed + i }),
    )
    for (const mate of mates) assert.equal(await mate.call('tryAcquire', at('data'), { as: 'no' }), false)
    held.release()
    await Promise.all(work)
    assert.equal(counted(600, seed), 600)
  })

  it('several PsLocks and tasks of one process exclude each other', async () => {
    let inside = 0
    let most = 0
    let runs = 0
    await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        new PsLock(at('data')).exclusive(async () => {
          most = Math.max(most, ++inside)
          for (let turn = 0; turn <= i % 3; turn++) await new Promise(setImmediate)
          inside--
          runs++
        }),
      ),
    )
    assert.deepEqual({ most, runs }, { most: 1, runs: 60 })
  })

  it('different files do not wait for each other', async () => {
    const mate = await crew.process()
    const held = await new PsLock(at('one')).acquire()
    assert.equal(await mate.call('tryAcquire', at('two')), true)
    assert.equal(await mate.call('tryAcquire', at('one'), { as: 'no' }), false)
    held.release()
  })
})
