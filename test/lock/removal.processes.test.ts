import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { LockedDatastore } from '../../adapters/nedb-promises.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** close({ remove: true }): no lock file stays behind, and none of two processes ends up with a lock of its own. */
describe('removal of the lock file', () => {
  const crew = useCrew()
  const at = useFolder()
  const locks = () => readdirSync(at()).filter((name) => name.includes('.lock'))

  it('by each of several processes after each hold: the count is exact, and nothing is left', async () => {
    const seed = newSeed()
    const mates = await crew.processes(4)
    const run = (i: number, how: 'exclusive' | 'sync', times: number) =>
      mates[i]!.call('incrementAndRemove', at('data'), at('counter'), { times, how, seed: seed + i })
    // And one whose lock stays open, so that it finds the file removed under its hands.
    const work = [
      run(0, 'exclusive', 100),
      run(1, 'exclusive', 100),
      run(2, 'sync', 200),
      mates[3]!.call('increment', at('data'), at('counter'), { times: 100, tasks: 2, seed }),
    ]
    await Promise.all(work)
    const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
    note(`seed ${seed}: ${handOvers} hand-overs`)
    assert.equal(count, 600)
    assert.ok(handOvers > 20, `${handOvers} hand-overs show nothing`)
    await new PsLock(at('data')).close({ remove: true })
    assert.deepEqual(locks(), [])
  })

  for (const mode of ['exclusive', 'shared'] as const) {
    it(`leaves a lock that another process holds (${mode}), for that one to remove`, async () => {
      const mate = await crew.process()
      await mate.call('acquire', at('data'), { mode })
      const lock = new PsLock(at('data'))
      if (mode === 'shared') lock.sharedSync(() => {})
      await lock.close({ remove: true })
      assert.deepEqual(locks(), ['data.lock'])
      await mate.call('release')
      await mate.call('close', at('data'), { remove: true })
      assert.deepEqual(locks(), [])
    })
  }

  it('leaves one that another PsLock of this process holds, and that one goes on', async () => {
    const [one, other] = [new PsLock(at('data')), new PsLock(at('data'))]
    await one.exclusive(() => {})
    const held = await other.acquire()
    await one.close({ remove: true })
    assert.ok(existsSync(at('data.lock')))
    const mate = await crew.process()
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    held.release()
    assert.equal(await mate.call('tryAcquire', at('data')), true)
  })

  it('leaves one that somebody waits for, who gets it', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const mate = await crew.process()
    const waiting = mate.call('acquire', at('data'))
    await until('it waits', () => lock.holders().some(({ state }) => state === 'waiting'))
    const closed = lock.close({ remove: true })
    held.release()
    await closed
    await waiting
    const other = new PsLock(at('data'))
    assert.equal(other.tryAcquire(), undefined)
    await mate.call('release')
    other.tryAcquire()!.release()
  })

  it('one that is idle in another lock of this process is made anew by its next use', async () => {
    const idle = new PsLock(at('data'))
    await idle.exclusive(() => {})
    await new PsLock(at('data')).close({ remove: true })
    assert.deepEqual(locks(), [])
    const mate = await crew.process()
    await idle.exclusive(async () => assert.equal(await mate.call('tryAcquire', at('data')), false))
    assert.equal(await mate.call('tryAcquire', at('data')), true)
  })

  it('comes after a close without it, and after a lock that was never used', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    await lock.close()
    assert.deepEqual(locks(), ['data.lock'])
    await lock.close({ remove: true })
    await new PsLock(at('data')).close({ remove: true })
    assert.deepEqual(locks(), [])
  })

  it('leaves the file of another program that has this name', async () => {
    writeFileSync(at('yarn.lock'), 'somebody else')
    const lock = new PsLock(at('yarn.lock'))
    await lock.exclusive(() => {})
    await lock.close({ remove: true })
    assert.equal(readFileSync(at('yarn.lock'), 'utf8'), 'somebody else')
  })

  it('follows lockPath', async () => {
    mkdirSync(at('locks'))
    const lock = new PsLock(at('data'), { lockPath: at('locks/one') })
    await lock.exclusive(() => {})
    await lock.close({ remove: true })
    assert.deepEqual(readdirSync(at('locks')), [])
  })

  it('of every store', async () => {
    const nedb = new LockedNedb<object>({ filename: at('nedb'), autoload: true })
    await nedb.insertAsync({})
    await nedb.close({ remove: true })
    const promises = LockedDatastore.create(at('promises'))
    await promises.insert({})
    await promises.close({ remove: true })
    const low = new LockedLow<{ n: number }>(at('low'), { n: 0 }, { journal: true })
    await low.update((data) => void data.n++)
    await low.close({ remove: true })
    const sync = new LockedLowSync<{ n: number }>(at('sync'), { n: 0 })
    sync.update((data) => void data.n++)
    await sync.close({ remove: true })
    assert.deepEqual(readdirSync(at()).sort(), ['low', 'nedb', 'promises', 'sync'])
    await using again = LockedDatastore.create(at('promises'))
    assert.equal(await again.count({}), 1)
  })

  it('a wrong option is a TypeError that closes nothing', async () => {
    const lock = new PsLock(at('data'))
    await assert.rejects(lock.close({ remove: 1 as unknown as boolean }), /remove must be a boolean, got 1/)
    await lock.exclusive(() => {})
  })
})
