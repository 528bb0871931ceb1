import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { idsOf, Peer, recordsOf, temporaryFolder, type VanillaNedb } from '../../fixtures/nedb-tools.ts'

interface Doc {
  _id: string
  n?: number
}

/** The reachable internals that work past the methods. */
interface Inside {
  persistence: {
    persistNewStateAsync(docs: object[]): Promise<void>
    persistCachedDatabaseAsync(): Promise<void>
    compactDatafile(): void
  }
  executor: { pushAsync(task: () => Promise<unknown>): Promise<unknown> }
  getAllData(): Doc[]
}

describe('cursors and back doors of NeDB', () => {
  const file = temporaryFolder()
  const open = () => new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })

  async function peered(): Promise<{ db: LockedNedb<Doc>; peer: Peer }> {
    const db = open()
    await db.insertAsync([
      { _id: 'a', n: 3 },
      { _id: 'b', n: 1 },
    ])
    return { db, peer: await Peer.start('locked', { filename: file('a.db'), autoload: true }) }
  }

  it('a read sees what another process has written', async () => {
    const { db, peer } = await peered()
    await peer.call('insertAsync', { _id: 'c', n: 2 })
    assert.equal(await db.countAsync({}), 3)
    assert.equal((await db.findOneAsync({ n: 2 }))?._id, 'c')
    await db.close()
  })

  it('a cursor is made at once, and runs when it is awaited, each time anew', async () => {
    const { db, peer } = await peered()
    const cursor = db.findAsync({}).sort({ n: 1 }).limit(2)
    await peer.call('insertAsync', { _id: 'c', n: 2 })
    assert.deepEqual(
      (await cursor).map(({ _id }) => _id),
      ['b', 'c'],
    )
    await peer.call('removeAsync', { _id: 'b' }, {})
    assert.deepEqual(
      (await cursor).map(({ _id }) => _id),
      ['c', 'a'],
    )
    assert.deepEqual(
      (await cursor.skip(1)).map(({ _id }) => _id),
      ['a'],
    )
    const exec = await new Promise<unknown[]>((resolve, reject) => {
      cursor.exec((error: Error | null, docs: unknown[]) => (error ? reject(error) : resolve(docs)))
    })
    assert.equal(exec.length, 1)
    await db.close()
  })

  it('a projection without _id is without it the second time too', async () => {
    const { db } = await peered()
    const cursor = db.findAsync({ _id: 'a' }).projection({ n: 1, _id: 0 })
    assert.deepEqual([...(await cursor)], [{ n: 3 }])
    assert.deepEqual([...(await cursor)], [{ n: 3 }])
    await db.close()
  })

  it('a result belongs to the caller: changing it changes nothing in the store', async () => {
    const { db } = await peered()
    const [doc] = await db.findAsync({ _id: 'a' })
    ;(doc as Doc).n = 99
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 3)
    await db.close()
  })

  it('persistence used directly writes under the lock', async () => {
    const { db, peer } = await peered()
    const { persistence } = db as unknown as Inside
    await Promise.all([
      peer.call('together', ...Array.from({ length: 20 }, (_, n) => ['insertAsync', { _id: `p${n}` }])),
      persistence.persistNewStateAsync([{ _id: 'ghost' }]),
      persistence.persistCachedDatabaseAsync(),
      persistence.persistNewStateAsync([{ _id: 'ghost2' }]),
      db.insertAsync({ _id: 'c' }),
    ])
    const count = await db.countAsync({})
    assert.equal(await peer.call('countAsync', {}), count)
    assert.ok(count >= 23, `${count} documents are left`)
    await db.close()
  })

  it('what persistence wrote directly is seen by every store, this one too', async () => {
    const { db, peer } = await peered()
    await (db as unknown as Inside).persistence.persistNewStateAsync([{ _id: 'ghost' }])
    assert.equal(await peer.call('countAsync', { _id: 'ghost' }), 1)
    assert.equal(await db.countAsync({ _id: 'ghost' }), 1)
    await peer.call('updateAsync', { _id: 'a' }, { $set: { n: 5 } }, {})
    await (db as unknown as Inside).persistence.persistNewStateAsync([{ _id: 'a', n: 6 }])
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 6)
    await db.compactDatafileAsync()
    assert.equal((await peer.call<Doc>('findOneAsync', { _id: 'a' })).n, 6)
    await db.close()
  })

  it('a task of the executor may use the store: no deadlock', async () => {
    const { db, peer } = await peered()
    const inside = db as unknown as Inside
    const count = await Promise.race([
      inside.executor.pushAsync(async () => {
        await db.insertAsync({ _id: 'c' })
        await db.updateAsync({ _id: 'c' }, { $set: { n: 1 } }, {})
        return db.countAsync({})
      }),
      setTimeout(5000, 'deadlock', { ref: false }),
    ])
    assert.equal(count, 3)
    assert.equal(await peer.call('countAsync', { n: 1 }), 2)
    await db.close()
  })

  it('a task of the executor that fails leaves nothing of what it did', async () => {
    const { db } = await peered()
    const before = readFileSync(file('a.db'))
    await assert.rejects(
      (db as unknown as Inside).executor.pushAsync(async () => {
        await db.insertAsync({ _id: 'c' })
        throw new Error('half-way')
      }),
      /half-way/,
    )
    assert.deepEqual(idsOf(await db.findAsync({})), ['a', 'b'])
    assert.deepEqual(readFileSync(file('a.db')), before)
    await db.insertAsync({ _id: 'c' })
    await db.close()
  })

  it('getAllData gives what this process knows, without waiting', async () => {
    const { db } = await peered()
    assert.deepEqual(idsOf((db as unknown as Inside).getAllData()), ['a', 'b'])
    await db.close()
  })

  it('callbacks work as in vanilla: insert, find with sort, count, update, remove, compact', async () => {
    await using db = open()
    const called = <T>(run: (done: (error: Error | null, value: T) => void) => void) =>
      new Promise<T>((resolve, reject) => run((error, value) => (error ? reject(error) : resolve(value))))
    await called((done) =>
      db.insert(
        [
          { _id: 'a', n: 2 },
          { _id: 'b', n: 1 },
        ],
        done,
      ),
    )
    const docs = await called<Doc[]>((done) => db.find({}).sort({ n: 1 }).exec(done))
    assert.deepEqual(
      docs.map(({ _id }) => _id),
      ['b', 'a'],
    )
    assert.equal(await called<number>((done) => db.count({}, done)), 2)
    assert.equal(await called<number>((done) => db.update({ _id: 'a' }, { $inc: { n: 1 } }, {}, done)), 1)
    assert.equal(await called<number>((done) => db.remove({ _id: 'b' }, {}, done)), 1)
    await called<void>((done) => db.compactDatafile(done as never))
    assert.deepEqual(recordsOf(file('a.db')) as unknown, [{ _id: 'a', n: 3 }])
    assert.ok((db as unknown as VanillaNedb).indexes._id)
  })
})
