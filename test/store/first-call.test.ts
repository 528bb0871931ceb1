import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import type Vanilla from '@seald-io/nedb'
import VanillaPromises from 'nedb-promises'
import { nedbAdapter } from '../../adapters/nedb.ts'
import { nedbPromisesAdapter } from '../../adapters/nedb-promises.ts'
import { LockedDb } from '../../src/index.ts'
import { useFolder } from '../fixtures/folder.ts'

const Nedb = createRequire(import.meta.url)('@seald-io/nedb') as typeof Vanilla.default

interface Doc {
  _id: string
}

/** What a store is asked for may be a transaction or a view before anything else was: it must not wait for itself. */
describe('the first call of a store under LockedDb', () => {
  const at = useFolder()

  for (const [what, autoload] of [
    ['that loads itself', true],
    ['that is loaded afterwards', false],
  ] as const) {
    const open = () => {
      const path = at(`${what}.db`)
      return new LockedDb(new Nedb<Doc>({ filename: path, autoload }), { adapter: nedbAdapter, path })
    }
    const opened = async <T>(ask: (db: ReturnType<typeof open>) => Promise<T>): Promise<T> => {
      const db = open()
      const asked = ask(db)
      if (!autoload) await db.loadDatabaseAsync()
      try {
        return await asked
      } finally {
        await db.close()
      }
    }

    it(`a NeDB store ${what}: a transaction, a view, a rollback, a table`, async () => {
      await opened((db) => db.transaction((tx) => tx.insertAsync({ _id: 'a' })))
      assert.deepEqual(await opened((db) => db.view((tx) => tx.findAsync({}))), [{ _id: 'a' }])
      assert.equal(await opened((db) => db.rollbackAfter((tx) => tx.removeAsync({ _id: 'a' }, {}))), 1)
      assert.equal(await opened((db) => db.view((tx) => tx.countAsync({}))), 1)
      await opened((db) => db.table<{ n: number }>('t').create({ n: 'number' }))
      assert.deepEqual(await opened((db) => db.table<{ n: number }>('t').select()), [])
    })
  }

  it('a nedb-promises store: a view, and what comes after it', async () => {
    const path = at('promises.db')
    const open = () => new LockedDb(VanillaPromises.create(path), { adapter: nedbPromisesAdapter, path })
    const first = open()
    assert.equal(await first.view((tx) => tx.count({})), 0)
    await first.insert({ _id: 'a' })
    await first.close()
    const second = open()
    assert.equal(await second.transaction((tx) => tx.count({})), 1)
    await second.close()
    const third = open()
    assert.equal(await third.rollbackAfter((tx) => tx.remove({ _id: 'a' }, {})), 1)
    assert.equal(await third.count({}), 1)
    await third.close()
  })
})
