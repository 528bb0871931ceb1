import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { idsOf, recordsOf, seenByVanilla, temporaryFolder } from '../../fixtures/nedb-tools.ts'

interface Session {
  _id: string
  at?: Date
  n?: number
}

describe('expiring documents (TTL indexes)', () => {
  const file = temporaryFolder()
  const open = () => new LockedNedb<Session>({ filename: file('a.db'), autoload: true })
  const past = new Date(Date.now() - 5000)
  const soon = new Date(Date.now() + 600_000)

  async function filled(): Promise<LockedNedb<Session>> {
    const db = open()
    await db.ensureIndexAsync({ fieldName: 'at', expireAfterSeconds: 1 })
    await db.insertAsync([{ _id: 'old', at: past }, { _id: 'live', at: soon }, { _id: 'for ever' }])
    return db
  }

  it('are hidden from reads, which write nothing', async () => {
    await using db = await filled()
    const before = statSync(file('a.db'), { bigint: true })
    assert.equal(await db.countAsync({}), 2)
    assert.deepEqual(idsOf(await db.findAsync({})), ['for ever', 'live'])
    assert.equal(await db.findOneAsync({ _id: 'old' }), null)
    assert.deepEqual(await db.findAsync({ at: past }), [])
    const after = statSync(file('a.db'), { bigint: true })
    assert.deepEqual([after.size, after.mtimeNs], [before.size, before.mtimeNs])
  })

  it('one that expires during a view, or a transaction, stays to its end in what that reads', async () => {
    await using db = open()
    await db.ensureIndexAsync({ fieldName: 'at', expireAfterSeconds: 0 })
    const looks = async () => {
      const counts = [await db.countAsync({}), (await db.findAsync({})).length]
      await setTimeout(450)
      return [
        ...counts,
        await db.countAsync({}),
        (await db.findAsync({})).length,
        await db.countAsync({ _id: 'soon' }),
      ]
    }
    const all = [2, 2, 2, 2, 1]
    for (const around of [
      () => db.view(looks),
      () => db.transaction(looks),
      () => db.transaction(looks, { retry: 1 }),
    ]) {
      await db.insertAsync([{ _id: 'soon', at: new Date(Date.now() + 400) }, { _id: 'for ever' }])
      assert.deepEqual(await around(), all)
      assert.equal(await db.countAsync({}), 1)
      await db.removeAsync({}, { multi: true })
    }
  })

  it('are deleted by the next write that comes across them', async () => {
    await using db = await filled()
    await db.updateAsync({}, { $set: { n: 1 } }, { multi: true })
    assert.ok(recordsOf(file('a.db')).some((doc) => doc._id === 'old' && doc.$$deleted === true))
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['for ever', 'live'])
  })

  it('expire in every store of the file, also those that never ensured the index', async () => {
    await using _ = await filled()
    await using other = open()
    assert.equal(await other.countAsync({}), 2)
  })

  it('expire after a reload and after compactions', async () => {
    await using db = await filled()
    await db.compactDatafileAsync()
    assert.match(readFileSync(file('a.db'), 'utf8'), /"expireAfterSeconds":1/)
    await using other = open()
    await other.loadDatabaseAsync()
    await other.loadDatabaseAsync()
    await other.insertAsync({ _id: 'new', at: past })
    assert.deepEqual(idsOf(await other.findAsync({})), ['for ever', 'live'])
    await using third = open()
    assert.equal(await third.countAsync({}), 2)
  })

  it('expire when the index is ensured after the load, though the file has it already', async () => {
    await using plain = open()
    await plain.ensureIndexAsync({ fieldName: 'at' })
    await plain.insertAsync([
      { _id: 'old', at: past },
      { _id: 'live', at: soon },
    ])
    assert.equal(await plain.countAsync({}), 2)
    await using db = open()
    await db.loadDatabaseAsync()
    await db.ensureIndexAsync({ fieldName: 'at', expireAfterSeconds: 0 })
    assert.equal(await db.countAsync({}), 1)
    assert.equal(await plain.countAsync({}), 1)
  })

  for (const unique of [false, true]) {
    it(`expire when an index that is ${unique ? '' : 'not '}unique is ensured otherwise, which it stays for all`, async () => {
      await using one = open()
      await one.ensureIndexAsync({ fieldName: 'at', unique })
      await using two = open()
      await one.insertAsync([{ _id: 'a', at: soon }, ...(unique ? [] : [{ _id: 'b', at: soon }])])
      await one.ensureIndexAsync({ fieldName: 'at', unique: !unique, expireAfterSeconds: 3600 })
      for (const [_id, store] of Object.entries({ one, two })) {
        const again = store.insertAsync({ _id, at: soon })
        await (unique ? assert.rejects(again, { errorType: 'uniqueViolated' }) : again)
      }
      await two.insertAsync({ _id: 'old', at: new Date(Date.now() - 7_200_000) })
      await using three = open()
      for (const store of [one, two, three]) assert.equal(await store.countAsync({}), unique ? 1 : 4)
    })
  }

  it('stay once the index is removed, in every store', async () => {
    await using db = await filled()
    await using other = open()
    assert.equal(await other.countAsync({}), 2)
    await db.removeIndexAsync('at')
    await db.insertAsync({ _id: 'old too', at: past })
    assert.equal(await db.countAsync({ _id: 'old too' }), 1)
    assert.equal(await other.countAsync({ _id: 'old too' }), 1)
    await db.compactDatafileAsync()
    await using third = open()
    assert.equal(await third.countAsync({ _id: 'old too' }), 1)
  })

  it('may be replaced by a new one of the same _id', async () => {
    await using db = await filled()
    await db.updateAsync({ _id: 'old' }, { _id: 'old', at: soon }, { upsert: true })
    assert.deepEqual(idsOf(await db.findAsync({})), ['for ever', 'live', 'old'])
  })

  it('are whole for vanilla', async () => {
    await using _ = await filled()
    assert.equal((await seenByVanilla(file('a.db'))).length, 3)
  })
})
