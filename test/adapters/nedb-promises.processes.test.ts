import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { LockedDatastore } from '../../adapters/nedb-promises.ts'
import { LockUpgradeError } from '../../src/errors.ts'
import { idsOf, Peer, seenByVanilla, temporaryFolder, warnings } from '../fixtures/nedb-tools.ts'

interface Doc {
  _id: string
  n?: number
}

describe('LockedDatastore of nedb-promises', () => {
  const file = temporaryFolder()
  warnings()
  const open = () => LockedDatastore.create<Doc>({ filename: file('a.db') })

  it('is created from a path, from options, or with new', async () => {
    for (const db of [
      LockedDatastore.create<Doc>(file('a.db')),
      LockedDatastore.create<Doc>({ filename: file('a.db') }),
      new LockedDatastore<Doc>(file('a.db')),
      new LockedDatastore<Doc>({ filename: file('a.db'), autoload: true }),
    ]) {
      await db.insert({} as Doc)
      assert.ok(db instanceof LockedDatastore)
      await db.close()
    }
    assert.equal((await seenByVanilla(file('a.db'))).length, 4)
  })

  it('works in memory without a file name', async () => {
    const db = LockedDatastore.create<Doc>()
    await db.insert({ _id: 'a' })
    assert.equal(await db.count({}), 1)
    await db.load()
    assert.equal(await db.count({}), 1)
    await db.close()
  })

  it('loses nothing among processes', async () => {
    writeFileSync(file('a.db'), '{"_id":"counter","n":0}\n')
    const peers = await Promise.all(
      [1, 2, 3].map(() => Peer.start('promises', { filename: file('a.db'), sliceMs: 0 })),
    )
    const call = ['updateOne', { _id: 'counter' }, { $inc: { n: 1 } }]
    await Promise.all(peers.map((peer) => peer.call('amongOthers', 1, ...Array(40).fill(call))))
    await using db = open()
    assert.equal((await db.findOne({ _id: 'counter' }))?.n, 120)
  })

  it('has all methods of nedb-promises', async () => {
    await using db = open()
    assert.equal((await db.insertOne({ _id: 'a', n: 1 }))._id, 'a')
    assert.equal(
      (
        await db.insertMany([
          { _id: 'b', n: 2 },
          { _id: 'c', n: 3 },
        ])
      ).length,
      2,
    )
    assert.equal(await db.updateMany({}, { $inc: { n: 1 } }), 3)
    assert.deepEqual(await db.updateOne({ _id: 'a' }, { $set: { n: 9 } }, { returnUpdatedDocs: true }), {
      _id: 'a',
      n: 9,
    })
    assert.deepEqual(
      (await db.find({}).sort({ n: -1 }).skip(1).limit(1)).map(({ _id }) => _id),
      ['c'],
    )
    assert.deepEqual([...(await db.find({ _id: 'a' }).project({ n: 1, _id: 0 }))] as object[], [{ n: 9 }])
    assert.equal(await db.deleteOne({ _id: 'a' }, {}), 1)
    assert.equal(await db.removeMany({ n: { $gt: 0 } }, {}), 2)
    assert.equal(await db.count({}), 0)
  })

  it('does not remember a load that failed', async () => {
    writeFileSync(file('a.db'), 'garbage\n')
    await using db = open()
    const errors: unknown[] = []
    db.on('loadError', (_: object, error: Error) => errors.push(error))
    await assert.rejects(db.load(), { code: 'PSLOCK_CORRUPT' })
    await assert.rejects(db.insert({ _id: 'a' }), { code: 'PSLOCK_CORRUPT' })
    assert.equal(readFileSync(file('a.db'), 'utf8'), 'garbage\n')
    writeFileSync(file('a.db'), '{"_id":"mended"}\n')
    assert.deepEqual(await db.find({}), [{ _id: 'mended' }])
    assert.equal(errors.length, 2)
  })

  it('ensures an index only after the load: duplicates are refused and the file stays sound', async () => {
    writeFileSync(file('a.db'), '{"_id":"1","n":1}\n{"_id":"2","n":1}\n')
    await using db = open()
    await assert.rejects(db.ensureIndex({ fieldName: 'n', unique: true }), { errorType: 'uniqueViolated' })
    assert.equal(await db.count({}), 2)
    await using fresh = open()
    assert.equal(await fresh.count({}), 2)
  })

  it('reads and writes lazily: a cursor runs when it is awaited, each time anew', async () => {
    await using db = open()
    const cursor = db.find({})
    await db.insert({ _id: 'a' })
    const peer = await Peer.start('promises', { filename: file('a.db') })
    await peer.call('insert', { _id: 'b' })
    assert.deepEqual(idsOf(await cursor), ['a', 'b'])
    await peer.call('insert', { _id: 'c' })
    assert.deepEqual(idsOf(await cursor.exec()), ['a', 'b', 'c'])
  })

  it('joins a hold of its lock; a write in a shared hold is refused', async () => {
    await using db = open()
    await db.load()
    await db.lock.exclusive(async () => {
      await db.insert({ _id: 'a', n: 1 })
      const doc = await db.findOne({ _id: 'a' })
      await db.updateOne({ _id: 'a' }, { $set: { n: (doc?.n ?? 0) + 1 } })
    })
    await db.lock.shared(async () => {
      assert.equal((await db.findOne({ _id: 'a' }))?.n, 2)
      await assert.rejects(db.insert({ _id: 'b' }), LockUpgradeError)
    })
  })

  it('autoload is one load, of which autoloadPromise tells', async () => {
    const content = '{"_id":"a","n":1}\n{"_id":"a","n":2}\n'
    writeFileSync(file('a.db'), content)
    await using db = LockedDatastore.create<Doc>({ filename: file('a.db'), autoload: true })
    let loads = 0
    db.on('load', () => loads++)
    await (db as unknown as { autoloadPromise: Promise<void> }).autoloadPromise
    assert.equal((await db.findOne({ _id: 'a' }))?.n, 2)
    assert.equal(loads, 1)
    assert.equal(readFileSync(file('a.db'), 'utf8'), content)
  })
})
