import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { until } from '../../fixtures/folder.ts'
import { temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'

interface Index {
  insert(docs: object | object[]): void
}

const Index = createRequire(import.meta.url)('@seald-io/nedb/lib/indexes.js') as { prototype: Index }

describe('the index work of many inserts', () => {
  const file = temporaryFolder()
  const warned = warnings()
  const { insert } = Index.prototype
  let indexed = 0
  beforeEach(() => {
    indexed = 0
    Index.prototype.insert = function (docs) {
      if (!Array.isArray(docs)) indexed++
      insert.call(this, docs)
    }
  })
  afterEach(() => {
    Index.prototype.insert = insert
  })

  const COUNT = 8000
  const docs = () => Array.from({ length: COUNT }, (_, n) => ({ n }))
  const open = () => new LockedNedb<{ _id?: string; n: number }>({ filename: file('a.db'), autoload: true })

  for (const [how, fill] of Object.entries({
    'one insert of many': (db: ReturnType<typeof open>) => db.insertAsync(docs() as never),
    'many at once': (db: ReturnType<typeof open>) => Promise.all(docs().map((doc) => db.insertAsync(doc))),
    'one after the other': async (db: ReturnType<typeof open>) => {
      for (const doc of docs()) await db.insertAsync(doc)
    },
  })) {
    it(`is done while nothing happens, not by the first find: ${how}`, async () => {
      await using db = open()
      await db.autoloadPromise
      await fill(db)
      assert.ok(indexed < COUNT / 4, `${indexed} were indexed beside the inserts`)
      await until('all are in the index', () => indexed === COUNT)
      await db.findAsync({ n: 1 })
      assert.equal(await db.countAsync({}), COUNT)
      assert.equal(indexed, COUNT)
      assert.deepEqual(warned(), [])
    })
  }

  it('does not go on after close(), nor beside what is undone', async () => {
    const db = open()
    await db.insertAsync({ _id: 'first', n: -1 })
    const undone = db.transaction(async () => {
      await db.insertAsync(docs() as never)
      await until('some are in the index', () => indexed > 100)
      throw new Error('undone')
    })
    await assert.rejects(undone, /undone/)
    assert.deepEqual(await db.findAsync({}), [{ _id: 'first', n: -1 }])
    await db.insertAsync(docs() as never)
    await db.close()
    const before = indexed
    await sleep(100)
    assert.equal(indexed, before)
    await using other = open()
    assert.equal(await other.countAsync({}), COUNT + 1)
  })
})
