import assert from 'node:assert/strict'
import { appendFileSync, closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { PsLock } from '../../../src/index.ts'
import { tryFlock } from '../../../src/os/flock.ts'
import { Peer, seeded, seedOfRun, temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'

/**
 * A read takes no lock: it looks whether the file is what memory is, takes in whole units that have been added, and
 * answers. What is promised: it sees everything committed before it began, and never a part of a unit.
 */
describe('NeDB reads without the lock', () => {
  const file = temporaryFolder()
  const warned = warnings()

  const open = async (options = {}) => {
    const db = new LockedNedb({ filename: file('store.db'), autoload: true, ...options })
    await db.autoloadPromise
    return db
  }

  it('wait for no holder, and see what it has committed', async () => {
    await using db = await open({ timeoutMs: 200 })
    await using other = await open()
    using held = await other.lock.acquire()
    await held.run(() => other.insertAsync({ _id: 'a', n: 1 }))
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', n: 1 }])
    assert.equal(await db.countAsync({}), 1)
    await held.run(() => other.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }))
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 2)
    await assert.rejects(db.insertAsync({}), { code: 'PSLOCK_TIMEOUT' })
  })

  it('wait for no holder that was stopped', async () => {
    const peer = await Peer.start('locked', { filename: file('store.db'), autoload: true })
    await peer.call('insertAsync', { _id: 'a' })
    await using db = await open()
    const holding = peer.call('hold', 60_000)
    while (new PsLock(file('store.db')).holders().every(({ pid }) => pid !== peer.pid)) await setTimeout(1)
    process.kill(peer.pid, 'SIGSTOP')
    assert.equal(await db.countAsync({}), 1)
    process.kill(peer.pid, 'SIGKILL')
    await holding.catch(() => {})
  })

  it('see in their order what was issued before them here', async () => {
    await using db = await open()
    const [, first, , second] = await Promise.all([
      db.insertAsync({ _id: 'a' }),
      db.countAsync({}).execAsync(),
      db.insertAsync({ _id: 'b' }),
      db.countAsync({}).execAsync(),
    ])
    assert.deepEqual([first, second], [1, 2])
  })

  it('take nothing of a unit that is being written, whole lines of it neither', async () => {
    await using db = await open()
    const unit = ' {"_id":"a"} \n{"_id":"b"} \n{"_id":"c"}\n'
    for (let length = 1; length < unit.length; length++) {
      appendFileSync(file('store.db'), unit.slice(length - 1, length))
      assert.equal(await db.countAsync({}), 0, unit.slice(0, length))
    }
    appendFileSync(file('store.db'), '\n')
    assert.equal(await db.countAsync({}), 3)
    assert.equal(readFileSync(file('store.db'), 'utf8'), unit, 'a reader changed the file')
  })

  it('see nothing of what is asked for after them, also where the event loop must turn first', async () => {
    await using db = await open()
    for (let n = 0; n < 3; n++) {
      await db.countAsync({}).execAsync()
      // In the same turn of the event loop.
      for (const start = performance.now(); performance.now() < start + 10; );
      const counted = db.countAsync({}).execAsync()
      const [count] = await Promise.all([counted, db.insertAsync({ n })])
      assert.equal(count, n)
    }
  })

  it('wait for the end of a last line that only lacks its line feed, while somebody is writing it', async () => {
    await using db = await open()
    const held = new PsLock(file('store.db')).acquireSync()
    // As every store does while it writes.
    const fd = openSync(file('store.db'), 'a')
    assert.ok(tryFlock(fd, 'exclusive', file('store.db')))
    appendFileSync(file('store.db'), '{"_id":"a"}')
    let seen: number | undefined
    const counted = db.countAsync({}).then((count) => {
      seen = count
    })
    await setTimeout(30)
    assert.equal(seen, undefined)
    appendFileSync(file('store.db'), ' \n{"_id":"b"}\n')
    closeSync(fd)
    held.release()
    await counted
    assert.equal(seen, 2)
  })

  it('notice a file that was replaced, removed, or rewritten in place with the same length', async () => {
    await using db = await open()
    await using other = await open()
    await other.insertAsync([
      { _id: 'a', n: 1 },
      { _id: 'b', n: 1, text: 'longer than what is compared of the end' },
    ])
    assert.equal(await db.countAsync({ n: 1 }), 2)
    await setTimeout(30)
    assert.equal(await db.countAsync({ n: 1 }), 2)
    // The end stays as it was: only the time tells.
    const text = readFileSync(file('store.db'), 'utf8')
    writeFileSync(file('store.db'), text.replace('"a","n":1', '"a","n":5'))
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 5)
    await other.removeAsync({ _id: 'b' }, {})
    await other.compactDatafileAsync()
    assert.equal(await db.countAsync({}), 1)
    await other.dropDatabaseAsync()
    assert.equal(await db.countAsync({}), 0)
  })

  it('see an unreadable line as the lock does: counted, kept, told once', async () => {
    await using db = await open()
    for (let n = 0; n < 20; n++) await db.insertAsync({ n })
    appendFileSync(file('store.db'), 'nonsense\n')
    assert.equal(await db.countAsync({}), 20)
    await db.insertAsync({ n: 20 })
    assert.equal(await db.countAsync({}), 21)
    await setTimeout(0)
    assert.deepEqual(
      warned().map(({ code }) => code),
      ['PSLOCK_CORRUPT_LINES'],
    )
  })

  it('find the last version of what others have written, wherever its _id stands, and what only looks like one', async () => {
    await using db = await open()
    await using other = await open()
    await db.insertAsync([
      { _id: 'a', n: 0 },
      { _id: 'b\\"', n: 0 },
      { _id: '{"_id":"a"', n: 0 },
      { _id: 7 as never, n: 0 },
    ])
    const odd = { text: '{"_id":"a"}', list: [{ _id: 'a' }, ',"_id":"a"}'], inner: { n: 1, _id: 'a' } }
    for (const query of [{ _id: 'b\\"' }, { _id: '{"_id":"a"' }, { _id: 7 }]) {
      await other.updateAsync(query, { $set: odd, $inc: { n: 1 } })
      assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 0)
      assert.deepEqual(await db.findOneAsync(query), { ...query, n: 1, ...odd })
    }
    await other.updateAsync({ _id: 'a' }, { ...odd, n: 5 })
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 5)
    appendFileSync(file('store.db'), `${JSON.stringify({ ...odd, n: 6, _id: 'a', last: ',"_id":"b' })}\n`)
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 6)
    appendFileSync(
      file('store.db'),
      `${JSON.stringify({ n: 7, ...odd, _id: 'a' })}\n{"$$deleted":true,"_id":"b\\\\\\""}\n`,
    )
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 7)
    appendFileSync(file('store.db'), `${JSON.stringify({ n: 8, _id: 'a', text: 'in the middle' })}\n`)
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 8)
    assert.equal(await db.findOneAsync({ _id: 'b\\"' }), null)
    assert.equal(await db.countAsync({}), 3)
  })

  it('refuse a damaged line that stands for the document that is asked for, and read anew', async () => {
    await using db = await open()
    for (let n = 0; n < 20; n++) await db.insertAsync({ _id: `${n}`, n })
    appendFileSync(file('store.db'), '{"_id":"5","n":}\n')
    assert.equal((await db.findOneAsync({ _id: '6' }))?.n, 6)
    await assert.rejects(Promise.resolve(db.findOneAsync({ _id: '5' })), { code: 'PSLOCK_CORRUPT' })
    assert.equal((await db.findOneAsync({ _id: '5' }))?.n, 5)
    await setTimeout(0)
    assert.equal(warned()[0]?.code, 'PSLOCK_CORRUPT_LINES')
  })

  it('are refused once the store, or its lock, is closed', async () => {
    const db = await open()
    await db.close()
    await assert.rejects(Promise.resolve(db.findAsync({})), { code: 'PSLOCK_CLOSED' })
    const other = await open()
    await other.lock.close()
    await assert.rejects(Promise.resolve(other.findAsync({})), { code: 'PSLOCK_CLOSED' })
  })

  it('never see a part of a unit, nor an older state than before, beside three writers', async () => {
    const seed = seedOfRun()
    await using db = await open()
    const peers = await Promise.all(
      [1, 2, 3].map(() =>
        Peer.start('locked', { filename: file('store.db'), autoload: true, timeoutMs: 60_000 }),
      ),
    )
    await db.insertAsync([
      { _id: 'a', n: 0 },
      { _id: 'b', n: 0 },
    ])
    const random = seeded(seed)
    const text = (length: number) => 'x'.repeat(length)
    let isOver = false
    const writing = Promise.all(
      peers.map(async (peer) => {
        // Short ones, and ones of several blocks, which are written with their markers.
        for (let n = 0; n < 60; n++) {
          const change = { $inc: { n: 1 }, $set: { text: text(random() < 0.3 ? 9000 * random() : 20) } }
          await peer.call('updateAsync', {}, change, { multi: true })
        }
      }),
    ).finally(() => {
      isOver = true
    })
    let reads = 0
    let last = 0
    const states = new Set<number>()
    while (!isOver) {
      const [a, b] = (await db.findAsync({}).sort({ _id: 1 })) as unknown as { n: number; text: string }[]
      assert.equal(a?.n, b?.n, `half a unit after ${reads} reads, seed ${seed}`)
      assert.equal(a?.text, b?.text)
      assert.ok((a?.n ?? 0) >= last, 'an older state')
      last = a?.n ?? 0
      states.add(last)
      // Else nothing else of this process would ever run.
      if (++reads % 20 === 0) await setTimeout(0)
    }
    await writing
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 180)
    console.log(`      ${JSON.stringify({ seed, reads, states: states.size })}`)
    assert.ok(states.size > 20, 'the reads were not among the writes')
  })

  it('see what another process has committed just before, each time', async () => {
    await using db = await open()
    const peer = await Peer.start('locked', { filename: file('store.db'), autoload: true })
    for (let n = 1; n <= 200; n++) {
      await peer.call('insertAsync', { n })
      assert.equal(await db.countAsync({}), n)
    }
  })
})
