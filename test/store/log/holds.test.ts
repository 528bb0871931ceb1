import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { ClosedError, LockTimeoutError, LockUpgradeError } from '../../../src/errors.ts'
import {
  idsOf,
  Peer,
  runFixture,
  seenByVanilla,
  temporaryFolder,
  warnings,
} from '../../fixtures/nedb-tools.ts'

describe('operations of a NeDB store and holds of its lock', () => {
  const file = temporaryFolder()
  warnings()
  const open = (options: object = {}) =>
    new LockedNedb<{ _id: string; n?: number }>({ filename: file('a.db'), autoload: true, ...options })

  it('inside an exclusive hold join it, and other processes wait until it ends', async () => {
    await using db = open()
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    await peer.call('countAsync', {})
    let theirs: Promise<unknown> = Promise.resolve()
    let theirsDone = false
    await db.lock.exclusive(async () => {
      theirs = peer.call('insertAsync', { _id: 'theirs' }).then(() => {
        theirsDone = true
      })
      await db.insertAsync({ _id: 'counter', n: 0 })
      for (let n = 0; n < 20; n++) {
        const doc = await db.findOneAsync({ _id: 'counter' })
        await setTimeout(2)
        await db.updateAsync({ _id: 'counter' }, { $set: { n: (doc?.n ?? 0) + 1 } }, {})
      }
      await Promise.all([1, 2, 3].map(() => db.updateAsync({ _id: 'counter' }, { $inc: { n: 1 } }, {})))
      assert.deepEqual(idsOf(await db.findAsync({})), ['counter'])
      assert.equal(theirsDone, false)
    })
    await theirs
    assert.equal((await db.findOneAsync({ _id: 'counter' }))?.n, 23)
    assert.equal(await db.countAsync({}), 2)
  })

  it('inside a hold are in the file when they resolve, and a failed one leaves nothing', async () => {
    await using db = open()
    await db.ensureIndexAsync({ fieldName: 'n', unique: true })
    await db.lock.exclusive(async () => {
      await db.insertAsync({ _id: 'a', n: 1 })
      assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['a'])
      await assert.rejects(
        db.insertAsync([
          { _id: 'b', n: 2 },
          { _id: 'c', n: 1 },
        ]),
      )
      assert.equal(await db.countAsync({}), 1)
    })
    await db.insertAsync({ _id: 'b', n: 2 })
  })

  it('inside a shared hold may read; a write is an upgrade and refused', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'a' })
    await db.lock.shared(async () => {
      assert.equal(await db.countAsync({}), 1)
      await assert.rejects(db.insertAsync({ _id: 'b' }), LockUpgradeError)
      await assert.rejects(db.compactDatafileAsync(), LockUpgradeError)
      assert.equal(await db.countAsync({}), 1)
    })
    await db.insertAsync({ _id: 'b' })
    assert.equal(await db.countAsync({}), 2)
  })

  it('beside a hold of the same process wait for its end', async () => {
    await using db = open()
    await db.autoloadPromise
    const held = await db.lock.acquire()
    let done = false
    const insert = db.insertAsync({ _id: 'a' }).then(() => {
      done = true
    })
    await setTimeout(30)
    assert.equal(done, false)
    held.release()
    await insert
  })

  it('time out with the name of the holder, change nothing, and work again later', async () => {
    await using db = open({ timeoutMs: 150 })
    await db.autoloadPromise
    await using other = open()
    const held = await other.lock.acquire()
    const operations = [
      db.insertAsync({ _id: 'a' }),
      db.updateAsync({}, { n: 1 }),
      db.insertAsync({ _id: 'b' }),
    ]
    for (const operation of operations) {
      await assert.rejects(Promise.resolve(operation), (error: LockTimeoutError) => {
        assert.ok(error instanceof LockTimeoutError)
        assert.equal(error.holders[0]?.pid, process.pid)
        return true
      })
    }
    held.release()
    assert.equal(await db.countAsync({}), 0)
    await db.insertAsync({ _id: 'a' })
    assert.equal(await db.countAsync({}), 1)
  })

  it('issued before close() finish, later ones are refused with ClosedError', async () => {
    const db = open()
    const inserts = Array.from({ length: 20 }, (_, n) => db.insertAsync({ _id: `${n}` }))
    await db.close()
    await Promise.all(inserts)
    await assert.rejects(db.insertAsync({ _id: 'late' }), ClosedError)
    await assert.rejects(Promise.resolve(db.findAsync({})), ClosedError)
    await db.close()
    assert.equal((await seenByVanilla(file('a.db'))).length, 20)
    await using again = open()
    assert.equal(await again.countAsync({}), 20)
  })

  it('pass through for a store in memory', async () => {
    const db = new LockedNedb<{ _id: string }>()
    await db.insertAsync({ _id: 'a' })
    await db.loadDatabaseAsync()
    assert.equal(db.lock, undefined)
    await db.insertAsync({ _id: 'b' })
    assert.equal(await db.countAsync({ _id: 'b' }), 1)
    await db.close()
  })

  it('leave no handle behind that keeps the process alive', () => {
    const done = runFixture('nedb-once', [file('a.db'), 'a'])
    assert.deepEqual([done.code, done.out], [0, 'inserted\n'], done.err)
  })

  it('refuse wrong options with the value that came', () => {
    for (const [options, message] of [
      [{ timeoutMs: -1 }, /timeoutMs.*-1/],
      [{ timeoutMs: '5' }, /timeoutMs.*"5"/],
      [{ durability: 'disc' }, /durability.*"disc"/],
      [{ lockPath: 7 }, /lockPath.*7/],
    ] as const) {
      assert.throws(() => open(options), { name: 'TypeError', message })
    }
  })
})
