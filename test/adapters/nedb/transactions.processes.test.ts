import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { StoreIoError, TransactionError } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, untouched } from '../../fixtures/lowdb-tools.ts'
import { idsOf, seenByVanilla } from '../../fixtures/nedb-tools.ts'
import { fillUp, useSmallDisk } from '../../fixtures/small-disk.ts'

/** What only NeDB has: indexes, compaction, events, drop. */
describe('NeDB transactions', () => {
  const at = useFolder()
  const open = () => new LockedNedb({ filename: at('a.db'), autoload: true })
  const undo = new Error('undo')
  const undone = (run: () => unknown) => async (): Promise<void> => {
    await run()
    throw undo
  }

  it('a unique key is free again, also in an index that was made inside', async () => {
    const db = open()
    await db.ensureIndexAsync({ fieldName: 'k', unique: true })
    await db.insertAsync({ _id: 'old', k: 1 })
    const run = undone(async () => {
      await db.updateAsync({ _id: 'old' }, { $set: { k: 2 } }, {})
      await db.insertAsync({ _id: 'new', k: 1 })
      await db.ensureIndexAsync({ fieldName: 'l', unique: true, sparse: true })
      await db.insertAsync({ _id: 'third', k: 3, l: 1 })
      await db.removeAsync({ _id: 'old' }, {})
    })
    assert.equal(await untouched(at('a.db'), () => failing(() => db.transaction(run))), undo)
    assert.deepEqual(Object.keys((db as unknown as { indexes: object }).indexes), ['_id', 'k'])
    await assert.rejects(db.insertAsync({ _id: 'b', k: 1 }), { errorType: 'uniqueViolated' })
    await db.insertAsync({ _id: 'c', k: 2, l: 1 })
    await db.insertAsync({ _id: 'd', k: 3, l: 1 })
    await db.loadDatabaseAsync()
    assert.deepEqual(Object.keys((db as unknown as { indexes: object }).indexes), ['_id', 'k'])
    assert.deepEqual(idsOf(await seenByVanilla(at('a.db'))), ['c', 'd', 'old'])
  })

  it('removeIndex is undone: the index is there, complete, and still unique', async () => {
    const db = open()
    await db.ensureIndexAsync({ fieldName: 'k', unique: true })
    await db.insertAsync([
      { _id: 'a', k: 1 },
      { _id: 'b', k: 2 },
    ])
    const run = undone(async () => {
      await db.removeIndexAsync('k')
      await db.insertAsync({ _id: 'c', k: 1 })
    })
    await untouched(at('a.db'), () => failing(() => db.transaction(run)))
    await assert.rejects(db.insertAsync({ _id: 'c', k: 1 }), { errorType: 'uniqueViolated' })
    await db.insertAsync({ _id: 'c', k: 3 })
    assert.equal((await db.findAsync({ k: { $gte: 1 } })).length, 3)
  })

  for (const unique of [false, true]) {
    it(`removeIndex is undone: what was put off until then is in the ${unique ? 'unique ' : ''}index`, async () => {
      const db = open()
      await db.ensureIndexAsync({ fieldName: 'k', unique })
      const other = open()
      await (unique ? other : db).insertAsync({ _id: 'a', k: 1 })
      const run = undone(async () => {
        await db.removeIndexAsync('k')
        await db.findAsync({})
      })
      await failing(() => db.transaction(run))
      assert.deepEqual(idsOf(await db.findAsync({ k: 1 })), ['a'])
      if (unique) await assert.rejects(db.insertAsync({ _id: 'b', k: 1 }), { errorType: 'uniqueViolated' })
    })
  }

  it('run again after a conflict, an update comes to the same', async () => {
    const db = open()
    await db.insertAsync({ _id: 'a' })
    const update = { $set: { list: [] }, $push: { list: 1 } }
    let runs = 0
    const run = async () => {
      await db.updateAsync({ _id: 'a' }, update, {})
      if (++runs === 1) appendFileSync(at('a.db'), '{"_id":"b"}\n')
    }
    await db.transaction(run, { retry: 1 })
    assert.equal(runs, 2)
    assert.deepEqual(await db.findOneAsync({ _id: 'a' }), { _id: 'a', list: [1] })
  })

  it('compaction and load inside wait for the commit, and do not happen where it is undone', async () => {
    const db = open()
    for (let n = 0; n < 20; n++) await db.updateAsync({ _id: 'a' }, { $set: { n } }, { upsert: true })
    let compactions = 0
    db.on('compaction.done', () => compactions++)
    const compact = async () => {
      await db.updateAsync({ _id: 'a' }, { $set: { n: 99 } }, {})
      await db.compactDatafileAsync()
      await db.loadDatabaseAsync()
      await db.insertAsync({ _id: 'b' })
    }
    await untouched(at('a.db'), () => failing(() => db.transaction(undone(compact))))
    assert.equal(compactions, 0)
    await db.transaction(compact)
    assert.ok(compactions > 0)
    assert.equal(readFileSync(at('a.db'), 'utf8').trim().split('\n').length, 2)
    assert.deepEqual(await seenByVanilla(at('a.db')), [{ _id: 'a', n: 99 }, { _id: 'b' }])
  })

  it('the removal of the file is refused inside, as a TransactionError, and the store goes on', async () => {
    const db = open()
    await db.insertAsync({ _id: 'a' })
    await db.transaction(async () => {
      assert.ok((await failing(() => db.dropDatabaseAsync())) instanceof TransactionError)
      await db.insertAsync({ _id: 'b' })
    })
    assert.ok(existsSync(at('a.db')))
    assert.deepEqual(idsOf(await db.findAsync({})), ['a', 'b'])
    await db.dropDatabaseAsync()
    assert.deepEqual(await db.findAsync({}), [])
  })

  it('events come at the commit, in order, outside the transaction, and never for what was undone', async () => {
    const db = LockedDatastore.create<{ _id: string }>({ filename: at('p.db') })
    await db.load()
    const seen: string[] = []
    let late: Promise<unknown> | undefined
    db.on('insert', (_: object, { _id }: { _id: string }) => {
      seen.push(_id)
      if (_id === 'b') late = db.insert({ _id: 'by a listener' })
    })
    await db.transaction(async (tx) => {
      await tx.insert({ _id: 'a' })
      await failing(() => db.transaction(undone(() => tx.insert({ _id: 'undone' }))))
      await tx.insert({ _id: 'b' })
      assert.deepEqual(seen, [])
    })
    assert.deepEqual(seen.slice(0, 2), ['a', 'b'])
    await late
    await failing(() => db.transaction(undone(() => db.insert({ _id: 'c' }))))
    assert.deepEqual(seen, ['a', 'b', 'by a listener'])
  })

  it('an update by the callback API inside joins too', async () => {
    const db = open()
    await failing(() =>
      db.transaction(
        undone(() => new Promise((resolve) => db.insert({ _id: 'a' }, (...args) => resolve(args)))),
      ),
    )
    assert.deepEqual(await db.findAsync({}), [])
  })

  it('a transaction that was undone leaves nothing for the next compaction to write', async () => {
    const db = open()
    await db.insertAsync({ _id: 'a' })
    await failing(() => db.transaction(undone(() => db.insertAsync({ _id: 'b' }))))
    await db.compactDatafileAsync()
    assert.deepEqual(idsOf(await seenByVanilla(at('a.db'))), ['a'])
  })

  it('a store in memory has none, and says so', async () => {
    await assert.rejects(
      new LockedNedb().transaction(() => {}),
      TransactionError,
    )
  })

  describe('on a full disk', () => {
    const disk = useSmallDisk(at)

    it('a commit that does not fit leaves file and memory as before, and works when there is room', async () => {
      const db = new LockedNedb({ filename: disk('a.db'), autoload: true })
      await db.ensureIndexAsync({ fieldName: 'k', unique: true })
      await db.insertAsync({ _id: 'old', k: 1 })
      fillUp(disk('ballast'))
      const grow = () =>
        db.transaction(async (tx) => {
          await tx.removeAsync({ _id: 'old' }, {})
          for (let k = 1; k <= 30; k++) await tx.insertAsync({ _id: `n${k}`, k, pad: 'x'.repeat(300) })
        })
      const error = await untouched(disk('a.db'), () => failing(grow))
      assert.ok(error instanceof StoreIoError, `${error}`)
      assert.equal((error.cause as NodeJS.ErrnoException).code, 'ENOSPC')
      assert.deepEqual(idsOf(await db.findAsync({})), ['old'])
      assert.equal((await db.findOneAsync({ k: 1 }))._id, 'old')
      execFileSync('rm', [disk('ballast')])
      await grow()
      assert.equal((await seenByVanilla(disk('a.db'))).length, 30)
    })
  })
})
