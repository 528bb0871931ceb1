import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { StaleWriteError } from '../../../src/errors.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { assertNoOrphans, fileOf } from '../../fixtures/lowdb-tools.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

interface Data {
  n: number
  hot: number
  log: string[]
  records: { id: string; by: number }[]
}

/** One user of a store, who knows what must have become of each thing it did. */
class User {
  readonly db: LockedLow<Data>
  readonly name: number
  /** In memory, not yet acknowledged. */
  unsaved: string[] = []
  stale = 0
  increments = 0
  #made = 0

  constructor(path: string, name: number) {
    this.db = new LockedLow<Data>(path, { n: 0, hot: 0, log: [], records: [] })
    this.name = name
  }

  /** One random step. `saved` takes what was acknowledged. */
  async step(next: () => number, saved: Set<string>): Promise<void> {
    const { db } = this
    const dice = next()
    const name = `${this.name}.${++this.#made}`
    if (dice < 0.25) {
      if (next() < 0.5) db.data.log.push(name)
      else db.data.records.push({ id: name, by: this.name })
      this.unsaved.push(name)
      // Two users who both change this place cannot both be right.
      if (next() < 0.5) db.data.hot++
      return
    }
    if (dice < 0.35) {
      await db.read()
      this.unsaved = []
      return
    }
    const pending = this.unsaved
    try {
      if (dice < 0.6) await db.write()
      else if (dice < 0.7) {
        await assert.rejects(
          db.update((data) => {
            data.log.length = 0
            data.n = -1
            throw new RangeError('undone')
          }),
          (error) => error instanceof RangeError || error instanceof StaleWriteError,
        )
        return
      } else {
        await db.update(async (data) => {
          if (next() < 0.5) await new Promise(setImmediate)
          data.n++
          data.log.push(name)
        })
        saved.add(name)
        this.increments++
      }
      for (const one of pending) saved.add(one)
      this.unsaved = []
    } catch (error) {
      assert.ok(error instanceof StaleWriteError, String(error))
      this.stale++
      for (const one of pending)
        assert.ok(JSON.stringify(db.data).includes(`"${one}"`), `${one} is lost from memory`)
      if (next() < 0.5) {
        await db.read()
        this.unsaved = []
      }
    }
  }
}

describe('lowdb under random use', () => {
  const at = useFolder()

  it('everything that was acknowledged is in the file once, and nothing that was undone or dropped', async () => {
    const seed = newSeed()
    const next = random(seed)
    writeFileSync(at('db.json'), '{"n":0,"hot":0,"log":[],"records":[]}')
    const users = Array.from({ length: 4 }, (_, i) => new User(at('db.json'), i))
    const saved = new Set<string>()
    await Promise.all(
      users.map(async (user) => {
        await user.db.read()
        for (let i = 0; i < 150; i++) await user.step(next, saved)
      }),
    )
    const { n, log, records } = fileOf<Data & Record<string, unknown>>(at('db.json'))
    const there = [...log, ...records.map(({ id }) => id)]
    const stale = users.reduce((sum, user) => sum + user.stale, 0)
    note(`seed ${seed}: ${there.length} things of 4 users, ${n} increments, ${stale} refusals`)
    assert.deepEqual(there.sort(), [...saved].sort(), `seed ${seed}`)
    assert.equal(
      n,
      users.reduce((sum, user) => sum + user.increments, 0),
      `seed ${seed}`,
    )
    assert.ok(stale > 0, 'the refusals must occur, too')
    assertNoOrphans(at('db.json'))
  })
})
