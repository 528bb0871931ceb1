import assert from 'node:assert/strict'
import { appendFileSync, chmodSync, existsSync, statSync, utimesSync } from 'node:fs'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { type ImageAdapter, LockedDb, LockLostError } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
}

/** touch, chmod, chown, a backup that sets times: the content is the same, and no operation may fail of it. */
describe('a data file that is touched while an operation runs', () => {
  const at = useFolder()
  const path = () => at('db.json')
  const count = (data: Data) => void data.n++

  /** What `touch` and `chmod -R` do, to the journal too. */
  function touch(): void {
    for (const file of [path(), `${path()}.journal`]) {
      if (!existsSync(file)) continue
      utimesSync(file, 1, 1)
      chmodSync(file, (statSync(file).mode & 0o777) ^ 0o040)
    }
  }

  for (const journal of [false, true]) {
    describe(journal ? 'with a journal' : 'without a journal', () => {
      let db: LockedLow<Data>
      beforeEach(async () => {
        db = new LockedLow<Data>(path(), { n: 0 }, { journal })
        for (let i = 0; i < 3; i++) await db.update(count)
      })
      afterEach(() => db.close())

      const touching = (data: Data) => {
        touch()
        data.n++
      }
      const cases: [string, () => Promise<unknown>][] = [
        ['an update', () => db.update(touching)],
        ['a transaction', () => db.transaction(() => touching(db.data))],
        ['an optimistic transaction', () => db.transaction(() => touching(db.data), { retry: 0 })],
        ['updates in one batch', () => Promise.all([db.update(touching), db.update(() => touch())])],
        ['a hold', () => db.lock.exclusive(() => db.update(touching))],
      ]
      for (const [name, run] of cases) {
        it(`${name} is carried out`, async () => {
          await run()
          await db.update(touching)
          assert.equal(db.data.n, 5)
          const other = new LockedLow<Data>(path(), { n: 0 })
          await other.read()
          assert.equal(other.data.n, 5)
          await other.close()
          await db.checkpoint()
          assert.equal(fileOf<Data>(path()).n, 5)
        })
      }

      it('but one that was written meanwhile is not overwritten', async () => {
        const written = db.update((data) => {
          appendFileSync(path(), ' ')
          data.n++
        })
        await assert.rejects(written, LockLostError)
        if (journal) {
          await assert.rejects(db.read(), { code: 'PSLOCK_STALE_WRITE' })
          await db.read()
          assert.equal(db.data.n, 1)
        } else {
          await db.update(count)
          assert.equal(db.data.n, 4)
        }
      })
    })
  }

  it('does not fail a blocking update, or one that is larger than 64 KB', () => {
    const db = new LockedLowSync<Data & { text?: string }>(path(), { n: 0 })
    for (const text of ['', 'x'.repeat(100_000), '']) {
      db.update((data) => {
        touch()
        data.n++
        data.text = text
      })
    }
    assert.equal(fileOf<Data>(path()).n, 3)
  })

  it('does not fail a store with an image adapter', async () => {
    const adapter: ImageAdapter<{ n: number; add(): void }> = {
      family: 'image',
      name: 'counter',
      methods: { add: 'write' },
      load: (store, text) => void Object.assign(store, { n: Number(text ?? 0) }),
      save: ({ n }) => String(n),
    }
    const store = {
      n: 0,
      add() {
        touch()
        this.n++
      },
    }
    const db = new LockedDb(store, { adapter, path: path() })
    for (let i = 0; i < 3; i++) await db.add()
    await db.transaction(() => db.add(), { retry: 0 })
    assert.equal(fileOf<number>(path()), 4)
    await db.close()
  })
})
