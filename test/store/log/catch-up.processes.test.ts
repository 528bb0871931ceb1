import assert from 'node:assert/strict'
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { idsOf, Peer, seenByVanilla, temporaryFolder, type VanillaNedb } from '../../fixtures/nedb-tools.ts'

/** How many bytes this process has read so far. */
const bytesRead = () => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])

describe('refreshing from an append log', () => {
  const file = temporaryFolder()
  const open = () =>
    new LockedNedb<{ _id: string; n?: number; k?: number }>({ filename: file('a.db'), autoload: true })

  it('costs what is new, not what is there', async function () {
    if (!existsSync('/proc/self/io')) {
      console.log('      skipped: there is no /proc/self/io here')
      return this.skip()
    }
    const lines = Array.from({ length: 20_000 }, (_, n) => `{"_id":"d${n}","pad":"${'x'.repeat(60)}"}\n`)
    writeFileSync(file('a.db'), lines.join(''))
    await using db = open()
    assert.equal(await db.countAsync({}), 20_000)
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    await peer.call('countAsync', {})
    for (let n = 0; n < 5; n++) {
      const before = bytesRead()
      await peer.call('insertAsync', { _id: `new${n}` })
      assert.equal((await db.findOneAsync({ _id: `new${n}` }))?._id, `new${n}`)
      const cost = bytesRead() - before
      assert.ok(cost < 10_000, `${cost} bytes were read for one foreign insert`)
    }
  })

  it('makes two stores of one process see each other', async () => {
    await using one = open()
    await using two = open()
    for (let n = 0; n < 50; n++) {
      const [writer, reader] = n % 2 ? [one, two] : [two, one]
      await writer.insertAsync({ _id: `${n}`, n })
      assert.equal(await reader.countAsync({}), n + 1)
    }
    await one.compactDatafileAsync()
    await two.updateAsync({ _id: '7' }, { $set: { n: 70 } }, {})
    await two.compactDatafileAsync()
    assert.equal((await one.findOneAsync({ _id: '7' }))?.n, 70)
    await Promise.all(
      Array.from({ length: 60 }, (_, n) =>
        (n % 2 ? one : two).updateAsync({ _id: '0' }, { $inc: { n: 1 } }, {}),
      ),
    )
    assert.equal((await one.findOneAsync({ _id: '0' }))?.n, 60)
  })

  it('works for many stores in several processes, with compactions in between', async () => {
    const names = Array.from({ length: 6 }, (_, n) => file(`${n}.db`))
    const stores = names.map((filename) => new LockedNedb({ filename, autoload: true }))
    const peers = await Promise.all(
      names.flatMap((filename) => [1, 2].map(() => Peer.start('locked', { filename, autoload: true }))),
    )
    await Promise.all([
      ...peers.map((peer, p) =>
        peer.call(
          'inTurn',
          ...Array.from({ length: 30 }, (_, n) =>
            n % 10 ? ['insertAsync', { _id: `${p}-${n}` }] : ['compactDatafileAsync'],
          ),
        ),
      ),
      ...stores.map(async (db) => {
        for (let n = 0; n < 20; n++) await db.insertAsync({ _id: `own-${n}` })
      }),
    ])
    for (const [n, db] of stores.entries()) {
      assert.equal(await db.countAsync({}), 20 + 2 * 27)
      assert.equal((await seenByVanilla(names[n] as string)).length, 20 + 2 * 27)
      await db.close()
    }
  })

  it('takes two documents that swap a unique value', async () => {
    await using one = open()
    await one.ensureIndexAsync({ fieldName: 'k', unique: true })
    await using two = open()
    await one.insertAsync([
      { _id: 'a', k: 1 },
      { _id: 'b', k: 2 },
      { _id: 'c', k: 3 },
    ])
    assert.equal(await two.countAsync({}), 3)
    await one.updateAsync({}, { $inc: { k: 1 } }, { multi: true })
    assert.deepEqual(
      (await two.findAsync({}).sort({ _id: 1 })).map(({ k }) => k),
      [2, 3, 4],
    )
    await one.updateAsync({ _id: 'a' }, { $set: { k: 9 } }, {})
    await one.updateAsync({ _id: 'b' }, { $set: { k: 2 } }, {})
    await one.updateAsync({ _id: 'a' }, { $set: { k: 3 } }, {})
    assert.deepEqual(
      (await two.findAsync({}).sort({ _id: 1 })).map(({ k }) => k),
      [3, 2, 4],
    )
    await assert.rejects(two.insertAsync({ _id: 'd', k: 2 }), { errorType: 'uniqueViolated' })
  })

  it('takes a unique value that went from one document to another, whichever is asked for first', async () => {
    for (const first of ['a', 'b']) {
      await using one = new LockedNedb<{ _id: string; k: number }>({ filename: file(first), autoload: true })
      await one.ensureIndexAsync({ fieldName: 'k', unique: true })
      await one.insertAsync(['a', 'b'].map((_id, k) => ({ _id, k })))
      await using two = new LockedNedb<{ _id: string; k: number }>({ filename: file(first), autoload: true })
      assert.equal(await two.countAsync({}), 2)
      await one.updateAsync({ _id: 'a' }, { $set: { k: 9 } }, {})
      await one.updateAsync({ _id: 'b' }, { $set: { k: 0 } }, {})
      assert.equal((await two.findOneAsync({ _id: first }))?.k, first === 'a' ? 9 : 0)
      assert.equal((await two.findOneAsync({ k: 0 }))?._id, 'b')
      await assert.rejects(two.updateAsync({ _id: 'b' }, { $set: { k: 9 } }, {}), {
        errorType: 'uniqueViolated',
      })
      await two.updateAsync({ _id: 'b' }, { $set: { k: 1 } }, {})
      assert.equal((await one.findOneAsync({ k: 1 }))?._id, 'b')
    }
  })

  it('finds by any field what another store changed, removed or added, and what it left', async () => {
    await using one = open()
    await using two = open()
    await one.insertAsync(Array.from({ length: 6 }, (_, n) => ({ _id: `d${n}`, n, k: n })))
    await one.ensureIndexAsync({ fieldName: 'n' })
    assert.equal(await two.countAsync({}), 6)
    await one.updateAsync({ _id: 'd0' }, { $set: { n: 5 } }, {})
    await one.removeAsync({ _id: 'd1' }, {})
    await one.insertAsync({ _id: 'd6', n: 5 })
    assert.deepEqual(idsOf(await two.findAsync({ _id: { $in: ['d0', 'd1', 'd2'] } })), ['d0', 'd2'])
    assert.deepEqual(idsOf(await two.findAsync({ n: 5 })), ['d0', 'd5', 'd6'])
    assert.deepEqual(idsOf(await two.findAsync({ n: { $lt: 2 } })), [])
    assert.deepEqual(idsOf(await two.findAsync({ k: { $lte: 1 } })), ['d0'])
    assert.deepEqual(idsOf(await two.findAsync({ $or: [{ _id: 'd6' }, { _id: 'd1' }] })), ['d6'])
    assert.equal(await two.updateAsync({ _id: 'd1' }, { $set: { n: 1 } }, {}).then((r) => r.numAffected), 0)
    await assert.rejects(two.insertAsync({ _id: 'd6' }), { errorType: 'uniqueViolated' })
    await two.insertAsync({ _id: 'd1', n: 7 })
    assert.equal(await two.removeAsync({ n: 5 }, { multi: true }), 3)
    assert.deepEqual(idsOf(await one.findAsync({})), ['d1', 'd2', 'd3', 'd4'])
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['d1', 'd2', 'd3', 'd4'])
  })

  for (const [name, replace] of Object.entries({
    'by a rename': () => {
      writeFileSync(file('new'), '{"_id":"x"}\n{"_id":"y"}\n')
      renameSync(file('new'), file('a.db'))
    },
    'in place, by the same length': () => {
      const { length } = readFileSync(file('a.db'))
      const start = '{"_id":"x"}\n{"_id":"y"}'
      writeFileSync(file('a.db'), `${start}${' '.repeat(length - start.length - 1)}\n`)
    },
    'in place, by something shorter': () => writeFileSync(file('a.db'), '{"_id":"x"}\n{"_id":"y"}\n'),
    'in place, by something longer': () =>
      writeFileSync(file('a.db'), `{"_id":"x"}\n{"_id":"y"}\n${'{"_id":"x"}\n'.repeat(50)}`),
    'by a new file after it was deleted': () => {
      rmSync(file('a.db'))
      writeFileSync(file('a.db'), '{"_id":"x"}\n{"_id":"y"}\n')
    },
  })) {
    it(`notices a file that was replaced ${name}`, async () => {
      await using db = open()
      await db.insertAsync([
        { _id: 'a', n: 1 },
        { _id: 'b', n: 2 },
        { _id: 'c', n: 3 },
      ])
      await db.ensureIndexAsync({ fieldName: 'k', unique: true, sparse: true })
      replace()
      assert.deepEqual(idsOf(await db.findAsync({})), ['x', 'y'])
      assert.deepEqual(Object.keys((db as unknown as VanillaNedb).indexes), ['_id'])
      replace()
      await db.insertAsync({ _id: 'z' })
      assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['x', 'y', 'z'])
    })
  }

  it('notices a change in place, of the same length, that leaves the end of the file as it was', async () => {
    await using db = open()
    await db.insertAsync([
      { _id: 'a', n: 1 },
      ...[1, 2, 3, 4, 5].map((n) => ({ _id: `b${n}`, pad: 'x'.repeat(40) })),
    ])
    assert.equal(await db.countAsync({ n: 1 }), 1)
    writeFileSync(file('a.db'), readFileSync(file('a.db'), 'utf8').replace('"n":1', '"n":7'))
    assert.equal(await db.countAsync({ n: 7 }), 1)
  })

  it('notices it also where all its looks are those of writes, which do not always ask for the time', async () => {
    await using db = open()
    await db.insertAsync([
      { _id: 'a', n: 1 },
      ...[1, 2, 3, 4, 5].map((n) => ({ _id: `b${n}`, pad: 'x'.repeat(40) })),
    ])
    // From the thousandth look of a process on it is statx(2), which tells the time only where it is asked for it.
    for (let n = 0; n < 1000; n++) await db.countAsync({})
    await db.insertAsync({ _id: 'c', n: 0 })
    const raise = async (n: number) =>
      (await db.updateAsync({ _id: 'a', n }, { $inc: { n: 1 } }, {})).numAffected
    // The first look after a change of one's own does not ask, the next one does.
    assert.equal(await raise(7), 0)
    assert.equal(await raise(7), 0)
    // Kernels before 6.13 count file times in steps of up to 10 ms.
    await sleep(50)
    writeFileSync(file('a.db'), readFileSync(file('a.db'), 'utf8').replace('"n":1', '"n":7'))
    assert.equal(await raise(7), 1)
  })

  it('takes a deleted file for an empty store', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'a' })
    rmSync(file('a.db'))
    assert.equal(await db.countAsync({}), 0)
    await db.insertAsync({ _id: 'b' })
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['b'])
  })

  it('shows nobody a part of what another has added, however long it takes to read', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'first' })
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    const large = Array.from({ length: 30 }, (_, n) => ({ _id: `large${n}`, text: 'x'.repeat(100_000) }))
    await peer.call('insertAsync', large)
    const seen = new Set<number>()
    let isDone = false
    const look = () => {
      seen.add(db.getAllData().length)
      if (!isDone) setImmediate(look)
    }
    look()
    assert.equal(await db.countAsync({}), 31)
    isDone = true
    await new Promise((turn) => setImmediate(turn))
    assert.deepEqual([...seen], [1, 31])
  })

  it('keeps batches of more than 512 KiB apart', async () => {
    const peers = await Promise.all(
      [1, 2].map(() => Peer.start('locked', { filename: file('a.db'), autoload: true })),
    )
    const batch = (by: number) =>
      Array.from({ length: 1400 }, (_, n) => ({ _id: `${by}-${n}`, pad: 'p'.repeat(1000) }))
    await Promise.all(peers.map((peer, by) => peer.call('insertAsync', batch(by))))
    await using db = open()
    assert.equal(await db.countAsync({}), 2800)
    assert.equal((await seenByVanilla(file('a.db'))).length, 2800)
  })
})
