import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { agreed, STORES, seenIn, useMates } from '../../fixtures/dump-crew.ts'
import { openStore, PAUSE_MS } from '../../fixtures/dump-worker.ts'
import { until, useFolder } from '../../fixtures/folder.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

/** PSLOCK_LONG=1: 50 of them. */
const WRITERS = process.env.PSLOCK_LONG === '1' ? 50 : 4
/** In a fair crowd every look at the store waits for all the others. */
const ROUNDS = WRITERS > 4 ? 5 : 10

/** Dumps and restores of a store that processes write to meanwhile. */
describe('in a crowd', () => {
  const at = useFolder()
  const start = useMates()

  for (const kind of STORES) {
    it(`${kind}: every dump is one state, of everything that was acknowledged, while processes write on`, async function () {
      this.timeout(60_000 + WRITERS * 2_000)
      const seed = newSeed()
      const next = random(seed)
      const path = at('store')
      const mates = await start(kind, path, WRITERS)
      const store = await openStore(kind, path)
      await store.step()
      // However many they are, the file grows as fast.
      await Promise.all(mates.map((mate) => mate.call('work', (PAUSE_MS * WRITERS) / 4)))
      let last = 0
      let moved = 0
      // Until there were new steps often enough: on a busy machine the writers may need more time for one.
      for (let round = 0; round < ROUNDS || moved <= ROUNDS / 3; round++) {
        await sleep(next() * 5 * WRITERS)
        const before = agreed(await store.tally())
        await store.dump(at(`dump-${round}`))
        const seen = await seenIn(kind, at(`dump-${round}`))
        assert.ok(seen >= before, `seed ${seed}: ${before} steps were acknowledged, the dump has ${seen}`)
        assert.ok(seen >= last)
        if (seen > last) moved++
        last = seen
      }
      const steps = await Promise.all(mates.map((mate) => mate.call('rest')))
      assert.equal(await seenIn(kind, path), 1 + steps.reduce((a, b) => a + b), 'the writers lost something')
      assert.ok(
        steps.every((count) => count > 0),
        'somebody did not write',
      )
      note(`seed ${seed}: ${moved} dumps found new steps, ${steps} steps`)
      await store.close()
    })

    it(`${kind}: a restore is seen by every process at its next call, and nothing is mixed`, async () => {
      const path = at('store')
      const mates = await start(kind, path, 3)
      const store = await openStore(kind, path)
      for (let i = 0; i < 3; i++) await store.step()
      await store.dump(at('three'))
      // A blocking store must not be asked beside a restore of its own process.
      const writers = mates.slice(1)
      await Promise.all(writers.map((mate) => mate.call('work')))
      for (let round = 0; round < 6; round++) {
        await until('the writers are beyond the dump', async () => agreed(await store.tally()) > 5)
        if (round % 2 === 0) await store.restore(at('three'))
        else await mates[0]?.call('restore', at('three'))
        assert.ok(agreed(await store.tally()) >= 3)
      }
      await Promise.all(writers.map((mate) => mate.call('rest')))
      await store.step()
      await mates[0]?.call('restore', at('three'))
      for (const mate of mates) assert.equal(agreed(await mate.call('tally')), 3)
      assert.equal(agreed(await store.tally()), 3)
      await mates[1]?.call('step')
      assert.equal(agreed(await store.tally()), 4)
      assert.equal(await seenIn(kind, path), 4)
      assert.deepEqual(
        readdirSync(at()).filter((name) => name.includes('restore')),
        [],
        'what was kept aside is not needed any more',
      )
      await store.close()
    })

    it(`${kind}: a restore gives back the very bytes`, async () => {
      const path = at('store')
      const store = await openStore(kind, path)
      await store.step()
      await store.dump(at('one'))
      const before = readFileSync(path, 'utf8')
      await store.step()
      await store.restore(at('one'))
      assert.equal(readFileSync(path, 'utf8'), before)
      await store.close()
    })
  }
})
