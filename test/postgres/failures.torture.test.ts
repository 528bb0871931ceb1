import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { LockedNedb } from '../../adapters/nedb.ts'
import { StoreUnavailableError } from '../../src/index.ts'
import { fixture } from '../fixtures/code.ts'
import { until } from '../fixtures/folder.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import type { ServerWorkerCommands, Told } from '../fixtures/server-worker.ts'
import { PeerProcess } from '../harness/peer.ts'
import { usePostgres } from '../harness/postgres.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { rowsOf } from './server-stores.ts'

type Doc = { _id?: string; by?: string; n?: number; kind?: string }
type Worker = PeerProcess<ServerWorkerCommands>

const WORKERS = 5
/** So often each of the events; more with `PSLOCK_TEST_TIMES`. */
const TIMES = Number(process.env.PSLOCK_TEST_TIMES ?? 3)

/** What came of the calls of one process. */
class Tally {
  readonly told: Told[] = []
  readonly strange: string[] = []

  constructor(worker: Worker) {
    worker.child.on('message', (message) => {
      const { event } = message as { event?: Told }
      if (event === undefined) return
      this.told.push(event)
      if (event.strange !== undefined) this.strange.push(event.strange)
    })
  }

  numbers(kind: string, came: Told['came']): number[] {
    return this.told.filter((told) => told.kind === kind && told.came === came).map(({ n }) => n)
  }

  get acknowledged(): number {
    return this.told.filter(({ came }) => came === 'in').length
  }

  /** Sent, and nothing was heard of them, or that nobody knows: they may be in. */
  open(kind: string): number {
    return (
      this.numbers(kind, 'sent').length - this.numbers(kind, 'in').length - this.numbers(kind, 'out').length
    )
  }
}

describe('a store on a server, when things fail', () => {
  const server = usePostgres({ own: true })
  let network: FaultyNetwork
  let url = ''
  const workers = new Map<string, Worker>()

  beforeEach(async () => {
    url = await server().database()
    network = await FaultyNetwork.to(url)
  })
  afterEach(async () => {
    await Promise.all([...workers.values()].map((worker) => worker.kill()))
    workers.clear()
    await network.close()
  })

  const backends = async () =>
    (
      await server().sql(
        `select pid from pg_stat_activity where datname = current_database() and application_name like 'pslock %'`,
        url,
      )
    ).map(([pid]) => Number(pid))

  it('nothing acknowledged is lost, nothing is there twice, and every memory is what is there', async function () {
    this.timeout(TIMES * 60_000)
    const seed = newSeed()
    const next = random(seed)
    const started = performance.now()
    const records = new Map<string, Tally>()
    const setup = new LockedNedb<Doc>({ url, name: 'jobs', autoload: true })
    for (const _id of ['a', 'b', 'shared']) await setup.insertAsync({ _id, n: 0 })
    await setup.close()

    let born = 0
    const start = async () => {
      const me = `w${++born}`
      // Most of them through the network.
      const through = born % 3 === 0 ? url : network.urlOf(url)
      const worker: Worker = new PeerProcess(fixture('server-worker'), [
        through,
        'jobs',
        me,
        `${seed + born}`,
      ])
      workers.set(me, worker)
      records.set(me, new Tally(worker))
      await worker.ready
      await worker.call('begin')
    }
    await Promise.all(Array.from({ length: WORKERS }, start))

    const events: { [name: string]: () => Promise<unknown> } = {
      'kill -9 of a process': async () => {
        const [me, worker] = [...workers][Math.floor(next() * workers.size)] as [string, Worker]
        await worker.kill()
        workers.delete(me)
        await start()
      },
      'stop -m fast': async () => {
        await server().stop('fast')
        await sleep(200 * next())
        await server().start()
      },
      'crash of the server': async () => {
        await server().kill9()
        await sleep(200 * next())
        await server().start()
      },
      'pg_terminate_backend of all': () =>
        server().sql(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pslock %'`,
        ),
      'kill -9 of a backend': async () => {
        const pids = await backends()
        process.kill(pids[Math.floor(next() * pids.length)] as number, 'SIGKILL')
        await sleep(100)
        await until(
          'the server is back',
          () =>
            server()
              .sql('select 1')
              .catch(() => false),
          15_000,
        )
      },
      'connections cut': async () => network.cut(next() < 0.5 ? 'end' : 'reset'),
      'answers lost, then cut': async () => {
        network.mode = 'lose-answers'
        await sleep(50 * next())
        network.cut('reset')
      },
      'requests lost, then cut': async () => {
        network.mode = 'lose-requests'
        await sleep(50 * next())
        network.cut('reset')
      },
      'a black hole for a while': async () => {
        network.mode = 'black-hole'
        await sleep(300 + 500 * next())
        network.cut('reset')
      },
    }
    const plan = Object.keys(events).flatMap((name) => Array<string>(TIMES).fill(name))
    plan.sort(() => next() - 0.5)
    let longestMs = 0
    for (const name of plan) {
      await sleep(100 + 250 * next())
      await events[name]?.()
      // Calls resume, in each of them.
      const since = performance.now()
      const before = new Map([...workers.keys()].map((me) => [me, (records.get(me) as Tally).acknowledged]))
      await until(
        `all work again after: ${name}`,
        () => [...before].every(([me, count]) => (records.get(me) as Tally).acknowledged > count + 2),
        20_000,
      )
      longestMs = Math.max(longestMs, performance.now() - since)
    }
    await Promise.all([...workers.values()].map((worker) => worker.call('stop')))

    const rows = await rowsOf(server(), `${url}#jobs`)
    const docs = rows.map(({ line }) => JSON.parse(line) as Doc)
    const all = [...records.values()]
    const total = all.reduce((sum, record) => sum + record.acknowledged, 0)
    const failed = all.flatMap(({ told }) => told.filter(({ came }) => came === 'out'))
    const unknown = all.flatMap(({ told }) => told.filter(({ came }) => came === 'unknown'))
    note(
      `seed ${seed}: ${plan.length} events, ${total} acknowledged, ${failed.length} failed, ${unknown.length} unknown, ` +
        `${docs.length} records, back after ${Math.round(longestMs)} ms at most, ${Math.round(performance.now() - started)} ms`,
    )

    const numberOf = (id: string) => docs.find(({ _id }) => _id === id)?.n ?? 0
    const lost: string[] = []
    const twice: string[] = []
    const undead: string[] = []
    for (const [me, record] of records) {
      for (const kind of ['blind', 'named', 'pair'] as const) {
        const there = docs.filter((doc) => doc.by === me && doc.kind === kind).map(({ n }) => n as number)
        const set = new Set(there)
        if (set.size !== there.length) twice.push(`${me} ${kind}`)
        for (const n of record.numbers(kind, 'in')) if (!set.has(n)) lost.push(`${me} ${kind} ${n}`)
        for (const n of record.numbers(kind, 'out')) if (set.has(n)) undead.push(`${me} ${kind} ${n}`)
      }
      const [own, acknowledged] = [numberOf(`own ${me}`), record.numbers('own', 'in').length]
      if (own < acknowledged) lost.push(`${me} own: ${own} of ${acknowledged}`)
      if (own > acknowledged + record.open('own')) twice.push(`${me} own: ${own} of ${acknowledged}`)
    }
    const shared = all.reduce((sum, record) => sum + record.numbers('shared', 'in').length, 0)
    const open = all.reduce((sum, record) => sum + record.open('shared'), 0)
    if (numberOf('shared') < shared) lost.push(`shared: ${numberOf('shared')} of ${shared}`)
    if (numberOf('shared') > shared + open)
      twice.push(`shared: ${numberOf('shared')} of ${shared} and ${open}`)
    const pairs = docs.filter(({ kind }) => kind === 'pair').length
    assert.deepEqual({ lost, twice, undead }, { lost: [], twice: [], undead: [] })
    assert.deepEqual([numberOf('a'), numberOf('b')], [pairs, pairs], 'a half transaction')
    assert.deepEqual(
      all.flatMap(({ strange }) => strange),
      [],
    )

    const byId = (some: Doc[]) => [...some].sort((x, y) => (String(x._id) < String(y._id) ? -1 : 1))
    for (const [me, worker] of workers)
      assert.deepEqual(byId((await worker.call('all')) as Doc[]), byId(docs), `the memory of ${me}`)
    assert.ok(total > 1000, `too little was done: ${total}`)
  })

  describe('a commit whose connection is cut after it was sent', () => {
    const calls: { [name: string]: (db: LockedNedb<Doc>, i: number) => Promise<unknown> } = {
      'an insert': (db, i) => db.insertAsync({ n: i, kind: 'new' }),
      'an insert with an id': (db, i) => db.insertAsync({ _id: `i${i}`, n: i, kind: 'new' }),
      'an update by id': (db) => db.updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, {}),
      'an update of whatever matches': (db) => db.updateAsync({ kind: 'counter' }, { $inc: { n: 1 } }, {}),
      'a transaction': (db, i) =>
        db.transaction(async (tx) => {
          await tx.updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, {})
          await tx.insertAsync({ n: i, kind: 'new' })
        }),
    }
    const openImpatient = () =>
      new LockedNedb<Doc>({ url: network.urlOf(url), name: 'jobs', autoload: true, timeoutMs: 1500 })
    for (const [what, call] of Object.entries(calls)) {
      it(`${what}: it is in, so it resolves, and once`, async () => {
        const db = new LockedNedb<Doc>({ url: network.urlOf(url), name: 'jobs', autoload: true })
        const isHeld = /transaction|matches/.test(what)
        const seq = async () => Number((await server().sql('select max(seq) from pslock.doc', url))[0]?.[0])
        try {
          await db.insertAsync({ _id: 'n', n: 0, kind: 'counter' })
          const control = new LockedNedb<Doc>({ inMemoryOnly: true })
          await control.insertAsync({ _id: 'n', n: 0, kind: 'counter' })
          for (let i = 0; i < 6; i++) {
            // What it has of the change before came without its number, and would be refused once.
            await db.findAsync({})
            const before = await seq()
            // Where the lock is taken first the answer to that goes through.
            if (isHeld) network.loseAnswersAfter = 'pslock.put'
            else network.mode = 'lose-answers'
            const done = call(db, i)
            await until('it is in', async () => (await seq()) > before)
            network.loseAnswersAfter = undefined
            network.cut(i % 2 ? 'end' : 'reset')
            await done
            if (what === 'a transaction') {
              await control.updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, {})
              await control.insertAsync({ n: i, kind: 'new' })
            } else await call(control, i)
          }
          const values = (docs: Doc[]) => docs.map(({ kind, n }) => `${kind} ${n}`).sort()
          const expected = values(await control.findAsync({}))
          assert.deepEqual(values(await db.findAsync({})), expected)
          const rows = await rowsOf(server(), `${url}#jobs`)
          assert.deepEqual(values(rows.map(({ line }) => JSON.parse(line) as Doc)), expected)
        } finally {
          await db.close().catch((error) => assert.fail(inspect(error)))
        }
      })
    }

    it('of which nobody can say whether it is in says so, when its time is up; memory is right afterwards', async () => {
      const db = openImpatient()
      const stored = async () =>
        (await rowsOf(server(), `${url}#jobs`))
          .map(({ line }) => JSON.parse(line) as Doc)
          .find(({ _id }) => _id === 'n')?.n
      await db.insertAsync({ _id: 'n', n: 0, kind: 'counter' })
      for (const mode of ['lose-answers', 'lose-requests'] as const) {
        const isIn = mode === 'lose-answers'
        // Its connection is open again.
        await db.insertAsync({ kind: 'other' })
        const [{ n: before } = { n: undefined }] = await db.findAsync({ _id: 'n' })
        network.mode = mode
        network.requested = 0
        const failed = failing(() => db.updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, {}))
        if (isIn) await until('it is in', async () => (await stored()) !== before)
        else await until('it was sent', () => network.requested > 0)
        network.cut('reset')
        network.leadTo('postgres://127.0.0.1:1')
        const error = await failed
        assert.ok(error instanceof StoreUnavailableError && error.isOutcomeUnknown, inspect(error))
        assert.match(error.message, /whether it is in the store is unknown/)
        network.leadTo(url)
        const after = Number(before) + Number(isIn)
        assert.equal((await db.findOneAsync({ _id: 'n' }))?.n, after)
      }
      await db.close()
    })

    it('nor where it is in, and the server goes away before that is on its disk for sure', async () => {
      const db = openImpatient()
      await db.insertAsync({ _id: 'n', n: 0, kind: 'counter' })
      network.mode = 'lose-answers'
      const failed = failing(() => db.updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, {}))
      await until(
        'it is in',
        async () => (await rowsOf(server(), `${url}#jobs`))[0]?.line.includes('"n":1') === true,
      )
      network.cut('reset')
      network.loseAnswersAfter = 'pg_logical_emit_message'
      await until('it is to be flushed', () => network.mode === 'lose-answers')
      network.loseAnswersAfter = undefined
      network.cut('reset')
      network.leadTo('postgres://127.0.0.1:1')
      const error = await failed
      assert.ok(error instanceof StoreUnavailableError && error.isOutcomeUnknown, inspect(error))
      assert.match(error.message, /whether it survives is unknown/)
      network.leadTo(url)
      assert.equal((await db.findOneAsync({ _id: 'n' }))?.n, 1)
      await db.close()
    })

    it('an operation whose request was lost is done once, or has failed and is not there', async () => {
      const db = new LockedNedb<Doc>({ url: network.urlOf(url), name: 'jobs', autoload: true })
      await db.insertAsync({ _id: 'n', n: 0, kind: 'counter' })
      let done = 0
      for (let i = 0; i < 10; i++) {
        network.mode = 'lose-requests'
        network.requested = 0
        const call = db.updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, {}).then(
          () => done++,
          (error) => assert.equal(error.code, 'PSLOCK_UNAVAILABLE'),
        )
        await until('it was sent', () => network.requested > 0)
        network.cut('reset')
        await call
      }
      assert.deepEqual(await db.findAsync({}), [{ _id: 'n', n: done, kind: 'counter' }])
      await db.close()
    })
  })
})

describe('what a crash of the server takes back', () => {
  // So nothing is on the disk by chance.
  const server = usePostgres({
    own: true,
    settings: { wal_writer_delay: '10000ms', wal_writer_flush_after: '1GB', autovacuum: 'off' },
  })

  it('is forgotten by every memory, though others have used its number since', async () => {
    const url = await server().database()
    const open = (durability: 'process' | 'disk') =>
      new LockedNedb<Doc>({ url, name: 'jobs', autoload: true, durability })
    const [writer, reader, other] = [open('process'), open('process'), open('disk')]
    let lost = 0
    for (let round = 0; round < 3; round++) {
      await other.insertAsync({ _id: `kept ${round}` })
      await writer.insertAsync({ _id: `risked ${round}` })
      await writer.updateAsync({ _id: `kept ${round}` }, { $set: { n: 1 } }, {})
      assert.equal((await reader.findOneAsync({ _id: `kept ${round}` }))?.n, 1)
      await server().kill9()
      await server().start()
      const [there] = await server().sql(
        `select count(*) from pslock.doc where key like '%risked ${round}%'`,
        url,
      )
      if (there?.[0] === '0') lost++
      // As many commits as were lost, or more.
      for (let i = 0; i <= round; i++) await other.insertAsync({ _id: `new ${round} ${i}` })
      const rows = await rowsOf(server(), `${url}#jobs`)
      const docs = rows.map(({ line }) => JSON.parse(line) as Doc)
      const byId = (some: Doc[]) => [...some].sort((x, y) => (String(x._id) < String(y._id) ? -1 : 1))
      for (const db of [writer, reader, other]) assert.deepEqual(byId(await db.findAsync({})), byId(docs))
      // What is compared by the number of a record must not take the old one for the new.
      await writer.updateAsync({ _id: `kept ${round}` }, { $inc: { n: 1 } }, {})
      const expected = (docs.find(({ _id }) => _id === `kept ${round}`)?.n ?? 0) + 1
      assert.equal((await other.findOneAsync({ _id: `kept ${round}` }))?.n, expected)
    }
    note(`${lost} of 3 crashes lost something`)
    assert.ok(lost > 0, 'the crashes have lost nothing: it proves nothing')
    await Promise.all([writer.close(), reader.close(), other.close()])
  })

  it('was never acknowledged by durability disk, nor shown by it', async () => {
    const url = await server().database()
    const db = new LockedNedb<Doc>({ url, name: 'jobs', autoload: true })
    const risky = new LockedNedb<Doc>({ url, name: 'jobs', autoload: true, durability: 'process' })
    for (let round = 0; round < 4; round++) {
      await db.insertAsync({ n: round, kind: 'disk' })
      await db.transaction((tx) => tx.insertAsync({ n: round, kind: 'transaction' }))
      await risky.insertAsync({ _id: `seen ${round}` })
      // By id, by a query, in a view: whoever was shown it finds it afterwards.
      const seen = [
        () => db.findOneAsync({ _id: `seen ${round}` }),
        () => db.findOneAsync({ kind: { $exists: false }, _id: `seen ${round}` }),
        () => db.view((tx) => tx.findOneAsync({ _id: `seen ${round}` })),
        () => db.transaction((tx) => tx.findOneAsync({ _id: `seen ${round}` })),
      ][round] as () => Promise<Doc | null>
      assert.equal((await seen())?._id, `seen ${round}`)
      await server().kill9()
      await server().start()
      const rows = (await rowsOf(server(), `${url}#jobs`)).map(({ line }) => JSON.parse(line) as Doc)
      assert.equal(rows.filter(({ n }) => n === round).length, 2)
      assert.ok(
        rows.some(({ _id }) => _id === `seen ${round}`),
        'what was shown is gone',
      )
    }
    await Promise.all([db.close(), risky.close()])
  })
})
