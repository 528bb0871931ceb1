import assert from 'node:assert/strict'
import type { EventEmitter } from 'node:events'
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { LockedNedb, type LockedNedbOptions } from '../../adapters/nedb.ts'
import { LockedDatastore } from '../../adapters/nedb-promises.ts'
import {
  ClosedError,
  ConflictError,
  CorruptStoreError,
  StoreUnavailableError,
  ThrottledError,
  TransactionError,
  throttle,
} from '../../src/index.ts'
import { until } from '../fixtures/folder.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { idsOf, type Outcome, Peer, temporaryFolder } from '../fixtures/nedb-tools.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import { usePostgres } from '../harness/postgres.ts'
import { nameOf, rowsOf, useServerStores } from './server-stores.ts'

type Doc = { _id?: string; [field: string]: unknown }

/** A store on a server, as its user sees it. */
describe('a store on a server', () => {
  const place = useServerStores()
  // Ends the peers of each test.
  temporaryFolder()
  const opened: { close(): Promise<void> }[] = []
  afterEach(() => Promise.allSettled(opened.splice(0).map((store) => store.close())))

  const url = () => place.path('jobs')
  const open = async (options: LockedNedbOptions = {}): Promise<LockedNedb<Doc>> => {
    const db = new LockedNedb<Doc>({ url: url(), autoload: true, ...options })
    opened.push(db)
    await db.autoloadPromise
    return db
  }
  const peers = (count: number, options: object = {}) =>
    Promise.all(
      Array.from({ length: count }, () => Peer.start('locked', { url: url(), autoload: true, ...options })),
    )
  const rows = () => rowsOf(place.server(), url())
  const all = (db: LockedNedb<Doc>) => db.findAsync({}).sort({ _id: 1 })

  describe('crowds', () => {
    it('50 processes that increment one counter lose nothing', async function () {
      this.timeout(90_000)
      const db = await open()
      await db.insertAsync({ _id: 'counter', n: 0 })
      const crowd = await peers(50)
      const calls = Array(40).fill(['updateAsync', { _id: 'counter' }, { $inc: { n: 1 } }, {}])
      const since = performance.now()
      const outcomes = await Promise.all(crowd.map((peer) => peer.call<Outcome[]>('inTurn', ...calls)))
      note(`2000 increments in ${Math.round(performance.now() - since)} ms`)
      assert.deepEqual(
        outcomes.flat().filter(({ error }) => error),
        [],
      )
      assert.deepEqual(await db.findOneAsync({ _id: 'counter' }), { _id: 'counter', n: 2000 })
      assert.deepEqual(await rows(), [{ key: '"counter"', line: '{"_id":"counter","n":2000}' }])
    })

    it('inserts with ids of the library: all of them are there, in every memory, once', async () => {
      const crowd = await peers(4)
      const inserts = (by: number) => Array.from({ length: 50 }, (_, n) => ['insertAsync', { by, n }])
      await Promise.all(crowd.map((peer, by) => peer.call('together', ...inserts(by))))
      const names = (docs: Doc[]) => docs.map(({ by, n }) => `${by}.${n}`).sort()
      const expected = crowd.flatMap((_, by) => inserts(by).map((_, n) => `${by}.${n}`)).sort()
      assert.deepEqual(names(await all(await open())), expected)
      for (const peer of crowd) assert.deepEqual(names(await peer.call('findAsync', {})), expected)
    })

    it('of those who insert the same id, or the same unique value, exactly one succeeds', async () => {
      const db = await open()
      await db.ensureIndexAsync({ fieldName: 'mail', unique: true })
      const crowd = await peers(4)
      for (let round = 0; round < 8; round++) {
        const doc = round % 2 === 0 ? { mail: `m${round}` } : { _id: `id${round}`, mail: undefined }
        const outcomes = await Promise.all(
          crowd.map((peer, by) =>
            peer.outcome('insertAsync', { ...doc, by, ...(round % 2 === 1 && { mail: `${round}.${by}` }) }),
          ),
        )
        const failures = outcomes.flatMap(({ error }) => (error ? [error] : []))
        assert.equal(failures.length, crowd.length - 1, JSON.stringify(outcomes))
        for (const { errorType } of failures) assert.equal(errorType, 'uniqueViolated')
      }
      assert.equal(await db.countAsync({}), 8)
    })

    it('an update that depends on what others remove and insert again is right', async () => {
      const crowd = await peers(3)
      const seed = newSeed()
      const next = random(seed)
      note(`seed ${seed}`)
      // Each insert is matched by exactly one remove that counts 1: whoever succeeds has changed the state.
      const tally = await Promise.all(
        crowd.map((peer) => {
          const calls = Array.from({ length: 60 }, () =>
            next() < 0.5 ? ['insertAsync', { _id: 'seat' }] : ['removeAsync', { _id: 'seat' }, {}],
          )
          return peer.call<Outcome[]>('amongOthers', seed, ...calls)
        }),
      )
      const flat = tally.flat()
      const taken = flat.filter(({ ok }) => typeof ok === 'object' && ok !== null).length
      const left = flat.filter(({ ok }) => ok === 1).length
      const now = await (await open()).countAsync({ _id: 'seat' })
      assert.ok(taken > 5 && flat.some(({ ok }) => ok === 0) && flat.some(({ error }) => error))
      assert.equal(taken - left, now)
    })
  })

  describe('transactions', () => {
    it('are rows all at once or not at all, with savepoints inside', async () => {
      const [db, other] = [await open(), await open()]
      await db.insertAsync({ _id: 'old', n: 1 })
      const before = await rows()
      await db.transaction(async (tx) => {
        await tx.insertAsync({ _id: 'a' })
        await failing(() =>
          tx.transaction(async () => {
            await tx.insertAsync({ _id: 'b' })
            await tx.updateAsync({ _id: 'old' }, { $set: { n: 2 } })
            await tx.removeAsync({ _id: 'a' }, {})
            throw new Error('mine')
          }),
        )
        await tx.transaction(() => tx.insertAsync({ _id: 'c' }))
        assert.deepEqual(idsOf(await tx.findAsync({})), ['a', 'c', 'old'])
        assert.deepEqual(idsOf(await other.findAsync({})), ['old'])
        assert.deepEqual(await rows(), before)
      })
      for (const store of [db, other])
        assert.deepEqual(await all(store), [{ _id: 'a' }, { _id: 'c' }, { _id: 'old', n: 1 }])
      await failing(() =>
        db.dropDatabaseAsync().then(() => db.transaction(() => Promise.reject(new Error('x')))),
      )
      assert.deepEqual(await all(other), [])
    })

    it('with retry run again when somebody was faster, and end as ConflictError', async () => {
      const [db, other] = [await open(), await open()]
      await db.insertAsync({ _id: 'n', n: 0 })
      let runs = 0
      await db.transaction(
        async (tx) => {
          const { n } = (await tx.findOneAsync({ _id: 'n' })) as unknown as { n: number }
          if (++runs < 3) await other.updateAsync({ _id: 'n' }, { $inc: { n: 10 } }, {})
          await tx.updateAsync({ _id: 'n' }, { $set: { n: n + 1 } }, {})
        },
        { retry: 5 },
      )
      assert.deepEqual([runs, await other.findOneAsync({ _id: 'n' })], [3, { _id: 'n', n: 21 }])
      const error = await failing(() =>
        db.transaction(
          async (tx) => {
            await other.updateAsync({ _id: 'n' }, { $inc: { n: 10 } }, {})
            await tx.updateAsync({ _id: 'n' }, { $set: { n: 0 } }, {})
          },
          { retry: 2 },
        ),
      )
      assert.ok(error instanceof ConflictError, inspect(error))
      const { n } = (await db.findOneAsync({ _id: 'n' })) as unknown as { n: number }
      assert.ok(n > 21 && n % 10 === 1)
      assert.deepEqual(await db.findOneAsync({ _id: 'n' }), await other.findOneAsync({ _id: 'n' }))
    })

    it('a view shows one state, and writes nothing', async () => {
      const [db, other] = [await open(), await open()]
      await db.insertAsync({ _id: 'a', n: 1 })
      await db.view(async (tx) => {
        assert.equal(await tx.countAsync({}), 1)
        await other.insertAsync({ _id: 'b' })
        assert.equal(await tx.countAsync({}), 1)
        const error = await failing(() => (tx as LockedNedb<Doc>).insertAsync({ _id: 'c' }))
        assert.ok(error instanceof TransactionError)
      })
      assert.equal(await db.countAsync({}), 2)
      await db.rollbackAfter((tx) => tx.removeAsync({}, { multi: true }))
      assert.equal(await db.countAsync({}), 2)
    })

    it('the events of one come when it is committed, and never when it is not', async () => {
      const db = LockedDatastore.create<Doc>({ url: url() })
      opened.push(db)
      const heard: unknown[] = []
      const events = db as unknown as EventEmitter
      events.on('insert', (_store, doc) => heard.push(doc))
      await db.transaction(async () => {
        await db.insert({ _id: 'a' })
        assert.deepEqual(heard, [])
      })
      assert.equal(heard.length, 1)
      await failing(() =>
        db.transaction(async () => {
          await db.insert({ _id: 'b' })
          throw new Error('mine')
        }),
      )
      assert.equal(heard.length, 1)
    })
  })

  describe('one store, several processes', () => {
    it('documents that have expired are seen by nobody, and gone with the next write', async () => {
      const db = await open()
      const [peer] = (await peers(1)) as [Peer]
      await db.ensureIndexAsync({ fieldName: 'at', expireAfterSeconds: 3600 })
      const ago = (seconds: number) => new Date(Date.now() - seconds * 1000)
      await db.insertAsync([{ _id: 'old', at: ago(3601) }, { _id: 'young', at: ago(0) }, { _id: 'long' }])
      assert.equal(await peer.call('countAsync', {}), 2)
      assert.deepEqual(idsOf(await peer.call('findAsync', {})), ['long', 'young'])
      assert.equal((await rows()).length, 4)
      await peer.call('updateAsync', {}, { $set: { seen: true } }, { multi: true })
      assert.deepEqual(
        (await rows()).map(({ key }) => key),
        ['"long"', '"young"', '$$index at'],
      )
      assert.deepEqual(idsOf(await all(db)), ['long', 'young'])
    })

    it('what fails on what one process has seen, and is right by now, is done', async () => {
      const db = await open()
      const [peer] = (await peers(1)) as [Peer]
      // It has what it needs to write without the lock.
      await db.insertAsync({ _id: 'b' })
      await db.removeAsync({ _id: 'b' }, {})
      await peer.call('insertAsync', { _id: 'a', n: 'no number' })
      assert.equal(await db.countAsync({}), 1)
      await peer.call('updateAsync', { _id: 'a' }, { $set: { n: 1 } }, {})
      await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
      assert.deepEqual(await all(db), [{ _id: 'a', n: 2 }])
      await peer.call('removeAsync', { _id: 'a' }, {})
      assert.equal(
        ((await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})) as { numAffected: number }).numAffected,
        0,
      )
      await peer.call('insertAsync', { _id: 'a', n: 7 })
      await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
      assert.deepEqual(await all(db), [{ _id: 'a', n: 8 }])
    })

    // The commit says that it must look first. What is undone for that must not take the place of what the look has found.
    const lookFirst: { [why: string]: (peer: Peer) => Promise<unknown> } = {
      'has made an index': (peer) => peer.call('ensureIndexAsync', { fieldName: 'mail' }),
      'has lost its last commits': () => place.server().sql('truncate pslock.incarnation', url()),
    }
    for (const [why, change] of Object.entries(lookFirst)) {
      it(`counts on what others have written where somebody, or the server, ${why}`, async () => {
        const db = await open()
        const [peer] = (await peers(1)) as [Peer]
        await db.insertAsync({ _id: 'a', n: 0 })
        await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
        await change(peer)
        await peer.call('updateAsync', { _id: 'a' }, { $set: { n: 100 } }, {})
        await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
        assert.deepEqual(await all(db), [{ _id: 'a', n: 101 }])
        assert.deepEqual(await peer.call('findAsync', {}), [{ _id: 'a', n: 101 }])
      })
    }

    it('indexes are made and removed for all of them', async () => {
      const db = await open()
      const [one, two] = (await peers(2)) as [Peer, Peer]
      await one.call('insertAsync', { _id: 'a', mail: 'x', n: 1 })
      // Each has seen the store before there is an index.
      for (const peer of [one, two]) assert.equal(await peer.call('countAsync', {}), 1)
      await db.ensureIndexAsync({ fieldName: 'mail', unique: true })
      await db.ensureIndexAsync({ fieldName: ['n', 'mail'] })
      for (const peer of [one, two]) {
        const { error } = await peer.outcome('insertAsync', { mail: 'x' })
        assert.equal(error?.errorType, 'uniqueViolated')
      }
      // What takes the place of another value in the same commit is no duplicate for those who hear of it.
      await one.call('insertAsync', { _id: 'b', mail: 'y' })
      await db.transaction(async () => {
        await db.updateAsync({ _id: 'b' }, { $set: { mail: 'z' } })
        await db.updateAsync({ _id: 'a' }, { $set: { mail: 'y' } })
        await db.updateAsync({ _id: 'b' }, { $set: { mail: 'x' } })
      })
      for (const peer of [one, two])
        assert.deepEqual(idsOf(await peer.call('findAsync', { mail: 'x' })), ['b'])
      await two.call('removeIndexAsync', 'mail')
      for (const peer of [one, two]) await peer.call('insertAsync', { mail: 'x' })
      await db.insertAsync({ mail: 'x' })
      assert.equal(await db.countAsync({ mail: 'x' }), 4)
      const error = await failing(() => db.ensureIndexAsync({ fieldName: 'mail', unique: true }))
      assert.equal(error.errorType, 'uniqueViolated')
      assert.deepEqual(
        (await rows()).filter(({ key }) => key === '$$index mail'),
        [],
      )
    })

    it('dropDatabase empties it for all, whatever they knew, and it can be used again', async () => {
      const db = await open()
      const [peer] = (await peers(1)) as [Peer]
      await db.ensureIndexAsync({ fieldName: 'u', unique: true })
      await db.insertAsync([
        { _id: 'a', u: 1 },
        { _id: 'b', u: 2 },
      ])
      assert.equal(await peer.call('countAsync', {}), 2)
      await db.dropDatabaseAsync()
      assert.deepEqual([await rows(), db.getAllData()], [[], []])
      // By id, and so by the version that it knows.
      assert.equal(await peer.call('removeAsync', { _id: 'a' }, {}), 0)
      assert.equal(await peer.call('countAsync', {}), 0)
      await peer.call('insertAsync', { _id: 'a', u: 1 })
      await db.insertAsync({ _id: 'c', u: 1 })
      await db.updateAsync({ _id: 'a' }, { $set: { v: 1 } }, {})
      assert.deepEqual(await all(db), [
        { _id: 'a', u: 1, v: 1 },
        { _id: 'c', u: 1 },
      ])
      assert.deepEqual(
        (await peer.call<Doc[]>('findAsync', {})).sort((a, b) => (String(a._id) < String(b._id) ? -1 : 1)),
        await all(db),
      )
    })

    it('an index that loadDatabase makes again after that is one for all', async () => {
      const db = await open()
      const [peer] = (await peers(1)) as [Peer]
      await db.ensureIndexAsync({ fieldName: 'u', unique: true })
      await db.dropDatabaseAsync()
      await db.loadDatabaseAsync()
      await peer.call('insertAsync', { u: 1 })
      assert.equal((await peer.outcome('insertAsync', { u: 1 })).error?.errorType, 'uniqueViolated')
      assert.equal(await db.countAsync({}), 1)
    })

    it('compaction forgets what was removed, for those who do not know of it, too', async () => {
      const db = await open()
      const [peer] = (await peers(1)) as [Peer]
      await db.insertAsync([{ _id: 'a' }, { _id: 'b' }, { _id: 'c' }])
      assert.equal(await peer.call('countAsync', {}), 3)
      await db.removeAsync({ _id: 'a' }, {})
      await db.removeAsync({ _id: 'b' }, {})
      const gone = async () => {
        const text =
          'select count(*) from pslock.doc d join pslock.store s on s.id = d.store where s.name = $$NAME$$ and gone'
        return Number((await place.server().sql(text.replace('NAME', nameOf(url())), url()))[0]?.[0])
      }
      // The last are kept, for those who are at work.
      await db.compactDatafileAsync()
      assert.equal(await gone(), 2)
      await db.insertAsync(Array.from({ length: 1001 }, (_, i) => ({ _id: `later ${i}` })))
      await db.removeAsync({ _id: /^later/ }, { multi: true })
      assert.equal(await gone(), 1003)
      await db.compactDatafileAsync()
      assert.equal(await gone(), 1001)
      assert.deepEqual(idsOf(await peer.call('findAsync', {})), ['c'])
      assert.equal((await rows()).length, 1)
      await peer.call('insertAsync', { _id: 'a' })
      assert.deepEqual(idsOf(await db.findAsync({})), ['a', 'c'])
    })

    it('two store objects of one process are two', async () => {
      const [one, other] = [await open(), await open()]
      await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          (i % 2 ? one : other).updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, { upsert: true }),
        ),
      )
      for (const store of [one, other]) assert.deepEqual(await all(store), [{ _id: 'n', n: 40 }])
    })

    it('staleMs shows what was read shortly before, and changes only what is', async () => {
      const [db, stale] = [await open(), await open({ staleMs: 1500 })]
      await db.insertAsync({ _id: 'n', n: 1 })
      await until('it has seen it', async () => (await stale.countAsync({})) === 1)
      await db.updateAsync({ _id: 'n' }, { $set: { n: 5 } }, {})
      const since = performance.now()
      // It looked at most that long ago.
      assert.equal((await stale.findOneAsync({ _id: 'n' }))?.n, 1)
      await stale.updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, {})
      assert.equal((await db.findOneAsync({ _id: 'n' }))?.n, 6)
      // One's own is always shown.
      assert.equal((await stale.findOneAsync({ _id: 'n' }))?.n, 6)
      await db.updateAsync({ _id: 'n' }, { $set: { n: 9 } }, {})
      await until(
        'it is shown in the end',
        async () => (await stale.findOneAsync({ _id: 'n' }))?.n === 9,
        3000,
      )
      assert.ok(performance.now() - since < 4000)
    })

    it('autoload and onload tell how it went', async () => {
      const db = await new Promise<Error | null>((resolve) => {
        opened.push(new LockedNedb<Doc>({ url: url(), autoload: true, onload: resolve }))
      })
      assert.equal(db, null)
      const error = await new Promise<Error | null>((resolve) => {
        const nowhere = 'postgres://127.0.0.1:1/none#jobs'
        opened.push(new LockedNedb<Doc>({ url: nowhere, autoload: true, onload: resolve, timeoutMs: 100 }))
      })
      assert.ok(error instanceof StoreUnavailableError, inspect(error))
      const late = new LockedNedb<Doc>({ url: url() })
      opened.push(late)
      const inserting = late.insertAsync({ _id: 'waits' })
      await sleep(50)
      assert.equal((await rows()).length, 0)
      await late.loadDatabaseAsync()
      await inserting
      assert.equal((await rows()).length, 1)
    })

    it('a store that was removed while it was open is told, and not made anew', async () => {
      const db = await open()
      await db.insertAsync({ _id: 'a' })
      await place.server().sql(`delete from pslock.store where name like '%jobs'`, url())
      for (const call of [
        () => db.insertAsync({ n: 1 }),
        () => db.findAsync({}),
        () => db.transaction(() => db.insertAsync({ _id: 'b' })),
      ]) {
        const error = await failing(call)
        assert.ok(error instanceof CorruptStoreError, inspect(error))
      }
      assert.deepEqual(await rows(), [])
    })

    it('a row that is no record is told, by its beginning', async () => {
      const db = await open()
      await db.insertAsync({ _id: 'a' })
      const id = `(select id from pslock.store where name like '${decodeURIComponent(new URL(url()).hash.slice(1))}')`
      await place
        .server()
        .sql(
          `insert into pslock.doc values (${id}, 'x', pg_current_xact_id()::text::bigint, false, 'no json')`,
          url(),
        )
      const error = await failing(() => db.findAsync({}))
      assert.ok(error instanceof CorruptStoreError && error.message.includes('no json'), inspect(error))
    })
  })

  describe('hooks', () => {
    it('of pslock see every operation, and can refuse it', async () => {
      const db = await open()
      const told: string[] = []
      const stop = db.use({
        before: ({ mode, name }) => void told.push(`${mode} ${name}`),
        after: ({ changed }) => void told.push(String(changed)),
      })
      await db.insertAsync({ _id: 'a' })
      await db.countAsync({})
      assert.deepEqual(told, ['exclusive insert', 'true', 'shared count', 'false'])
      stop()
      db.use({
        before: () => {
          throw new RangeError('not today')
        },
      })
      assert.ok((await failing(() => db.insertAsync({ _id: 'b' }))) instanceof RangeError)
      assert.equal((await rows()).length, 1)
    })

    it('throttle limits the writes of a process', async () => {
      const db = await open()
      db.use(throttle({ writesPerSecond: 1e-3, maxDelayMs: 0 }))
      await db.insertAsync({ _id: 'a' })
      assert.ok((await failing(() => db.insertAsync({ _id: 'b' }))) instanceof ThrottledError)
      assert.equal(await db.countAsync({}), 1)
    })

    it('throttle limits the writes of all store objects, and leaves no file where the program runs', async () => {
      const before = readdirSync('.')
      const [db, other] = [await open(), await open()]
      for (const one of [db, other]) one.use(throttle({ writesPerSecond: 1e-3, maxDelayMs: 0, per: 'store' }))
      await db.insertAsync({ _id: 'a' })
      assert.ok((await failing(() => other.insertAsync({ _id: 'b' }))) instanceof ThrottledError)
      assert.equal(await db.countAsync({}), 1)
      assert.deepEqual(readdirSync('.'), before)
    })

    it('of serialization: what is kept is what they make of it, and is read back', async () => {
      const reversed = (text: string) => [...text].reverse().join('')
      const hooks = { afterSerialization: reversed, beforeDeserialization: reversed }
      const [db, other] = [await open(hooks), await open(hooks)]
      await db.insertAsync({ _id: 'a', n: 1 })
      await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
      assert.deepEqual(await rows(), [{ key: '"a"', line: reversed('{"_id":"a","n":2}') }])
      assert.deepEqual(await all(other), [{ _id: 'a', n: 2 }])
      await other.transaction(async (tx) => {
        await tx.removeAsync({ _id: 'a' }, {})
        await tx.insertAsync({ _id: 'b' })
      })
      assert.deepEqual(await all(db), [{ _id: 'b' }])
      await db.ensureIndexAsync({ fieldName: 'u', unique: true })
      await other.insertAsync({ _id: 'c', u: 1 })
      assert.equal((await failing(() => db.insertAsync({ u: 1 }))).errorType, 'uniqueViolated')
      assert.deepEqual(await all(await open(hooks)), [{ _id: 'b' }, { _id: 'c', u: 1 }])
      const plain = new LockedNedb<Doc>({ url: url(), timeoutMs: 500 })
      opened.push(plain)
      assert.ok((await failing(() => plain.loadDatabaseAsync())) instanceof CorruptStoreError)
    })
  })

  describe('values', () => {
    const long = Array.from({ length: 5000 }, (_, i) => String.fromCharCode(33 + ((i * 7919) % 90))).join('')
    const wide = Array.from({ length: 5000 }, (_, i) =>
      String.fromCharCode(0x4e00 + ((i * 7919) % 20_000)),
    ).join('')
    const odd: Record<string, unknown> = {
      nul: '\u0000 a\u0000b',
      lone: '\ud800 \udc00 x\udfff',
      pair: '😀 e\u0301',
      separators: '\u2028\u2029\u0085\ufeff\r\n\t',
      huge: 1e308,
      tiny: 5e-324,
      minusZero: -0,
      unsafe: 2 ** 53 + 2,
      date: new Date(1234),
      before: new Date(-1),
      empty: '',
      nothing: null,
      nested: { a: [{ b: [[], {}, [null]] }] },
      sql: `'; drop table pslock.doc; -- $1 $$ \\ "`,
      '': 1,
      'with space"\\': 2,
    }
    const ids: unknown[] = [
      ...[1, '2', '-0', '\u0000', '\ud800', '\udc00', '\u2028', '"', '\\', "'", '$$index x', '{}', '[]'],
      ...['sha256 x', '😀', long, `${long}!`, wide, 1e308, 1.5, -7],
    ]

    it('come back as they were, to whoever was there and whoever comes', async () => {
      const [db, other] = [await open(), await open()]
      for (const _id of ids) await db.insertAsync({ ...structuredClone(odd), _id } as Doc)
      const vanilla = new LockedNedb<Doc>({ inMemoryOnly: true })
      for (const _id of ids) await vanilla.insertAsync({ ...structuredClone(odd), _id } as Doc)
      for (const store of [db, other, await open()]) {
        assert.equal(await store.countAsync({}), ids.length)
        for (const _id of ids) {
          const found = await store.findOneAsync({ _id } as never)
          // JSON has no -0, in NeDB's file neither.
          assert.deepEqual({ ...found, minusZero: 0 }, { ...(odd as Doc), _id, minusZero: 0 })
        }
      }
      for (const _id of ids) {
        await other.updateAsync({ _id } as never, { $set: { nul: '\u0000' }, $unset: { sql: true } }, {})
      }
      for (const _id of ids) assert.equal((await db.findOneAsync({ _id } as never))?.nul, '\u0000')
      for (const _id of ids.slice(2)) assert.equal(await db.removeAsync({ _id } as never, {}), 1)
      assert.deepEqual((await all(await open())).map(({ _id }) => _id).sort(), [1, '2'])
    })

    it('fields of indexes may be called anything', async () => {
      const [db, other] = [await open(), await open()]
      const fields = ['nul\u0000', '\ud800', '\udc00', "quote'", wide, 'sha256 x', '__proto']
      for (const fieldName of fields) await db.ensureIndexAsync({ fieldName, unique: true, sparse: true })
      for (const fieldName of fields) {
        await other.insertAsync({ [fieldName]: 1 } as never)
        const error = await failing(() => other.insertAsync({ [fieldName]: 1 } as never))
        assert.equal(error.errorType, 'uniqueViolated')
      }
      for (const fieldName of fields) await other.removeIndexAsync(fieldName)
      for (const fieldName of fields) await db.insertAsync({ [fieldName]: 1 } as never)
      assert.equal((await rows()).length, 2 * fields.length)
    })

    it('a document of 5 MB, and 2,000 in one call', async () => {
      const [db, other] = [await open(), await open()]
      const text = wide.repeat(340)
      await db.insertAsync({ _id: 'big', text })
      assert.equal((await other.findOneAsync({ _id: 'big' }))?.text, text)
      await other.updateAsync({ _id: 'big' }, { $set: { n: 1 } }, {})
      assert.equal((await db.findOneAsync({ _id: 'big' }))?.n, 1)
      await db.insertAsync(Array.from({ length: 2000 }, (_, n) => ({ _id: `n${n}`, n })))
      assert.equal(await other.countAsync({ n: { $gte: 0 } }), 2001)
      assert.equal(await other.removeAsync({ _id: /^n/ }, { multi: true }), 2000)
      assert.equal(await db.countAsync({}), 1)
    })

    it('what cannot be stored is refused, and changes nothing', async () => {
      const db = await open()
      await db.insertAsync({ _id: 'a' })
      await db.insertAsync({ _id: '1' })
      // NeDB takes the two for one.
      for (const bad of [
        { _id: 1 },
        { _id: '' },
        { _id: null },
        { $x: 1 },
        { 'a.b': 1 },
        { _id: 'c', f: { $y: 1 } },
      ])
        await failing(() => db.insertAsync([{ _id: 'b' }, bad] as never))
      assert.deepEqual([await all(db), (await rows()).length], [[{ _id: '1' }, { _id: 'a' }], 2])
    })
  })

  describe('names', () => {
    it('of stores in one database keep them apart, whatever they are', async () => {
      const names = ["o'hara", 'a b', '%', '#', 'ü', '😀', '"', '\\', 'x'.repeat(200), '../../etc', '$1']
      const stores = []
      for (const name of names) {
        const db = new LockedNedb<Doc>({ url: place.database(), name, autoload: true })
        opened.push(db)
        stores.push(db)
        await db.insertAsync({ _id: 'name', name })
      }
      for (const [i, db] of stores.entries())
        assert.deepEqual(await all(db), [{ _id: 'name', name: names[i] }])
    })

    it('a name is the same in the options and at the end of the url', async () => {
      const name = 'ä b%#'
      const one = new LockedNedb<Doc>({ url: place.database(), name, autoload: true })
      const other = new LockedNedb<Doc>({
        url: `${place.database()}#${encodeURIComponent(name)}`,
        autoload: true,
      })
      opened.push(one, other)
      await one.insertAsync({ _id: 'a' })
      assert.equal(await other.countAsync({}), 1)
    })
  })

  describe('options', () => {
    const given = { url: 'postgres://127.0.0.1/none', name: 'jobs' }
    const wrong: Record<string, object> = {
      'file and server': { ...given, filename: 'x.db' },
      'no name': { url: given.url },
      'an empty name': { ...given, name: '' },
      'a name that is too long': { ...given, name: 'x'.repeat(201) },
      'a name with \\0': { ...given, name: 'a\u0000b' },
      'half a character': { ...given, name: '\ud800' },
      'a number as name': { ...given, name: 7 },
      'two names': { url: `${given.url}#one`, name: 'two' },
      'another kind of url': { ...given, url: 'mysql://127.0.0.1/none' },
      'no url': { ...given, url: 'jobs' },
      'an object as url': { ...given, url: {} },
      'null as url': { ...given, url: null },
      'an empty url': { ...given, url: '' },
      'a broken url': { ...given, url: 'postgres://user:pass word@[' },
      'a name without url': { name: 'jobs' },
      'staleMs without url': { filename: 'x.db', staleMs: 1 },
      'a negative staleMs': { ...given, staleMs: -1 },
      'a text as staleMs': { ...given, staleMs: '1' },
      'NaN as timeoutMs': { ...given, timeoutMs: Number.NaN },
      'an unknown durability': { ...given, durability: 'none' },
      lockPath: { ...given, lockPath: 'x.lock' },
      sliceMs: { ...given, sliceMs: 1 },
      compaction: { ...given, compaction: 'manual' },
      'an unknown one': { ...given, nmae: 'x' },
    }
    for (const [what, options] of Object.entries(wrong)) {
      it(`${what}: TypeError`, () => {
        for (const Store of [LockedNedb, LockedDatastore])
          assert.throws(() => new Store(options as never), TypeError)
      })
    }
  })

  it('after close() every call is a ClosedError, and no connection is left', async () => {
    const db = await open()
    await db.insertAsync({ _id: 'a' })
    await db.findAsync({})
    await db.transaction(() => db.insertAsync({ _id: 'b' }))
    await db.close()
    await db.close()
    for (const call of [
      () => db.insertAsync({}),
      () => db.findOneAsync({ _id: 'a' }),
      () => db.findAsync({}),
      () => db.updateAsync({ _id: 'a' }, {}, {}),
      () => db.transaction(() => {}),
      () => db.view(() => {}),
      () => db.loadDatabaseAsync(),
      () => db.ensureIndexAsync({ fieldName: 'x' }),
    ]) {
      const error = await failing(call)
      assert.ok(error instanceof ClosedError, inspect(error))
    }
    const left = `select count(*) from pg_stat_activity where datname = current_database() and application_name like 'pslock %'`
    await until(
      'no connection is left',
      async () => (await place.server().sql(left, url()))[0]?.[0] === '0',
      3000,
    )
  })
})

describe('a server with a password', () => {
  const secret = 'ge#he/i@m? %:ä'
  const server = usePostgres({ password: secret })
  const shows = (text: string) => {
    for (const form of [secret, encodeURIComponent(secret), encodeURI(secret), 'ge#he', 'ge%23he'])
      assert.ok(!text.includes(form), `it shows ${form}: ${text}`)
  }

  it('is used with it, and it is shown nowhere', async () => {
    const db = new LockedNedb<Doc>({ url: server().url, name: 'jobs', autoload: true })
    await db.insertAsync({ _id: 'a' })
    const promises = LockedDatastore.create<Doc>({ url: new URL(server().url), name: 'jobs' })
    assert.deepEqual(await promises.find({}), [{ _id: 'a' }])
    for (const store of [db, promises]) {
      shows(inspect(store, { showHidden: true, depth: 12, getters: true }))
      shows(JSON.stringify({ ...store, executor: 0, persistence: 0 }))
    }
    await server().sql('delete from pslock.store')
    const error = await failing(() => db.insertAsync({ _id: 'b' }))
    shows(inspect(error, { showHidden: true, depth: 12 }) + JSON.stringify(error))
    await Promise.all([db.close(), promises.close()])
  })

  it('a wrong one, a wrong database and a server that is away are told without it', async () => {
    const url = new URL(server().url)
    const wrong = new URL(url)
    wrong.password = encodeURIComponent(`${secret}x`)
    const database = new URL(url)
    database.pathname = '/nowhere'
    const port = new URL(url)
    port.port = '1'
    const warned: string[] = []
    const listener = (warning: Error) => warned.push(inspect(warning))
    process.on('warning', listener)
    for (const one of [wrong, database, port]) {
      const db = new LockedNedb<Doc>({ url: one, name: 'jobs', autoload: true, timeoutMs: 200 })
      const error = await failing(() => db.insertAsync({ _id: 'b' }))
      assert.ok(error instanceof StoreUnavailableError, inspect(error))
      shows(inspect(error, { showHidden: true, depth: 12 }) + JSON.stringify(error) + error.stack)
      await db.close()
    }
    for (const bad of [`postgres://u:${secret}@[`, `mysql://u:${secret}@h/d`]) {
      const error = await failing(() => new LockedNedb({ url: bad, name: 'jobs' }))
      assert.ok(error instanceof TypeError)
      shows(inspect(error, { showHidden: true, depth: 12 }))
    }
    await sleep(10)
    process.off('warning', listener)
    shows(warned.join('\n'))
  })
})
