import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { Memory } from 'lowdb'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { LockedNedb } from '../../../adapters/nedb.ts'
import {
  CorruptStoreError,
  LockedDb,
  LockTimeoutError,
  PsLock,
  StoreIoError,
  TransactionError,
} from '../../../src/index.ts'
import { STORES, seenIn } from '../../fixtures/dump-crew.ts'
import { openStore } from '../../fixtures/dump-worker.ts'
import { staysPending, useFolder } from '../../fixtures/folder.ts'
import { Shelf, shelfAdapter } from '../../fixtures/locked-db-shelf.ts'
import { failing, untouched } from '../../fixtures/lowdb-tools.ts'
import { idsOf, seenByVanilla } from '../../fixtures/nedb-tools.ts'

describe('dump and restore', () => {
  const at = useFolder()
  const names = () =>
    readdirSync(at())
      .filter((name) => !/\.lock(\.turn)?$/.test(name))
      .sort()

  for (const kind of STORES) {
    describe(kind, () => {
      it('a file that is there is replaced only when told', async () => {
        const store = await openStore(kind, at('store'))
        await store.step()
        writeFileSync(at('mine'), 'precious')
        const error = await untouched(at('mine'), () => failing(() => store.dump(at('mine'))))
        assert.ok(error instanceof StoreIoError)
        assert.match(error.message, /EEXIST/)
        await store.dump(at('mine'), { overwrite: true })
        assert.equal(await seenIn(kind, at('mine')), 1)
        assert.deepEqual(names(), ['mine', 'store'])
        await store.close()
      })

      it('the file itself is no place for a dump, nor a source, by whatever name', async () => {
        const store = await openStore(kind, at('store'))
        await store.step()
        symlinkSync(at('store'), at('symbolic'))
        for (const name of ['store', 'symbolic', './store', 'store.lock']) {
          for (const run of [
            () => store.dump(at(name), { overwrite: true }),
            () => store.restore(at(name)),
          ]) {
            assert.ok((await untouched(at('store'), () => failing(run))) instanceof TypeError, name)
          }
        }
        await store.close()
      })

      it('waits for whoever is writing, and takes all of what they wrote', async () => {
        const store = await openStore(kind, at('store'))
        for (let i = 0; i < 2; i++) await store.step()
        const whole = readFileSync(at('store'))
        using writer = await new PsLock(at('store')).acquire()
        writeFileSync(at('store'), whole.subarray(0, whole.length * 0.7))
        const dumped = store.dump(at('dump'))
        assert.ok(await staysPending(dumped, 150))
        assert.deepEqual(names(), ['store'])
        writeFileSync(at('store'), whole)
        writer.release()
        await dumped
        assert.equal(await seenIn(kind, at('dump')), 2)
        await store.close()
      })

      it('a damaged dump is refused, and nothing is touched', async () => {
        const store = await openStore(kind, at('store'))
        for (let i = 0; i < 3; i++) await store.step()
        await store.dump(at('dump'))
        const whole = readFileSync(at('dump'))
        const before = statSync(at('store')).ino
        const flipped = Buffer.from(whole)
        flipped[whole.length >> 1] = 0
        const cuts = [0.02, 0.3, 0.99].map((part) => whole.subarray(0, whole.length * part))
        for (const bytes of [Buffer.alloc(100), Buffer.from('Dear diary,\n'), flipped, ...cuts]) {
          writeFileSync(at('damaged'), bytes)
          const error = await untouched(at('store'), () => failing(() => store.restore(at('damaged'))))
          assert.ok(error instanceof CorruptStoreError, `${error} of ${bytes.length} bytes`)
          assert.equal(error.path, at('damaged'))
        }
        assert.equal(statSync(at('store')).ino, before)
        assert.deepEqual(names(), ['damaged', 'dump', 'store'])
        assert.ok((await failing(() => store.restore(at('none')))) instanceof StoreIoError)
        await store.close()
      })

      it('a store that is damaged is restored all the same', async () => {
        const store = await openStore(kind, at('store'))
        await store.step()
        await store.dump(at('dump'))
        writeFileSync(at('store'), 'Dear diary,\ntoday')
        assert.ok((await failing(() => store.dump(at('other')))) instanceof CorruptStoreError)
        await store.restore(at('dump'))
        assert.equal((await store.tally()).n, 1)
        await store.close()
      })

      it('a copy is as private as the file', async () => {
        const store = await openStore(kind, at('store'))
        await store.step()
        chmodSync(at('store'), 0o600)
        await store.dump(at('dump'))
        assert.equal(statSync(at('dump')).mode & 0o777, 0o600)
        await store.close()
      })
    })
  }

  it('a store that has no file has nothing to dump', async () => {
    await using store = new LockedLow(at('l.json'), { n: 0 })
    const error = await failing(() => store.dump(at('dump')))
    assert.ok(error instanceof StoreIoError && !existsSync(at('dump')))
  })

  it('a copy cut short at the end of a unit is recognised', async () => {
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true })
    for (let i = 0; i < 100; i++) await db.insertAsync({ _id: `d${i}`, pad: 'p'.repeat(100) })
    await db.dump(at('dump'))
    const whole = readFileSync(at('dump'))
    const end = whole.lastIndexOf('\n', whole.length >> 1) + 1
    writeFileSync(at('cut'), whole.subarray(0, end))
    assert.ok((await seenByVanilla(at('cut'))).length > 30, 'by itself it looks whole')
    await assert.rejects(db.restore(at('cut')), { code: 'PSLOCK_CORRUPT' })
    // A copy that was opened and written to goes on where the dump ended.
    writeFileSync(at('more'), Buffer.concat([whole, Buffer.from('{"_id":"more"}\n')]))
    await db.restore(at('more'))
    assert.equal(await db.countAsync({}), 101)
    assert.doesNotMatch(readFileSync(at('a.db'), 'utf8'), /\$\$dump/)
  })

  it('files of the vanilla library are restored; what it would refuse is refused', async () => {
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true })
    await db.insertAsync({ _id: 'old' })
    writeFileSync(at('vanilla'), '{"_id":"a"}\n{"_id":"b"}\n{"$$deleted":true,"_id":"a"}\n{"_id":"c"}')
    await db.restore(at('vanilla'))
    assert.deepEqual(idsOf(await db.findAsync({})), ['b', 'c'])
    const index = '{"$$indexCreated":{"fieldName":"mail","unique":true,"sparse":false}}'
    writeFileSync(at('vanilla'), `${index}\n{"_id":"a","mail":1}\n{"_id":"b","mail":1}\n`)
    await assert.rejects(db.restore(at('vanilla')), /unique index "mail" has 1 twice/)
    assert.deepEqual(idsOf(await seenByVanilla(at('a.db'))), ['b', 'c'])
  })

  it('with serialization hooks a dump is as unreadable as the file, and restored all the same', async () => {
    const hooks = {
      afterSerialization: (line: string) => Buffer.from(line).toString('base64'),
      beforeDeserialization: (line: string) => Buffer.from(line, 'base64').toString(),
    }
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true, ...hooks })
    await db.insertAsync([{ _id: 'a' }, { _id: 'b' }])
    await db.dump(at('dump'))
    assert.doesNotMatch(readFileSync(at('dump'), 'utf8'), /[{"]/)
    assert.deepEqual(idsOf(await seenByVanilla(at('dump'), hooks)), ['a', 'b'])
    await db.insertAsync({ _id: 'c' })
    await db.restore(at('dump'))
    assert.deepEqual(idsOf(await db.findAsync({})), ['a', 'b'])
    writeFileSync(at('cut'), readFileSync(at('dump')).subarray(0, -10))
    await assert.rejects(db.restore(at('cut')), { code: 'PSLOCK_CORRUPT' })
  })

  it('what a crash left at the end is not in the dump; a last record without its line feed is', async () => {
    writeFileSync(at('a.db'), '{"_id":"a"}\n{"_id":"b","v":"ha')
    await using db = new LockedNedb({ filename: at('a.db') })
    await db.dump(at('torn'))
    assert.deepEqual(idsOf(await seenByVanilla(at('torn'))), ['a'])
    writeFileSync(at('a.db'), '{"_id":"a"}\n{"_id":"b"}')
    await db.dump(at('unterminated'))
    assert.deepEqual(idsOf(await seenByVanilla(at('unterminated'))), ['a', 'b'])
  })

  it('a store of one’s own is dumped as it is, and says itself what it can load', async () => {
    const open = () => new LockedDb(new Shelf(), { adapter: shelfAdapter, path: at('shelf') })
    await using shelf = open()
    await shelf.add('a')
    await shelf.dump(at('dump'))
    assert.equal(readFileSync(at('dump'), 'utf8'), readFileSync(at('shelf'), 'utf8'))
    await shelf.add('b')
    const other = open()
    await other.restore(at('dump'))
    assert.deepEqual(await shelf.list(), await other.list())
    await other.close()
    const refusing = new LockedDb(new Shelf(), {
      adapter: {
        ...shelfAdapter,
        load: (store: Shelf, text) => {
          if (text?.includes('bad')) throw new Error('bad')
          shelfAdapter.load(store, text)
        },
      },
      path: at('shelf'),
    })
    writeFileSync(at('bad'), 'bad\n')
    const before = await refusing.list()
    const error = await untouched(at('shelf'), () => failing(() => refusing.restore(at('bad'))))
    assert.ok(error instanceof CorruptStoreError)
    assert.deepEqual(await refusing.list(), before)
    await refusing.close()
  })

  it('are no part of a transaction, a view or an update', async () => {
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true })
    await using low = new LockedLow(at('l.json'), { n: 0 })
    await low.write()
    await db.insertAsync({ _id: 'a' })
    await db.dump(at('dump'))
    await low.dump(at('low'))
    for (const run of [
      () => db.transaction((tx) => tx.dump(at('x'))),
      () => db.transaction((tx) => tx.restore(at('dump'))),
      () => db.view(() => db.dump(at('x'))),
      () => low.update(() => low.restore(at('low'))),
      () => low.transaction((tx) => tx.dump(at('x'))),
    ]) {
      assert.ok((await failing(run)) instanceof TransactionError)
    }
    assert.ok(!existsSync(at('x')))
    // A hold of one's own is another thing: nothing of the store is under way in it.
    await db.lock.exclusive(async () => {
      await db.insertAsync({ _id: 'b' })
      await db.dump(at('x'))
      await db.restore(at('dump'))
    })
    assert.deepEqual(idsOf(await db.findAsync({})), ['a'])
    assert.deepEqual(idsOf(await seenByVanilla(at('x'))), ['a', 'b'])
  })

  it('unsaved edits of memory are dropped by a restore', async () => {
    const low = new LockedLowSync<{ n: number; own?: true }>(at('l.json'), { n: 1 })
    low.write()
    await low.dump(at('dump'))
    low.update((data) => {
      data.n = 2
    })
    low.data.own = true
    await low.restore(at('dump'))
    assert.deepEqual(low.data, { n: 1 })
    await low.close()
  })

  it('wait for the lock, and no longer than told', async () => {
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true, timeoutMs: 50 })
    await db.insertAsync({ _id: 'a' })
    await db.dump(at('dump'))
    const held = await new PsLock(at('a.db')).acquire()
    assert.ok((await failing(() => db.dump(at('other')))) instanceof LockTimeoutError)
    assert.ok((await failing(() => db.restore(at('dump')))) instanceof LockTimeoutError)
    held.release()
  })

  it('a target that is a store itself is replaced under its own lock', async () => {
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true })
    await using other = new LockedNedb({ filename: at('b.db'), autoload: true })
    await db.insertAsync({ _id: 'a' })
    await other.insertAsync({ _id: 'b' })
    using held = await other.lock.acquire()
    const dumped = db.dump(at('b.db'), { overwrite: true })
    assert.ok(await staysPending(dumped, 200))
    await db.insertAsync({ _id: 'c' })
    held.release()
    await dumped
    assert.deepEqual(idsOf(await other.findAsync({})), ['a'])
  })

  it('a hard link of the file is the file', async () => {
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true })
    await db.insertAsync({ _id: 'a' })
    linkSync(at('a.db'), at('hard'))
    await assert.rejects(db.dump(at('hard'), { overwrite: true }), TypeError)
  })

  it('a store in memory has neither', async () => {
    for (const store of [new LockedNedb(), new LockedLow(new Memory<object>(), {})]) {
      assert.ok((await failing(() => store.dump(at('x')))) instanceof StoreIoError)
      assert.ok((await failing(() => store.restore(at('x')))) instanceof StoreIoError)
    }
  })
})
