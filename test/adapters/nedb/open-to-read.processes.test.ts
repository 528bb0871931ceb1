import assert from 'node:assert/strict'
import { appendFileSync, closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { PsLock } from '../../../src/index.ts'
import { tryFlock } from '../../../src/os/flock.ts'
import { type Doc, idsOf, Peer, temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'

type Opened = { count(): Promise<number>; find(): Promise<Doc[]>; close(): Promise<void> }

/** The ways to open a store for a first read. */
const WAYS: Record<string, (filename: string) => Promise<Opened>> = {
  async autoload(filename) {
    const db = new LockedNedb<Doc>({ filename, autoload: true, timeoutMs: 100 })
    await db.autoloadPromise
    return {
      count: async () => db.countAsync({}),
      find: async () => db.findAsync({}),
      close: () => db.close(),
    }
  },
  async 'a read at once, while it loads by itself'(filename) {
    const db = new LockedNedb<Doc>({ filename, autoload: true, timeoutMs: 100 })
    return {
      count: async () => db.countAsync({}),
      find: async () => db.findAsync({}),
      close: () => db.close(),
    }
  },
  async loadDatabaseAsync(filename) {
    const db = new LockedNedb<Doc>({ filename, timeoutMs: 100 })
    await db.loadDatabaseAsync()
    return {
      count: async () => db.countAsync({}),
      find: async () => db.findAsync({}),
      close: () => db.close(),
    }
  },
  async 'the find of nedb-promises'(filename) {
    const db = LockedDatastore.create({ filename, timeoutMs: 100 })
    return {
      count: async () => (await db.find({})).length,
      find: async () => db.find<Doc>({}),
      close: () => db.close(),
    }
  },
  async 'the count of nedb-promises with autoload'(filename) {
    const db = LockedDatastore.create({ filename, autoload: true, timeoutMs: 100 })
    return { count: async () => db.count({}), find: async () => db.find<Doc>({}), close: () => db.close() }
  },
}

/** What also reads, in a store that is opened for it. */
const VIEWS: Record<string, (filename: string) => Promise<Opened>> = {
  async 'a view'(filename) {
    const db = new LockedNedb<Doc>({ filename, autoload: true, timeoutMs: 100 })
    return {
      count: async () => db.view(async (view) => view.countAsync({})),
      find: async () => db.view(async (view) => view.findAsync({})),
      close: () => db.close(),
    }
  },
  async 'a view of nedb-promises'(filename) {
    const db = LockedDatastore.create({ filename, timeoutMs: 100 })
    return {
      count: async () => db.view(async (view) => view.count({})),
      find: async () => db.view(async (view) => view.find<Doc>({})),
      close: () => db.close(),
    }
  },
}

describe('opening a NeDB file to read', () => {
  const file = temporaryFolder()
  const warned = warnings()

  /** A process that holds the lock, and has perhaps been stopped. */
  async function holder(isStopped: boolean): Promise<Peer> {
    const peer = await Peer.start('locked', { filename: file('a.db') })
    peer.outcome('hold', 60_000).catch(() => {})
    while (new PsLock(file('a.db')).holders().every(({ pid }) => pid !== peer.pid)) await setTimeout(1)
    if (isStopped) process.kill(peer.pid, 'SIGSTOP')
    return peer
  }

  for (const [way, open] of Object.entries({ ...WAYS, ...VIEWS })) {
    it(`waits for no holder: ${way}`, async () => {
      writeFileSync(file('a.db'), '{"_id":"1","n":1}\n{"_id":"1","n":2}\n{"_id":"2"}\n')
      for (const isStopped of [true, false]) {
        const peer = await holder(isStopped)
        const db = await open(file('a.db'))
        assert.equal(await db.count(), 2)
        await peer.kill()
        await db.close()
      }
    })

    it(`waits for no holder where there is no file yet: ${way}`, async () => {
      await holder(true)
      const db = await open(file('a.db'))
      assert.equal(await db.count(), 0)
      writeFileSync(file('a.db'), '{"_id":"1"}\n')
      assert.equal(await db.count(), 1)
      await db.close()
    })
  }

  it('needs no lock file, and leaves none', async () => {
    writeFileSync(file('a.db'), '{"_id":"1"}\n')
    for (const way of ['autoload', 'the find of nedb-promises', 'the count of nedb-promises with autoload']) {
      const db = await (WAYS[way] as (typeof WAYS)[string])(file('a.db'))
      assert.equal(await db.count(), 1)
      assert.equal(await db.count(), 1)
      await db.close()
      assert.deepEqual(readdirSync(file('.')), ['a.db'])
    }
  })

  it('finds a file that was written a moment ago, beside a holder', async () => {
    await holder(true)
    for (let n = 1; n <= 5; n++) {
      appendFileSync(file('a.db'), `{"_id":"${n}"}\n`)
      await using db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, timeoutMs: 400 })
      assert.equal(await db.countAsync({}), n)
    }
  })

  it('takes a last line without its line feed for a record, beside a holder that is not at work', async () => {
    for (const isStopped of [true, false]) {
      const peer = await holder(isStopped)
      for (const text of ['{"_id":"1"}', '{"_id":"1"}\n{"_id":"2"}']) {
        writeFileSync(file('a.db'), text)
        for (const open of Object.values({ ...WAYS, ...VIEWS })) {
          const db = await open(file('a.db'))
          assert.equal(await db.count(), text.split('\n').length)
          await db.close()
        }
        assert.equal(readFileSync(file('a.db'), 'utf8'), text)
      }
      await peer.kill()
    }
  })

  it('does not show a last line without its line feed while a writer is at work', async () => {
    writeFileSync(file('a.db'), '{"_id":"1"}')
    const fd = openSync(file('a.db'), 'r+')
    tryFlock(fd, 'exclusive', file('a.db'))
    await holder(true)
    for (const open of Object.values({ ...WAYS, ...VIEWS })) {
      const refused = open(file('a.db')).then((db) => db.count())
      await assert.rejects(refused, { code: 'PSLOCK_TIMEOUT' })
    }
    closeSync(fd)
  })

  it('a read and a view that a transaction of this process waits for end with their patience', async () => {
    const db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, timeoutMs: 100 })
    await db.insertAsync({ _id: '1' })
    const jobs: (() => Promise<unknown>)[] = []
    const worker = setInterval(() => jobs.shift()?.(), 1)
    // Run by somebody who was there before: no part of the transaction that they are asked for in.
    const inQueue = (job: () => Promise<unknown>) =>
      new Promise((resolve, reject) => jobs.push(() => job().then(resolve, reject)))
    await db.lock.exclusive(() =>
      db.transaction(async () => {
        for (const job of [
          async () => db.findAsync({}),
          () => db.view(() => {}),
          () => db.view(async (view) => view.countAsync({})),
        ])
          await assert.rejects(inQueue(job), { code: 'PSLOCK_TIMEOUT' })
      }),
    )
    clearInterval(worker)
    await db.close()
  })

  it('tells at once of a damaged file, beside a holder', async () => {
    writeFileSync(file('a.db'), 'garbage\n{"_id":"1"}\n')
    await holder(true)
    const db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })
    await assert.rejects(db.countAsync({}), { code: 'PSLOCK_CORRUPT' })
    await db.close()
  })

  it('skips a torn end, which it leaves to the next writer', async () => {
    const text = '{"_id":"1"}\n {"_id":"2"} \n{"_id":'
    writeFileSync(file('a.db'), text)
    const peer = await holder(true)
    const db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, timeoutMs: 400 })
    assert.equal(await db.countAsync({}), 1)
    assert.equal(readFileSync(file('a.db'), 'utf8'), text)
    await peer.kill()
    await db.insertAsync({ _id: '3' })
    assert.equal(await db.countAsync({}), 2)
    await setTimeout(1)
    assert.ok(warned().some(({ code }) => code === 'PSLOCK_TORN_TAIL'))
    await db.close()
  })

  it('an explicit load beside a holder reads at once, and leaves the compaction to later', async () => {
    const text = '{"_id":"1","n":1}\n{"_id":"1","n":2}\n'
    writeFileSync(file('a.db'), text)
    const peer = await holder(true)
    const db = new LockedNedb<Doc>({ filename: file('a.db') })
    const start = performance.now()
    const counted = db.countAsync({}).then((count) => [count, performance.now() - start] as const)
    await db.loadDatabaseAsync()
    const [count, tookMs] = await counted
    assert.equal(count, 1)
    assert.ok(tookMs < performance.now() - start - 200, `${tookMs} ms`)
    assert.ok(performance.now() - start < 10_000)
    assert.equal(readFileSync(file('a.db'), 'utf8'), text)
    await peer.kill()
    await db.loadDatabaseAsync()
    assert.equal(readFileSync(file('a.db'), 'utf8'), '{"_id":"1","n":2}\n')
    await db.close()
  })

  it('a write that waits for the holder does not keep the reads before it waiting, but those after it', async () => {
    writeFileSync(file('a.db'), '{"_id":"1"}\n')
    const peer = await holder(true)
    const db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })
    const before = db.countAsync({}).execAsync()
    const inserting = db.insertAsync({ _id: '2' })
    const after = db.countAsync({}).execAsync()
    assert.equal(await before, 1)
    await peer.kill()
    await inserting
    assert.equal(await after, 2)
    await db.close()
  })

  describe('beside a holder that writes all the time', () => {
    /** What a look shows: whole batches, from the first on, and all that were acknowledged before it began. */
    async function look(writer: Peer, open: () => Promise<readonly Doc[]>, size: number): Promise<void> {
      const before = await writer.call<number>('acknowledged')
      const docs = await open()
      const after = await writer.call<number>('acknowledged')
      const batches = docs.length / size
      assert.ok(before <= batches && batches <= after + 1, `${before}, ${batches} and ${after} batches`)
      const ids = new Set(docs.map(({ _id }) => _id))
      for (let n = 0; n < batches; n++)
        for (let i = 0; i < size; i++) assert.ok(ids.has(`${n}.${i}`), `${n}.${i} of ${batches} batches`)
    }

    for (const [what, size, textLength, compactEvery] of [
      ['single records', 1, 0, 1e9],
      ['records of several blocks', 1, 8000, 1e9],
      ['small batches', 3, 0, 1e9],
      ['batches between markers', 5, 1500, 1e9],
      ['records, and compacts', 1, 200, 5],
    ] as const) {
      it(`waits for none of its writes: ${what}`, async () => {
        writeFileSync(file('a.db'), '')
        const options = { filename: file('a.db'), autoload: true, timeoutMs: 100 }
        const late = new LockedNedb<Doc>(options)
        assert.equal(await late.countAsync({}), 0)
        const writer = await Peer.start('locked', options)
        const writing = writer.call('writeHolding', size, textLength, compactEvery)
        const reader = await Peer.start('locked', { ...options, autoload: false })
        await look(
          writer,
          async () => {
            await reader.call('loadDatabaseAsync')
            return reader.call('findAsync', {})
          },
          size,
        )
        for (const way of ['autoload', 'the find of nedb-promises', 'a view']) {
          const db = await ({ ...WAYS, ...VIEWS }[way] as (typeof WAYS)[string])(file('a.db'))
          await look(writer, () => db.find(), size)
          await db.close()
        }
        // More than is read at once, where it is much.
        await look(writer, () => late.findAsync({}), size)
        await late.close()
        await using synced = new LockedNedb<Doc>({ ...options, durability: 'disk' })
        await look(writer, () => synced.findAsync({}), size)
        await writer.call('stopWriting')
        await writing
      })
    }
  })

  for (const later of [0, 1_000_000]) {
    it(`shows no mixture of a torn end and of what is written in its place, ${later} bytes longer`, async () => {
      // A piece of a mebibyte is read before the hook is asked, the rest after it.
      const torn = `{"_id":"torn","text":"${'x'.repeat(2 ** 21)}`
      writeFileSync(file('a.db'), `{"_id":"1"}\n${torn}`)
      const writer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
      let asked = 0
      const db = new LockedNedb<Doc>({
        filename: file('a.db'),
        autoload: true,
        timeoutMs: 10_000,
        afterSerialization: async (line) => line.replace('{', '{ '),
        async beforeDeserialization(line) {
          if (line === '{"_id":"1"}' && asked++ === 0) {
            await writer.call('insertAsync', { _id: '2', text: 'y'.repeat(2 ** 21 - 2 ** 19) })
            if (later > 0) await writer.call('insertAsync', { _id: '3', text: 'z'.repeat(later) })
          }
          return line
        },
      })
      const docs = await db.findAsync({})
      assert.deepEqual(idsOf(docs), later > 0 ? ['1', '2', '3'] : ['1', '2'])
      assert.doesNotMatch(docs.find(({ _id }) => _id === '2')?.text as string, /[^y]/)
      assert.ok(asked > 1)
      await db.close()
    })
  }

  it('sees whole states only, while others write, compact and hold', async () => {
    const peers = await Promise.all(
      [0, 1, 2].map(() => Peer.start('locked', { filename: file('a.db'), autoload: true })),
    )
    await peers[0]?.call('insertAsync', { _id: 'pairs', of: [0, 0] })
    let isOver = false
    const writing = peers.map(async (peer, by) => {
      for (let n = 0; !isOver; n++) {
        await peer.call(
          'insertAsync',
          Array.from({ length: 40 }, (_, i) => ({ _id: `${by}.${n}.${i}`, by, n, text: 'x'.repeat(200) })),
        )
        if (n % 5 === by) await peer.call('compactDatafileAsync')
        if (n % 7 === by) await peer.call('hold', 5)
      }
    })
    let opened = 0
    let least = 0
    const until = performance.now() + 2500
    while (performance.now() < until) {
      const db = new LockedNedb<Doc & { by: number; n: number }>({ filename: file('a.db'), autoload: true })
      const docs = await db.findAsync({ by: { $exists: true } })
      const batches = new Map<string, number>()
      for (const { by, n } of docs) batches.set(`${by}.${n}`, (batches.get(`${by}.${n}`) ?? 0) + 1)
      for (const [batch, count] of batches) assert.equal(count, 40, `a part of ${batch}`)
      assert.ok(docs.length >= least, `${docs.length} after ${least}`)
      least = docs.length
      opened++
      await db.close()
    }
    isOver = true
    await Promise.all(writing)
    assert.ok(opened > 20, `${opened}`)
  })
})
