import assert from 'node:assert/strict'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { seenIn, useMates } from '../../fixtures/dump-crew.ts'
import { openStore, type StoreKind } from '../../fixtures/dump-worker.ts'
import { until, useFolder } from '../../fixtures/folder.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

const ROUNDS = 10

/** Without a turn of the event loop: what is waited for lasts a few milliseconds. */
function spinUntil(condition: () => boolean): void {
  const end = performance.now() + 10_000
  while (!condition()) assert.ok(performance.now() < end, 'it does not come')
}

describe('kill -9', () => {
  const at = useFolder()
  const start = useMates()

  for (const kind of ['nedb', 'lowdb'] satisfies StoreKind[]) {
    it(`${kind}: in a dump leaves a whole copy, or none`, async () => {
      const seed = newSeed()
      const next = random(seed)
      const path = at('store')
      const store = await openStore(kind, path)
      for (let i = 0; i < 40; i++) await store.step()
      let temps = 0
      for (let round = 0; round < ROUNDS; round++) {
        const [mate] = await start(kind, path)
        const names = [`${round}-a`, `${round}-b`]
        void mate?.call('again', 'dump', ...names.map((name) => [at(name), { overwrite: true }]))
        await until('it dumps', () => readdirSync(at()).some((name) => name.includes(`${round}-`)))
        if (round % 2 === 0) await sleep(next() * 12)
        else spinUntil(() => readdirSync(at()).some((name) => name.startsWith(`.${round}-`)))
        await mate?.kill()
        for (const name of names) {
          if (existsSync(at(name)))
            assert.equal(await seenIn(kind, at(name)), 40, `seed ${seed}, round ${round}`)
        }
        if (readdirSync(at()).some((name) => name.startsWith(`.${round}-`))) temps++
      }
      assert.equal(await seenIn(kind, path), 40)
      await store.step()
      assert.equal(await seenIn(kind, path), 41)
      assert.ok(temps > 0, `seed ${seed}: no kill came in the middle of a dump`)
      note(`seed ${seed}: ${temps} of ${ROUNDS} kills came in the middle of a dump`)
      await store.close()
    })

    it(`${kind}: in a restore leaves the old content or the new one`, async () => {
      const seed = newSeed()
      const next = random(seed)
      const path = at('store')
      const store = await openStore(kind, path)
      for (let i = 1; i <= 60; i++) {
        await store.step()
        if (i % 30 === 0) await store.dump(at(`dump-${i}`))
      }
      const originals = new Set<number>()
      let asides = 0
      for (let round = 0; round < ROUNDS; round++) {
        const [mate] = await start(kind, path)
        const kept = () => readdirSync(at()).filter((name) => name.includes('before-restore')).length
        const before = kept()
        const { ino } = statSync(path)
        void mate?.call('again', 'restore', [at('dump-30')], [at('dump-60')])
        await until('it restores', () => statSync(path).ino !== ino)
        if (round % 2 === 0) await sleep(next() * 12)
        else spinUntil(() => kept() > before)
        await mate?.kill()
        const seen = await seenIn(kind, path)
        assert.ok(seen === 30 || seen === 60, `seed ${seed}, round ${round}: ${seen}`)
        originals.add(seen)
        if (kept() > before) asides++
      }
      await store.step()
      assert.ok([31, 61].includes(await seenIn(kind, path)))
      assert.ok(asides > 0, `seed ${seed}: no kill came in the middle of a restore`)
      note(
        `seed ${seed}: ${asides} of ${ROUNDS} kills came in the middle of a restore; seen ${[...originals]}`,
      )
      await store.close()
    })
  }
})
