import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LockHolder } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { asset } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere, waitsThere } from '../fixtures/must-block.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** Somebody sets the time of the machine. No wait, no hold and no turn depends on the wall clock. */
describe('a wall clock that jumps by days', () => {
  const crew = useCrew()
  const at = useFolder()
  const clock = ['--import', asset('jumping-clock.mjs')]
  const jumper = () => crew.process({ execArgv: [...process.execArgv, ...clock] })

  it('does jump: else these tests prove nothing', async () => {
    const mate = await jumper()
    const looks = [await mate.call('wallClock'), await mate.call('wallClock'), await mate.call('wallClock')]
    assert.ok(Math.abs(looks[0]! - looks[1]!) > 86_400_000, String(looks))
    assert.ok(Math.abs(looks[1]! - looks[2]!) > 86_400_000, String(looks))
  })

  it('a waiter waits as long as it said, neither less nor for ever', async () => {
    const mate = await jumper()
    const held = await new PsLock(at('data')).acquire()
    for (const command of ['acquire', 'acquireSync'] as const) {
      const asked = performance.now()
      const error = await mate.call(command, at('data'), { timeoutMs: 300 }).then(
        () => assert.fail('it got the lock'),
        (thrown) => thrown,
      )
      const tookMs = performance.now() - asked
      assert.equal(error.code, 'PSLOCK_TIMEOUT')
      assert.ok(error.waitedMs >= 290 && error.waitedMs <= tookMs, `${error.waitedMs} of ${tookMs} ms`)
      assert.ok(tookMs < 10_000, `it took ${tookMs} ms`)
    }
    held.release()
  })

  it('a waiter gets the lock when it is free, and not before', async () => {
    const mate = await jumper()
    const held = await new PsLock(at('data')).acquire()
    const wait = mate.call('acquire', at('data'))
    const blocked = await mustBlock('the mate', wait, { seen: waitsThere(mate, at('data')), quietMs: 150 })
    await blocked.unblock(() => held.release())
  })

  it('a holder is not robbed, whatever its note says, and no age is negative', async () => {
    const mate = await jumper()
    await mate.call('acquire', at('data'))
    // Long enough for a note of the hold to be left, by that clock.
    await sleep(80)
    const lock = new PsLock(at('data'))
    const blocked = await mustBlock('we', lock.acquire(), { seen: waitsHere(lock), quietMs: 150 })
    const [holder] = lock.holders() as [LockHolder]
    assert.equal(holder.pid, mate.pid)
    assert.ok(holder.sinceMs === undefined || holder.sinceMs >= 0, `since ${holder.sinceMs}`)
    for (const { sinceMs } of await mate.call('holders', at('data'))) {
      assert.ok(sinceMs === undefined || (sinceMs >= 0 && sinceMs < 60_000), `its own age is ${sinceMs}`)
    }
    ;(await blocked.unblock(() => mate.call('release'))).release()
  })

  it('a crowd with such clocks and honest ones loses nothing, and all get their turns', async () => {
    const seed = newSeed()
    const mates = await Promise.all([jumper(), jumper(), crew.process(), crew.process()])
    await Promise.all(
      mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 100, tasks: 2, seed: seed + i }),
      ),
    )
    const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
    note(`seed ${seed}: ${handOvers} hand-overs`)
    assert.equal(count, 800)
    const turns = await Promise.all(
      mates.map((mate) => mate.call('contend', at('data'), { forMs: 800, holdMs: 1 })),
    )
    note(`turns: ${turns.map((result) => result.turns).join(', ')}`)
    for (const result of turns) assert.ok(result.turns >= 10, `only ${result.turns} turns`)
  })
})
