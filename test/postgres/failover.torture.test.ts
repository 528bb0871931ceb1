import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { PgLock } from '../../src/index.ts'
import { fixture } from '../fixtures/code.ts'
import { until } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import type { ServerWorkerCommands, Told } from '../fixtures/server-worker.ts'
import { PeerProcess } from '../harness/peer.ts'
import { type TestServer, usePostgres } from '../harness/postgres.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { rowsOf } from './server-stores.ts'

type Doc = { _id?: string; by?: string; n?: number; kind?: string }
type Worker = PeerProcess<ServerWorkerCommands>

const WORKERS = 4

/** Servers of one test, of which each takes over from the one before, and the processes at work on them. */
function useFailover() {
  const first = usePostgres({ own: true })
  let primary: TestServer
  let network: FaultyNetwork
  const others: TestServer[] = []
  const workers: Worker[] = []
  const told = new Map<string, Told[]>()

  beforeEach(async () => {
    primary = first()
    network = await FaultyNetwork.to(primary.url)
  })
  afterEach(async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.kill()))
    told.clear()
    await network.close()
    await Promise.all(others.splice(0).map((server) => server.remove()))
  })

  const url = () => network.urlOf(primary.url)

  const begin = async (seed: number) => {
    for (let i = 0; i < WORKERS; i++) {
      const me = `w${i}`
      const worker: Worker = new PeerProcess(fixture('server-worker'), [url(), 'jobs', me, `${seed + i}`])
      const mine: Told[] = []
      told.set(me, mine)
      worker.child.on('message', (message) => {
        const { event } = message as { event?: Told }
        if (event !== undefined) mine.push(event)
      })
      workers.push(worker)
      await worker.ready
      await worker.call('begin')
    }
  }

  const acknowledged = () => [...told.values()].map((all) => all.filter(({ came }) => came === 'in').length)

  const allWorkAgain = async () => {
    const before = acknowledged()
    const isSo = () => acknowledged().every((count, i) => count > (before[i] as number) + 5)
    await until('all work again', isSo, 20_000)
  }

  /** The primary is gone from one moment to the next, and the address leads to the standby. */
  const failOver = async (standby: TestServer) => {
    await primary.kill9()
    network.cut('reset')
    await standby.promote()
    network.leadTo(standby.url)
    network.cut('reset')
    primary = standby
  }

  const newStandby = async () => {
    const standby = await primary.standby()
    others.push(standby)
    return standby
  }

  const docsThere = async () =>
    (await rowsOf(primary, `${primary.url}#jobs`)).map(({ line }) => JSON.parse(line) as Doc)

  const requireMemoriesEqual = async (docs: Doc[]) => {
    const byId = (some: Doc[]) => [...some].sort((x, y) => (String(x._id) < String(y._id) ? -1 : 1))
    for (const worker of workers) {
      await worker.call('stop')
      assert.deepEqual(byId((await worker.call('all')) as Doc[]), byId(docs))
    }
  }

  /** Of the inserts: those that were acknowledged and are not there, and those that are there twice. */
  const verdict = (docs: Doc[]) => {
    const lost: string[] = []
    const twice: string[] = []
    for (const [me, all] of told) {
      for (const kind of ['blind', 'named', 'pair']) {
        const there = docs.filter((doc) => doc.by === me && doc.kind === kind).map(({ n }) => n as number)
        if (new Set(there).size !== there.length) twice.push(`${me} ${kind}`)
        for (const { n, came, kind: its } of all)
          if (its === kind && came === 'in' && !there.includes(n)) lost.push(`${me} ${kind} ${n}`)
      }
    }
    return { lost, twice }
  }

  return {
    primary: () => primary,
    url,
    begin,
    stop: () => Promise.all(workers.map((worker) => worker.call('stop'))),
    acknowledged,
    allWorkAgain,
    failOver,
    newStandby,
    docsThere,
    requireMemoriesEqual,
    verdict,
  }
}

describe('a store on a server, when a synchronous standby takes over', () => {
  const at = useFailover()

  it('nothing acknowledged is lost, five times', async function () {
    this.timeout(180_000)
    const seed = newSeed()
    const next = random(seed)
    await at.begin(seed)
    const lock = new PgLock(at.url(), { name: 'token' })
    let token = 0n
    for (let round = 1; round <= 5; round++) {
      const standby = await at.newStandby()
      await at.primary().sql(`alter system set synchronous_standby_names = '*'`)
      await at.primary().sql('select pg_reload_conf()')
      const isSync = async () =>
        (await at.primary().sql('select sync_state from pg_stat_replication')).flat().join() === 'sync'
      await until('the standby is synchronous', isSync)
      await at.allWorkAgain()
      await lock.exclusive(({ fencingToken }) => {
        assert.ok(fencingToken > token, `the token went back: ${fencingToken} after ${token}`)
        token = fencingToken
      })
      await sleep(300 * next())
      await at.failOver(standby)
      await at.allWorkAgain()
    }
    await lock.close()
    await at.stop()
    const docs = await at.docsThere()
    const total = at.acknowledged().reduce((sum, count) => sum + count, 0)
    note(`seed ${seed}: 5 times, ${total} acknowledged, ${docs.length} records`)
    assert.deepEqual(at.verdict(docs), { lost: [], twice: [] })
    await at.requireMemoriesEqual(docs)
    assert.ok(total > 300, `too little was done: ${total}`)
  })
})

describe('a store on a server, when an asynchronous standby takes over that is behind', () => {
  const at = useFailover()

  it('every memory is what the new primary has', async function () {
    this.timeout(90_000)
    const seed = newSeed()
    await at.begin(seed)
    const standby = await at.newStandby()
    await at.allWorkAgain()
    // Nothing arrives there any more.
    await standby.sql(`alter system set primary_conninfo = ''`)
    await standby.sql('select pg_reload_conf()')
    const isBehind = async () => (await at.primary().sql('select 1 from pg_stat_replication')).length === 0
    await until('the standby follows no more', isBehind)
    await at.allWorkAgain()
    await at.failOver(standby)
    await at.allWorkAgain()
    await at.stop()
    const docs = await at.docsThere()
    const { lost, twice } = at.verdict(docs)
    note(`seed ${seed}: ${lost.length} acknowledged are not there`)
    assert.deepEqual(twice, [])
    assert.ok(lost.length > 0, 'it was not behind')
    await at.requireMemoriesEqual(docs)
  })
})
