import assert from 'node:assert/strict'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import type { Nedb } from '../../../adapters/nedb/internals.ts'
import { attached } from '../../../adapters/nedb/locked.ts'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { seenByVanilla, temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'

/**
 * An insert whose id NeDB makes passes over what others have written. Two store objects of one process are to each other
 * what two processes are: they have nothing in common but the file.
 */
describe('NeDB insert without a refresh', () => {
  const file = temporaryFolder()
  const warned = warnings()
  let one: LockedNedb
  let other: LockedNedb

  beforeEach(async () => {
    one = new LockedNedb({ filename: file('store.db') })
    other = new LockedNedb({ filename: file('store.db') })
    await one.loadDatabaseAsync()
    await other.loadDatabaseAsync()
    // Loading rewrites the file: after it there is another one, which is read from its beginning.
    await one.countAsync({})
    await other.insertAsync({ _id: 'a', n: 1 })
  })
  afterEach(async () => {
    await one.close()
    await other.close()
  })

  /** What of the other's memory this one has made its own; whoever looks at `db.indexes` makes all of it its own. */
  const known = (db: LockedNedb) =>
    attached
      .get(db as unknown as Nedb)
      ?.inner.indexes._id?.getAll()
      .map(({ _id }) => _id)

  it('reads nothing of what others wrote, and the next look finds all of it, in its order', async () => {
    await one.insertAsync({ mine: 1 })
    await other.updateAsync({ _id: 'a' }, { $inc: { n: 1 } })
    await one.insertAsync([{ mine: 2 }, { mine: 3 }])
    await one.insertAsync({ theirs: 1 })
    assert.equal(known(one)?.includes('a'), false, 'it was not blind')
    assert.deepEqual(await one.findOneAsync({ _id: 'a' }), { _id: 'a', n: 2 })
    assert.equal(await one.countAsync({ mine: { $gt: 0 } }), 3)
    assert.equal(await other.countAsync({}), 5)
    assert.equal((await seenByVanilla(file('store.db'))).length, 5)
  })

  it('puts off what it adds to the indexes until it is asked for, and takes it back with what fails', async () => {
    const { _id } = await one.insertAsync({ mine: 1 })
    assert.equal(known(one)?.includes(_id), false, 'it was not put off')
    assert.equal((await one.findOneAsync({ _id }))?.mine, 1)
    assert.equal((await one.findOneAsync({ mine: 1 }))?._id, _id)
    assert.equal(known(one)?.includes(_id), true)
    const refused = { at: { $$date: 1, b: 2 } }
    await assert.rejects(one.insertAsync([{ mine: 2 }, { mine: 3 }, refused]), TypeError)
    assert.equal(await one.countAsync({ mine: { $gt: 1 } }), 0)
    const seen: number[] = []
    const undone = one.transaction(async (tx) => {
      await tx.insertAsync([{ mine: 4 }, { mine: 5 }])
      seen.push(await tx.countAsync({ mine: 4 }), await tx.countAsync({ mine: { $gt: 1 } }))
      await tx.insertAsync({ mine: 6 })
      throw new Error('undone')
    })
    await assert.rejects(undone, { message: 'undone' })
    assert.deepEqual(seen, [1, 2])
    assert.equal(await one.countAsync({ mine: { $gt: 1 } }), 0)
    await one.insertAsync({ mine: 7 })
    await one.ensureIndexAsync({ fieldName: 'mine', unique: true, sparse: true })
    await assert.rejects(one.insertAsync({ mine: 7 }), { errorType: 'uniqueViolated' })
    assert.equal((await seenByVanilla(file('store.db'))).length, 3)
  })

  it('is in the indexes for whoever looks at them, and for whoever has kept one', async () => {
    interface Index {
      getAll(): unknown[]
      getMatching(value: unknown): unknown[]
      readonly tree: { getNumberOfKeys(): number }
    }
    await one.ensureIndexAsync({ fieldName: 'mine', sparse: true })
    const indexes = () => (one as unknown as { indexes: Record<string, Index> }).indexes
    await one.insertAsync({ mine: 1 })
    assert.equal(indexes().mine?.tree.getNumberOfKeys(), 1)
    await one.insertAsync([{ mine: 2 }, { mine: 3 }])
    const { mine } = indexes()
    assert.equal(mine?.getAll().length, 3)
    await one.insertAsync({ mine: 4 })
    assert.equal(mine?.getMatching(4).length, 1, 'not in the index that was kept')
    await other.insertAsync({ mine: 5 })
    assert.equal(await one.countAsync({ mine: 5 }), 1)
    assert.equal(mine?.tree.getNumberOfKeys(), 5)
    await assert.rejects(
      one.transaction(async (tx) => {
        await tx.insertAsync({ mine: 6 })
        assert.equal(mine?.getMatching(6).length, 1)
        throw new Error('undone')
      }),
      { message: 'undone' },
    )
    assert.equal(mine?.getMatching(6).length, 0)
    assert.equal((one as unknown as { getAllData(): unknown[] }).getAllData().length, 6)
  })

  it('is refused by a unique index that somebody else has just made', async () => {
    await one.insertAsync({ mine: 1 })
    await other.ensureIndexAsync({ fieldName: 'name', unique: true, sparse: true })
    await other.insertAsync({ name: 'Ada' })
    await assert.rejects(one.insertAsync({ name: 'Ada' }), { errorType: 'uniqueViolated' })
    assert.equal((await seenByVanilla(file('store.db'))).length, 3)
  })

  it('is refused by a unique index of its own, whose values others have taken meanwhile', async () => {
    await one.ensureIndexAsync({ fieldName: 'name', unique: true, sparse: true })
    await other.insertAsync({ name: 'Ada' })
    await assert.rejects(one.insertAsync({ name: 'Ada' }), { errorType: 'uniqueViolated' })
  })

  it('with an id of its own looks whether somebody else has it', async () => {
    await one.insertAsync({ mine: 1 })
    await assert.rejects(one.insertAsync({ _id: 'a' }), { errorType: 'uniqueViolated' })
  })

  it('compaction keeps what was skipped', async () => {
    await one.insertAsync({ mine: 1 })
    await other.insertAsync({ _id: 'b' })
    await one.insertAsync({ mine: 2 })
    await one.compactDatafileAsync()
    assert.equal((await seenByVanilla(file('store.db'))).length, 4)
  })

  it('notices that the file was replaced, or rewritten in place', async () => {
    await one.insertAsync({ mine: 1 })
    await other.compactDatafileAsync()
    await one.insertAsync({ mine: 2 })
    assert.equal(await one.countAsync({}), 3)
    await one.insertAsync({ mine: 3 })
    writeFileSync(file('store.db'), '{"_id":"x"}\n'.repeat(40))
    await one.insertAsync({ mine: 4 })
    assert.equal(await one.countAsync({}), 2)
  })

  it('mends a torn tail before it appends, and skips no damaged line in silence', async () => {
    await one.insertAsync({ mine: 1 })
    appendFileSync(file('store.db'), '{"_id":"torn')
    await one.insertAsync({ mine: 2 })
    await new Promise(setImmediate)
    assert.equal(warned().filter(({ code }) => code === 'PSLOCK_TORN_TAIL').length, 1)
    assert.equal(await one.countAsync({}), 3)
    for (let i = 0; i < 20; i++) await other.insertAsync({ theirs: i })
    appendFileSync(file('store.db'), '{"_id":"damaged","n":\n')
    await one.insertAsync({ mine: 3 })
    assert.ok(readFileSync(file('store.db'), 'utf8').includes('damaged'))
    assert.equal(await one.countAsync({}), 24)
    await new Promise(setImmediate)
    assert.ok(
      warned().some(({ code }) => code !== 'PSLOCK_TORN_TAIL'),
      'nobody was told',
    )
  })

  it('that cannot be written leaves what was skipped to the next', async () => {
    await one.insertAsync({ mine: 1 })
    await assert.rejects(one.insertAsync({ $bad: 1 } as never))
    assert.equal(await one.countAsync({}), 2)
  })
})
