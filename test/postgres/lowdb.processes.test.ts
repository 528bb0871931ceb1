import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Counted, openCounted as open } from '../fixtures/pg-low-shared.ts'
import type { PgLowCommands } from '../fixtures/pg-low-worker.ts'
import { type PeerProcess, usePeers } from '../harness/peer.ts'
import { usePostgres } from '../harness/postgres.ts'

/** Nothing by half, and nothing twice. */
function requireWhole({ n, log, payload, length }: Counted): void {
  assert.equal(n, log.length)
  assert.equal(payload.length, length)
  const all = new Set(log.map(({ by, i }) => `${by}:${i}`))
  assert.equal(all.size, log.length, 'something was done twice')
}

/** What each acknowledged last is there, and all that it did before. */
function requireAcknowledged({ log }: Counted, peers: readonly PeerProcess<PgLowCommands>[]): void {
  for (const [by, { lastEvent = -1 }] of peers.entries()) {
    const mine = log.filter((entry) => entry.by === by).map(({ i }) => i)
    assert.ok(mine.length === 0 || mine.every((i, index) => index === 0 || i > (mine[index - 1] as number)))
    assert.ok((mine.at(-1) ?? -1) >= (lastEvent as number), `${lastEvent} of ${by} is lost`)
  }
}

describe('lowdb on a server, shared by processes', () => {
  const server = usePostgres()
  const start = usePeers<PgLowCommands>('pg-low-worker')
  let url = ''
  before(async () => {
    url = await server().database()
  })

  it('20 processes that count and append lose nothing', async function () {
    this.timeout(120_000)
    const peers = await start([url, 'crowd'], 20)
    await Promise.all(peers.map((peer, by) => peer.call('count', by, 20)))
    const db = await open(url, 'crowd')
    assert.equal(db.data.n, 400)
    requireWhole(db.data)
    for (const peer of peers.slice(0, 3)) assert.equal(await peer.call('n'), 400)
    await db.close()
  })

  it('is put into its text while others write, by any of them', async function () {
    this.timeout(60_000)
    const peers = await start([url, 'checkpoints'], 3)
    const db = await open(url, 'checkpoints')
    let isDone = false
    const done = Promise.all(peers.map((peer, by) => peer.call('count', by, 100))).finally(() => {
      isDone = true
    })
    while (!isDone) {
      await db.checkpoint()
      await sleep(1)
    }
    await done
    await db.read()
    assert.equal(db.data.n, 300)
    requireWhole(db.data)
    await db.checkpoint()
    const [[seq, image, text] = []] = await server().sql(
      `select s.seq, i.seq, i.text from pslock.store s join pslock.image i on i.store = s.id where s.name = 'checkpoints'`,
      url,
    )
    assert.equal(image, seq)
    assert.equal((JSON.parse(text ?? '') as Counted).n, 300)
    await db.close()
  })

  it('a writer that is killed leaves what it acknowledged, and nothing by half', async function () {
    this.timeout(120_000)
    for (let round = 0; round < 4; round++) {
      const name = `killed ${round}`
      const peers = await start([url, name], 3)
      for (const [by, peer] of peers.entries()) void peer.call('grow', by, 2)
      while (peers.some(({ lastEvent }) => lastEvent === undefined)) await sleep(2)
      await sleep(50 + 60 * round)
      await Promise.all(peers.map((peer) => peer.kill()))
      const db = await open(url, name)
      requireWhole(db.data)
      requireAcknowledged(db.data, peers)
      await db.update((data) => {
        data.n++
        data.log.push({ by: -1, i: 0 })
      })
      requireWhole(db.data)
      await db.close()
    }
  })
})

describe('lowdb on a server whose connections are cut', () => {
  const server = usePostgres()
  const start = usePeers<PgLowCommands>('pg-low-worker')

  it('does nothing twice, and loses nothing that was acknowledged', async function () {
    this.timeout(60_000)
    const url = await server().database()
    const peers = await start([url, 'cut'], 4)
    const db = await open(url, 'cut')
    for (const [by, peer] of peers.entries()) void peer.call('grow', by, 2)
    for (let round = 0; round < 40; round++) {
      await sleep(50)
      await server().sql(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
           and application_name like 'pslock %' and (random() < 0.4 or wait_event_type = 'Lock')`,
        url,
      )
      if (round % 5 === 0) await db.read()
    }
    for (const peer of peers)
      assert.ok((peer.lastEvent as number) > 20, `only ${peer.lastEvent} went through`)
    await Promise.all(peers.map((peer) => peer.kill()))
    await db.read()
    requireWhole(db.data)
    requireAcknowledged(db.data, peers)
    await db.close()
  })
})

describe('lowdb on a server that goes away', () => {
  const server = usePostgres({ own: true })
  const start = usePeers<PgLowCommands>('pg-low-worker')

  const ways = {
    'is restarted': () => server().stop('fast'),
    crashes: () => server().stop('immediate'),
    'is killed': () => server().kill9(),
  }
  for (const [what, stop] of Object.entries(ways)) {
    it(`that ${what}: nothing that was acknowledged is lost`, async function () {
      this.timeout(120_000)
      const url = await server().database()
      const peers = await start([url, 'away'], 4)
      const db = await open(url, 'away')
      for (const [by, peer] of peers.entries()) void peer.call('grow', by, 2)
      for (let round = 0; round < 2; round++) {
        const before = peers.map(({ lastEvent = -1 }) => lastEvent as number)
        while (peers.some(({ lastEvent = -1 }, by) => (lastEvent as number) < (before[by] as number) + 10))
          await sleep(5)
        await stop()
        await sleep(50)
        await server().start()
      }
      await sleep(300)
      await Promise.all(peers.map((peer) => peer.kill()))
      await db.read()
      requireWhole(db.data)
      requireAcknowledged(db.data, peers)
      const fresh = await open(url, 'away')
      assert.deepEqual(fresh.data, db.data)
      await Promise.all([db.close(), fresh.close()])
    })
  }
})
