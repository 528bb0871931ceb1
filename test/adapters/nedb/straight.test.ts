import assert from 'node:assert/strict'
import { channel } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { LockedNedb, type LockedNedbOptions } from '../../../adapters/nedb.ts'
import { useFolder } from '../../fixtures/folder.ts'

/** With the types of the locked one: it has the same methods. */
const Datastore = createRequire(import.meta.url)('@seald-io/nedb') as new (options?: object) => LockedNedb

const isOn = process.env.PSLOCK_STRAIGHT_PATH !== 'off'

/**
 * The straight path is done when the call returns, and the general one is not: so which one an operation has taken shows
 * in the file before anything is awaited.
 */
describe('the straight path of NeDB', () => {
  const at = useFolder()
  const stores: LockedNedb[] = []
  const open = async (options: LockedNedbOptions = {}) => {
    const db = new LockedNedb({ filename: at('a.db'), autoload: true, ...options })
    stores.push(db)
    await db.autoloadPromise
    await db.insertAsync({ _id: 'first', n: 1 })
    return db
  }
  const text = () => readFileSync(at('a.db'), 'utf8')
  /** Whether the call has written something when it returns. */
  const isStraight = async (call: () => PromiseLike<unknown>) => {
    // What was issued before is over.
    await new Promise((done) => setImmediate(done))
    const before = text()
    const result = call()
    const now = text()
    await result
    assert.notEqual(text(), before, 'nothing was written')
    return now !== before
  }

  afterEach(async () => {
    for (const db of stores.splice(0)) await db.close()
  })

  if (!isOn) {
    it('is off', async () => {
      const db = await open()
      assert.equal(await isStraight(() => db.insertAsync({ n: 2 })), false)
    })
    return
  }

  it('is taken by an insert, an update and a removal by _id, with and without a callback', async () => {
    const db = await open()
    assert.equal(await isStraight(() => db.insertAsync({ n: 2 })), true)
    assert.equal(await isStraight(() => db.insertAsync({ _id: 'own', at: new Date(0) })), true)
    assert.equal(await isStraight(() => db.updateAsync({ _id: 'first' }, { $inc: { n: 1 } })), true)
    assert.equal(await isStraight(() => db.updateAsync({ _id: 'own' }, { n: 3 })), true)
    assert.equal(await isStraight(() => db.removeAsync({ _id: 'own' }, {})), true)
    const called = () =>
      new Promise<unknown>((resolve, reject) =>
        db.insert({ n: 4 }, (error, doc) => (error ? reject(error) : resolve(doc))),
      )
    assert.equal(await isStraight(called), true)
  })

  it('gives what NeDB gives', async () => {
    const db = await open()
    const vanilla = new Datastore()
    await vanilla.insertAsync({ _id: 'first', n: 1 })
    const both = async (run: (store: LockedNedb) => Promise<unknown>) => {
      const outcome = (store: LockedNedb) => run(store).catch((error) => String((error as Error).message))
      assert.deepEqual(await outcome(db), await outcome(vanilla))
    }
    await both((store) =>
      store.insertAsync({ _id: 'a', list: [1, { b: null }], text: 'ü\u2028', at: new Date(5) }),
    )
    await both((store) => store.insertAsync({ _id: 'a' }))
    await both((store) => store.insertAsync({ _id: 'bad', $set: 1 }))
    await both((store) => store.insertAsync({ _id: 'bad', 'a.b': 1 }))
    await both((store) =>
      store.updateAsync({ _id: 'a' }, { $push: { list: 2 } }, { returnUpdatedDocs: true }),
    )
    await both((store) => store.updateAsync({ _id: 'a' }, { $set: { 'deep.er': 1 } }, { multi: true }))
    await both((store) => store.updateAsync({ _id: 'a' }, { $nothing: { n: 1 } }))
    await both((store) => store.updateAsync({ _id: 'a' }, { $inc: { text: 1 } }))
    await both((store) => store.updateAsync({ _id: 'a' }, { _id: 'b' }))
    await both((store) => store.updateAsync({ _id: 'none' }, { n: 1 }))
    await both((store) => store.updateAsync({ _id: 'none' }, { n: 1 }, { returnUpdatedDocs: true }))
    await both((store) => store.updateAsync({ _id: 'new' }, { $set: { n: 1 } }, { upsert: true }))
    await both(async (store) => store.findOneAsync({ _id: 'a' }))
    await both(async (store) => store.findAsync({ _id: 'a' }))
    await both(async (store) => store.countAsync({ _id: 'a' }))
    await both(async (store) => store.findOneAsync({ _id: 'a' }, { list: 1, _id: 0 }))
    await both(async (store) => store.findOneAsync({ _id: 'none' }))
    await both((store) => store.removeAsync({ _id: 'a' }, {}))
    await both((store) => store.removeAsync({ _id: 'a' }, {}))
    await both(async (store) => store.findAsync({}).sort({ _id: 1 }))
    const again = new Datastore({ filename: at('a.db') })
    await again.loadDatabaseAsync()
    assert.deepEqual(await again.findAsync({}).sort({ _id: 1 }), await vanilla.findAsync({}).sort({ _id: 1 }))
  })

  it('applies an update once, also where it finds late that the general path must do it, and leaves it as it is', async () => {
    const twice = (note?: unknown) => ({
      $set: { stats: { runs: 0, log: [], note } },
      $inc: { 'stats.runs': 1 },
      $push: { 'stats.log': 'first' },
    })
    const db = await open()
    // Longer than what is written at once.
    await db.insertAsync({ _id: 'long', text: 'l'.repeat(20_000), tags: ['xa', 'b'] })
    const check = async (_id: string, update: ReturnType<typeof twice>, options = {}) => {
      await db.updateAsync({ _id }, update, options)
      const { stats } = (await db.findOneAsync({ _id })) as unknown as { stats: unknown }
      assert.deepEqual(stats, { runs: 1, log: ['first'] })
      assert.deepEqual(update.$set.stats, { runs: 0, log: [], note: undefined })
    }
    for (const _id of ['first', 'long']) {
      const { note: _, ...stats } = twice().$set.stats
      await check(_id, twice())
      await db.updateAsync({ _id }, { ...twice(), $set: { stats } }, {})
      assert.equal(stats.runs, 0)
      await check(_id, twice(), { multi: true, returnUpdatedDocs: true })
    }
    await check('new', twice(), { upsert: true })
    await db.updateAsync({ _id: 'long' }, { $set: { n: 1 }, $pull: { tags: /^x/ } }, {})
    assert.deepEqual(await db.findOneAsync({ _id: 'long' }, { tags: 1, _id: 0 }), { tags: ['b'] })
  })

  it('hands out copies: neither what was given nor what was got is the document', async () => {
    const db = await open()
    const given = { _id: 'a', list: [1] }
    const got = (await db.insertAsync(given)) as typeof given
    given.list.push(2)
    got.list.push(3)
    const found = (await db.findOneAsync({ _id: 'a' })) as unknown as typeof given
    found.list.push(4)
    assert.deepEqual(await db.findOneAsync({ _id: 'a' }), { _id: 'a', list: [1] })
  })

  it('is not for several calls of one tick, which share a hold', async () => {
    const db = await open()
    const before = text().length
    const all = [db.insertAsync({ n: 2 }), db.insertAsync({ n: 3 }), db.insertAsync({ n: 4 })]
    assert.equal(text().slice(before).trim().split('\n').length, 1)
    await Promise.all(all)
    assert.deepEqual((await db.findAsync({ n: { $gt: 1 } })).map(({ n }) => n).sort(), [2, 3, 4])
  })

  it('is not for what a hook is called for, or what is part of something', async () => {
    const db = await open()
    const insert = () => db.insertAsync({ n: 2 })
    const off = db.use({ before() {} })
    assert.equal(await isStraight(insert), false)
    off()
    assert.equal(await isStraight(insert), true)
    const listener = () => {}
    channel('pslock:acquire').subscribe(listener)
    assert.equal(await isStraight(insert), false)
    channel('pslock:acquire').unsubscribe(listener)
    assert.equal(await db.lock.exclusive(() => isStraight(insert)), false)
    const before = text()
    await db.transaction(async () => {
      await insert()
      assert.equal(text(), before)
    })
    assert.equal(await isStraight(insert), true)
  })

  it('is not where an index forbids something, or something expires, by whoever has made it', async () => {
    const db = await open()
    const other = new LockedNedb({ filename: at('a.db'), autoload: true })
    stores.push(other)
    const insert = () => db.insertAsync({ n: Math.random() })
    await other.ensureIndexAsync({ fieldName: 'n' })
    assert.equal(await isStraight(insert), true)
    await other.ensureIndexAsync({ fieldName: 'n', unique: true })
    await other.removeIndexAsync('n')
    await other.ensureIndexAsync({ fieldName: 'n', unique: true })
    assert.equal(await isStraight(insert), false)
    await assert.rejects(db.insertAsync({ n: 1 }), { errorType: 'uniqueViolated' })
    await other.removeIndexAsync('n')
    await db.countAsync({})
    assert.equal(await isStraight(insert), true)
    await other.ensureIndexAsync({ fieldName: 'at', expireAfterSeconds: 100 })
    assert.equal(await isStraight(insert), false)
  })

  it('is not for what must survive power loss, and not for ids or methods of one’s own', async () => {
    const durable = await open({ durability: 'disk' })
    assert.equal(await isStraight(() => durable.insertAsync({ n: 2 })), false)
    let seen = 0
    class Counting extends LockedNedb {
      async _insertAsync(doc: unknown) {
        seen++
        return (LockedNedb.prototype as unknown as { _insertAsync(doc: unknown): unknown })._insertAsync.call(
          this,
          doc,
        )
      }
    }
    const counting = new Counting({ filename: at('a.db'), autoload: true })
    stores.push(counting)
    assert.equal(await isStraight(() => counting.insertAsync({ n: 2 })), false)
    assert.equal(seen, 1)
  })

  it('waits like any other where the lock is held', async () => {
    const db = await open()
    const other = new LockedNedb({ filename: at('a.db'), autoload: true })
    stores.push(other)
    const held = await other.lock.acquire()
    const inserted = db.insertAsync({ _id: 'late' })
    assert.doesNotMatch(text(), /late/)
    held.release()
    await inserted
    assert.match(text(), /late/)
  })
})
