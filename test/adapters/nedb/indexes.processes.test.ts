import assert from 'node:assert/strict'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import {
  idsOf,
  Peer,
  recordsOf,
  seenByVanilla,
  temporaryFolder,
  Vanilla,
  type VanillaNedb,
} from '../../fixtures/nedb-tools.ts'

interface Doc {
  _id: string
  k?: number
  b?: number
}

const indexesOf = (db: object) => Object.keys((db as VanillaNedb).indexes).sort()

describe('indexes of a shared NeDB file', () => {
  const file = temporaryFolder()
  const open = () => new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })

  it('a unique index on duplicates is refused and does not poison the file', async () => {
    const content = '{"_id":"1","k":1}\n{"_id":"2","k":1}\n'
    writeFileSync(file('a.db'), content)
    await using db = new LockedNedb<Doc>({ filename: file('a.db') })
    const ensuring = db.ensureIndexAsync({ fieldName: 'k', unique: true })
    await assert.rejects(ensuring, { errorType: 'uniqueViolated' })
    await db.loadDatabaseAsync()
    assert.equal(await db.countAsync({}), 2)
    assert.ok(!readFileSync(file('a.db'), 'utf8').includes('$$index'))
    assert.deepEqual(indexesOf(db), ['_id'])
    await db.insertAsync({ _id: '3', k: 1 })
  })

  it('a unique index is checked against what others wrote since', async () => {
    await using stale = open()
    await stale.insertAsync({ _id: 'a', k: 1 })
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    await peer.call('insertAsync', { _id: 'b', k: 1 })
    await assert.rejects(stale.ensureIndexAsync({ fieldName: 'k', unique: true }), {
      errorType: 'uniqueViolated',
    })
    await peer.call('removeAsync', { _id: 'b' }, {})
    await stale.ensureIndexAsync({ fieldName: 'k', unique: true })
    const { error } = await peer.outcome('insertAsync', { _id: 'c', k: 1 })
    assert.equal(error?.errorType, 'uniqueViolated')
    assert.equal((await seenByVanilla(file('a.db'))).length, 1)
  })

  it('an index is there for reads right after the call, before the promise resolves', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'a', k: 1 })
    const ensuring = db.ensureIndexAsync({ fieldName: 'k' })
    assert.deepEqual(indexesOf(db), ['_id', 'k'])
    await ensuring
  })

  it('ensured again, at every start and by everyone, is written once', async () => {
    const peers = await Promise.all(
      [1, 2, 3].map(() => Peer.start('locked', { filename: file('a.db'), autoload: true })),
    )
    const ensure = ['ensureIndexAsync', { fieldName: 'k', unique: true, sparse: true }]
    await Promise.all(peers.map((peer) => peer.call('together', ensure, ensure)))
    await using db = open()
    await db.ensureIndexAsync({ fieldName: 'k', unique: true, sparse: true })
    assert.equal(recordsOf(file('a.db')).length, 1)
  })

  it('removed in one store is gone in all, and no load or compaction brings it back', async () => {
    await using one = open()
    await one.ensureIndexAsync({ fieldName: 'k', unique: true })
    await using two = open()
    await two.insertAsync({ _id: 'a', k: 1 })
    assert.deepEqual(indexesOf(two), ['_id', 'k'])
    await one.removeIndexAsync('k')
    await two.insertAsync({ _id: 'b', k: 1 })
    await two.loadDatabaseAsync()
    await two.compactDatafileAsync()
    assert.deepEqual(indexesOf(two), ['_id'])
    assert.ok(!readFileSync(file('a.db'), 'utf8').includes('$$index'))
    await using three = open()
    await three.countAsync({})
    assert.deepEqual(indexesOf(three), ['_id'])
  })

  it('that of _id cannot be removed, nor replaced by what is done here or says the file', async () => {
    await using db = open()
    await using other = open()
    await db.insertAsync([{ _id: 'a' }, { _id: 'b' }])
    await other.findAsync({})
    for (const name of ['_id', ['_id']]) await assert.rejects(db.removeIndexAsync(name), TypeError)
    await db.ensureIndexAsync({ fieldName: '_id', expireAfterSeconds: 60 })
    for (const line of ['{"$$indexRemoved":"_id"}', '{"$$indexCreated":{"fieldName":"_id"}}']) {
      appendFileSync(file('a.db'), `${line}\n`)
      await using fresh = open()
      for (const store of [db, other, fresh]) {
        assert.deepEqual(idsOf(await store.findAsync({})), ['a', 'b'])
        await assert.rejects(store.insertAsync({ _id: 'a' }), { errorType: 'uniqueViolated' })
      }
    }
    await other.compactDatafileAsync()
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['a', 'b'])
  })

  it('of several fields is removed for good, however it is named', async () => {
    await using db = open()
    await db.ensureIndexAsync({ fieldName: ['k', 'b'], unique: true })
    await db.insertAsync({ _id: 'a', k: 1, b: 1 })
    await assert.rejects(db.insertAsync({ _id: 'b', k: 1, b: 1 }))
    await using other = open()
    await assert.rejects(other.insertAsync({ _id: 'b', k: 1, b: 1 }))
    await db.removeIndexAsync(['k', 'b'])
    await other.insertAsync({ _id: 'b', k: 1, b: 1 })
    const vanilla = new Vanilla({ filename: file('a.db') })
    await vanilla.loadDatabaseAsync()
    assert.deepEqual(indexesOf(vanilla), ['_id'])
  })

  it('a file that breaks its own unique index is refused with a typed error and left as it is', async () => {
    const content =
      '{"$$indexCreated":{"fieldName":"k","unique":true,"sparse":false}}\n{"_id":"1","k":1}\n{"_id":"2","k":1}\n'
    writeFileSync(file('a.db'), content)
    await using db = new LockedNedb<Doc>({ filename: file('a.db') })
    await assert.rejects(db.loadDatabaseAsync(), { code: 'PSLOCK_CORRUPT', errorType: 'uniqueViolated' })
    assert.equal(readFileSync(file('a.db'), 'utf8'), content)
    writeFileSync(file('a.db'), content.replace('{"_id":"2","k":1}', '{"_id":"2","k":2}'))
    await db.loadDatabaseAsync()
    assert.deepEqual(idsOf(await db.findAsync({})), ['1', '2'])
  })

  it('an update that breaks a unique index changes nothing, in a multi update too', async () => {
    await using db = open()
    await db.ensureIndexAsync({ fieldName: 'k', unique: true })
    await db.insertAsync([1, 2, 3].map((k) => ({ _id: `d${k}`, k })))
    const before = readFileSync(file('a.db'))
    await assert.rejects(db.updateAsync({}, { $set: { k: 3 } }, { multi: true }), {
      errorType: 'uniqueViolated',
    })
    await assert.rejects(db.updateAsync({ k: 1 }, { $set: { k: 2 } }, {}), { errorType: 'uniqueViolated' })
    assert.deepEqual(
      (await db.findAsync({}).sort({ _id: 1 })).map(({ k }) => k),
      [1, 2, 3],
    )
    assert.deepEqual(readFileSync(file('a.db')), before)
  })
})
