import assert from 'node:assert/strict'
import {
  appendFileSync,
  linkSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedNedb, type LockedNedbOptions, nedbAdapter } from '../../../adapters/nedb.ts'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { LockedDb, PsLock } from '../../../src/index.ts'
import { until } from '../../fixtures/folder.ts'
import {
  type Outcome,
  Peer,
  seenByVanilla,
  sorted,
  temporaryFolder,
  Vanilla,
  warnings,
} from '../../fixtures/nedb-tools.ts'

type Doc = { _id: string; n: number; pad?: string }

const MEBIBYTE = 2 ** 20

describe('compaction by need', () => {
  const file = temporaryFolder()
  const warned = warnings()
  const path = () => file('a.db')
  const size = () => statSync(path()).size
  const inode = () => statSync(path()).ino

  async function open(options: LockedNedbOptions = {}): Promise<LockedNedb<Doc>> {
    const db = new LockedNedb<Doc>({ filename: path(), autoload: true, ...options })
    await db.autoloadPromise
    return db
  }

  const kinds = {
    LockedNedb: () => open(),
    LockedDatastore: async () => {
      const db = LockedDatastore.create<Doc>({ filename: path() })
      await db.load()
      return db as unknown as LockedNedb<Doc>
    },
    'LockedDb with nedbAdapter': async () => {
      const store = new Vanilla({ filename: path() })
      const db = new LockedDb(store as never, { adapter: nedbAdapter, path: path() })
      await (db as unknown as LockedNedb).loadDatabaseAsync()
      return db as unknown as LockedNedb<Doc>
    },
  }
  for (const [kind, openStore] of Object.entries(kinds)) {
    it(`${kind}: an explicit load leaves a large file as it is that it would write the same, and no other`, async () => {
      const pad = 'x'.repeat(MEBIBYTE)
      const lines = [JSON.stringify({ n: 1, pad, _id: 'a' }), '{"n":2,"_id":"b"}']
      const write = (...more: string[]) => writeFileSync(path(), [...lines, ...more, ''].join('\n'))
      const isRewritten = async () => {
        const before = inode()
        const db = await openStore()
        await db.loadDatabaseAsync()
        await db.close()
        return inode() !== before
      }
      write()
      assert.equal(await isRewritten(), false)
      write('{"n":3,"_id":"b"}')
      assert.equal(await isRewritten(), true)
      write('{"$$deleted":true,"_id":"c"}')
      assert.equal(await isRewritten(), true)
      // The store itself was told of an index that is not in the file, which has just as many lines too much.
      write()
      const before = inode()
      const db = await openStore()
      await db.ensureIndexAsync({ fieldName: 'n', unique: true })
      write('{"n":3,"_id":"b"}')
      await db.loadDatabaseAsync()
      await db.close()
      assert.notEqual(inode(), before)
      assert.match(readFileSync(path(), 'utf8'), /indexCreated/)
      write()
      // What a crash of vanilla has left.
      writeFileSync(`${path()}~`, '{"n":0,"_id":"a"}\n')
      assert.equal(await isRewritten(), true)
      assert.deepEqual(
        readdirSync(file('.')).filter((name) => name.endsWith('~')),
        [],
      )
    })

    it(`${kind}: six days of five documents that change 2,000 times a day stay small`, async () => {
      let longest = 0
      for (let day = 1; day <= 6; day++) {
        const db = await openStore()
        const ids = ['a', 'b', 'c', 'd', 'e']
        for (let turn = 0; turn < 400; turn++) {
          const update = (_id: string) =>
            db.updateAsync({ _id }, { $inc: { n: 1 }, $set: { pad: 'p'.repeat(200) } }, { upsert: true })
          await Promise.all(ids.map(update))
        }
        longest = Math.max(longest, size())
        await db.close()
      }
      assert.ok(longest < 1.6 * MEBIBYTE, `${longest} bytes`)
      const expected = ['a', 'b', 'c', 'd', 'e'].map((_id) => ({ _id, n: 2400, pad: 'p'.repeat(200) }))
      assert.deepEqual(sorted(await seenByVanilla(path())), expected)
      assert.deepEqual(warned(), [])
    })
  }

  /** As a process leaves it that ended before it could compact: one document, so many lines. */
  const grown = (lines: number, begin = '') => {
    const pad = 'p'.repeat(200)
    const all = Array.from({ length: lines }, (_, n) => `${JSON.stringify({ _id: 'a', n, pad })}\n`)
    writeFileSync(path(), begin + all.join(''))
  }

  it('a file that has grown is compacted when it is opened, by who only reads, too', async () => {
    grown(10_000)
    const db = await open()
    await until('the file is small', () => size() < 1000)
    assert.equal((await db.findOneAsync({ _id: 'a' })).n, 9999)
    await db.close()
    grown(10_000)
    const other = LockedDatastore.create<Doc>({ filename: path() })
    assert.equal(await other.count({}), 1)
    await until('the file is small', () => size() < 1000)
    await other.close()
  })

  it("compaction: 'manual' leaves it to the program; wrong values are refused", async () => {
    grown(10_000)
    const db = await open({ compaction: 'manual' })
    const before = inode()
    for (let n = 0; n < 50; n++) await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
    await sleep(100)
    assert.equal(inode(), before)
    await db.compactDatafileAsync()
    assert.ok(size() < 1000)
    await db.close()
    for (const compaction of ['never', true, null, 'Auto'] as never[]) {
      assert.throws(() => new LockedNedb({ filename: path(), compaction }), TypeError)
      assert.throws(() => new LockedDatastore({ filename: path(), compaction }), TypeError)
    }
  })

  it('nothing is rewritten where nothing is stale, or less than is live', async () => {
    const docs = Array.from({ length: 8000 }, (_, n) => ({ _id: `d${n}`, n, pad: 'p'.repeat(200) }))
    const first = await open()
    await first.insertAsync(docs)
    await first.compactDatafileAsync()
    const before = inode()
    const stores = [first, await open(), await open(), await open()]
    const ofTimers = async () => {
      const { setInterval: real } = globalThis
      globalThis.setInterval = ((run: () => void, ms: number) => real(run, ms / 100)) as never
      for (const db of stores) db.setAutocompactionInterval(1)
      globalThis.setInterval = real
      await sleep(200)
      for (const db of stores) db.stopAutocompaction()
      await Promise.all(stores.map((db) => db.countAsync({})))
    }
    await ofTimers()
    await first.insertAsync(Array.from({ length: 1000 }, (_, n) => ({ _id: `e${n}`, n })))
    await ofTimers()
    assert.equal(inode(), before, 'nothing is stale')
    await first.updateAsync({ n: { $lt: 3000 } }, { $inc: { n: 1 } }, { multi: true })
    await first.updateAsync({ _id: 'd0' }, { $inc: { n: 1 } }, {})
    await sleep(100)
    assert.equal(inode(), before, 'less is stale than is live')
    await ofTimers()
    const after = inode()
    assert.notEqual(after, before)
    await ofTimers()
    assert.equal(inode(), after, 'the first has done it for all')
    assert.equal((await seenByVanilla(path())).length, 9000)
    for (const db of stores) await db.close()
  })

  it('indexes, removals, bad lines and hooks are kept through it', async () => {
    const hooks = {
      afterSerialization: (line: string) => Buffer.from(line).toString('base64'),
      beforeDeserialization: (line: string) => Buffer.from(line, 'base64').toString(),
    }
    for (const options of [{ corruptAlertThreshold: 1 }, hooks]) {
      writeFileSync(path(), '')
      const db = await open(options)
      await db.ensureIndexAsync({ fieldName: 'n', unique: true })
      await db.insertAsync([
        { _id: 'gone', n: -1 },
        { _id: 'kept', n: -2 },
        { _id: 'a', n: 0 },
      ])
      await db.removeAsync({ _id: 'gone' }, {})
      if (options === hooks) await db.insertAsync({ _id: 'hooked', n: -3 })
      else appendFileSync(path(), 'no record of anybody\n')
      for (let n = 1; n <= 6000; n += 3) {
        const set = (to: number) =>
          db.updateAsync({ _id: 'a' }, { $set: { n: to, pad: 'p'.repeat(300) } }, {})
        await Promise.all([set(n), set(n + 1), set(n + 2)])
      }
      await until('the file is small', () => size() < MEBIBYTE)
      await db.close()
      const other = await open(options)
      assert.equal((await other.findOneAsync({ _id: 'a' })).n, 6000)
      assert.equal(await other.countAsync({}), options === hooks ? 3 : 2)
      await assert.rejects(other.insertAsync({ _id: 'b', n: -2 }), { errorType: 'uniqueViolated' })
      await other.close()
    }
    const aside = readdirSync(file('')).filter((name) => name.startsWith('a.db.corrupt-'))
    assert.equal(readFileSync(file(String(aside[0])), 'utf8'), 'no record of anybody\n')
  })

  it('of many processes one rewrites, nothing is lost, and the file stays small', async function () {
    this.timeout(60_000)
    grown(4000)
    const peers = await Promise.all(
      Array.from({ length: 3 }, () => Peer.start('locked', { filename: path(), autoload: true })),
    )
    const inodes = new Set<number>()
    let longest = 0
    const watch = setInterval(() => {
      inodes.add(inode())
      longest = Math.max(longest, size())
    }, 2)
    const call = ['updateAsync', { _id: 'a' }, { $inc: { n: 1 }, $set: { pad: 'p'.repeat(1000) } }, {}]
    const calls = Array.from({ length: 1000 }, () => call)
    const outcomes = await Promise.all(peers.map((peer) => peer.call<Outcome[]>('inTurn', ...calls)))
    clearInterval(watch)
    assert.deepEqual(
      outcomes.flat().flatMap(({ error }) => error ?? []),
      [],
    )
    const [found] = (await seenByVanilla(path())) as unknown as Doc[]
    assert.equal(found?.n, 3999 + 3000)
    for (const peer of peers) assert.equal((await peer.call<Doc>('findOneAsync', { _id: 'a' })).n, found?.n)
    // 4 MB were written in all: more often than three or four times it was not outgrown.
    assert.ok(inodes.size >= 2 && inodes.size <= 6, `${inodes.size} files`)
    assert.ok(longest < 2 * MEBIBYTE, `${longest} bytes`)
  })

  it('a failing timer warns, and tries again; a stale file is compacted by it', async () => {
    const { setInterval: real } = globalThis
    const rejected: unknown[] = []
    const onRejection = (reason: unknown) => rejected.push(reason)
    process.on('unhandledRejection', onRejection)
    try {
      globalThis.setInterval = ((run: () => void, ms: number) => real(run, ms / 100)) as never
      const db = await open({ timeoutMs: 60, compaction: 'manual' })
      globalThis.setInterval = real
      await db.insertAsync({ _id: 'a', n: 0 })
      await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
      const before = inode()
      const held = await new PsLock(path()).acquire()
      globalThis.setInterval = ((run: () => void, ms: number) => real(run, ms / 100)) as never
      db.setAutocompactionInterval(1)
      globalThis.setInterval = real
      await until('a warning', () => warned().length >= 2)
      assert.ok(warned().every(({ code }) => code === 'PSLOCK_COMPACTION'))
      assert.equal(inode(), before)
      held.release()
      await until('the file is another one', () => inode() !== before)
      const after = inode()
      await sleep(200)
      assert.equal(inode(), after, 'nothing is stale')
      await db.close()
      assert.deepEqual(rejected, [])
    } finally {
      globalThis.setInterval = real
      process.off('unhandledRejection', onRejection)
    }
  })

  it('one that fails is a warning, nothing is lost, and it is tried again when the file has grown', async () => {
    grown(10_000)
    linkSync(path(), file('other-name.db'))
    const db = await open()
    await until('a warning', () => warned().length > 0)
    assert.deepEqual(
      warned().map(({ code }) => code),
      ['PSLOCK_COMPACTION'],
    )
    unlinkSync(file('other-name.db'))
    const pad = 'q'.repeat(1000)
    for (let n = 0; n < 3000; n++) await db.updateAsync({ _id: 'a' }, { $set: { n, pad } }, {})
    await until('the file is small', () => size() < MEBIBYTE)
    await db.close()
    assert.deepEqual(await seenByVanilla(path()), [{ _id: 'a', n: 2999, pad }])
  })

  it('a large file is rewritten beside others who always wait, before it has five times its documents', async function () {
    // A quarter of a gigabyte is written.
    if (process.env.PSLOCK_LONG !== '1') this.skip()
    this.timeout(180_000)
    const documents = 66
    const db = await open()
    await db.insertAsync(
      Array.from({ length: documents }, (_, i) => ({ _id: `large${i}`, n: 0, pad: 'p'.repeat(MEBIBYTE) })),
    )
    const peers = await Promise.all(
      Array.from({ length: 3 }, () => Peer.start('locked', { filename: path(), autoload: true })),
    )
    const call = ['updateAsync', { _id: 'a' }, { $inc: { n: 1 } }, { upsert: true }]
    let isOver = false
    const busy = peers.map(async (peer) => {
      while (!isOver) await peer.call('inTurn', ...Array.from({ length: 200 }, () => call))
    })
    const first = inode()
    let longest = 0
    for (let round = 1; round <= 5 && inode() === first; round++) {
      for (let i = 0; i < documents; i++) {
        await db.updateAsync({ _id: `large${i}` }, { $set: { n: round } }, {})
        longest = Math.max(longest, size())
      }
    }
    isOver = true
    await Promise.all(busy)
    assert.ok(longest < 4.6 * documents * MEBIBYTE, `${longest / MEBIBYTE} MiB`)
    assert.notEqual(inode(), first)
    await db.close()
  })

  it('nobody waits for it: where the lock is busy it is done later', async () => {
    grown(10_000)
    const lock = new PsLock(path())
    const db = await open()
    const held = await lock.acquire()
    await sleep(50)
    // Compacted before the lock was taken, or not at all yet; in either case nothing waits for it.
    assert.ok(lock.holders().every(({ state }) => state === 'holding'))
    held.release()
    await until('the file is small', () => size() < 1000)
    await db.close()
    await lock.close()
  })

  it('it is no part of a transaction or a view, and joins none', async () => {
    const db = await open()
    await db.insertAsync({ _id: 'a', n: 0, pad: 'p'.repeat(15_000) })
    const count = async () => {
      for (let n = 0; n < 100; n++) await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
      await sleep(30)
    }
    await Promise.all([db.transaction(count), db.transaction(count, { retry: 5 })])
    await assert.rejects(
      db.transaction(async () => {
        await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
        await sleep(30)
        throw new Error('undone')
      }),
      /undone/,
    )
    await db.view(async () => {
      await sleep(30)
      assert.equal((await db.findOneAsync({ _id: 'a' })).n, 200)
    })
    await until('the file is small', () => size() < 100_000)
    assert.deepEqual(
      (await seenByVanilla(path())).map(({ n }) => n),
      [200],
    )
    await db.close()
  })

  it('a dropped store stays dropped', async () => {
    grown(10_000)
    const db = await open({ compaction: 'manual' })
    const other = await open()
    await db.dropDatabaseAsync()
    await sleep(300)
    assert.ok(!readdirSync(file('')).includes('a.db'))
    await other.insertAsync({ _id: 'new', n: 1 })
    assert.equal((await seenByVanilla(path())).length, 1)
    for (const store of [db, other]) await store.close()
  })
})
