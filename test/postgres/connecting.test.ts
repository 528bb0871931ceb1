import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, defaults } from 'pg'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PgLock } from '../../src/index.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { usePostgres } from '../harness/postgres.ts'
import { FaultyNetwork } from './faulty-network.ts'

/** Whoever does not wait is given 3 s to connect in. */
const SOON_MS = 6000

describe('what must be done on a new connection', function () {
  this.timeout(40_000)
  const server = usePostgres()

  /** Nothing of it waits longer than it may. */
  const requireEnds = async (urls: readonly string[]) => {
    const db = new LockedNedb({ url: urls[3] as string, name: 'a', timeoutMs: 200 })
    const locks = ['a', 'b', 'c'].map((name, i) => new PgLock(urls[i] as string, { name, timeoutMs: 200 }))
    const [one, two, three] = locks as [PgLock, PgLock, PgLock]
    const within = async (ms: number, what: string, call: () => Promise<unknown>) => {
      const start = performance.now()
      const error = await failing(call)
      assert.ok(performance.now() - start < ms, `${what}: ${performance.now() - start} ms`)
      return error
    }
    const signal = AbortSignal.timeout(100)
    const errors = await Promise.all([
      within(SOON_MS, 'load', () => db.loadDatabaseAsync()),
      within(SOON_MS, 'exclusive', () => one.exclusive(() => {})),
      within(SOON_MS, 'tryAcquire', () => two.tryAcquire()),
      within(2000, 'abort', () => three.exclusive(() => {}, { signal, timeoutMs: 20_000 })),
    ])
    assert.deepEqual(
      errors.map((error) => error.code),
      [...Array(3).fill('PSLOCK_UNAVAILABLE'), DOMException.TIMEOUT_ERR],
    )
    await db.close()
    for (const lock of locks) await lock.close()
  }

  it('ends where the server does not answer any more', async () => {
    const url = await server().database()
    const networks = await Promise.all(Array.from({ length: 4 }, () => FaultyNetwork.to(url)))
    for (const network of networks) network.loseAnswersAfter = 'default_transaction_isolation'
    await requireEnds(networks.map((network) => network.urlOf(url)))
    for (const network of networks) await network.close()
  })

  it('sets what the url, and the defaults of pg, say of timeouts and of binary values, as it needs it', async () => {
    const url = await server().database()
    const settings = defaults as { binary?: boolean; query_timeout?: number }
    const before = { binary: settings.binary, query_timeout: settings.query_timeout }
    const other = new LockedNedb<{ _id: string }>({ url, name: 'a' })
    await other.loadDatabaseAsync()
    Object.assign(settings, { binary: true, query_timeout: 300 })
    try {
      const db = new LockedNedb<{ _id: string }>({
        url: `${url}?query_timeout=200&lock_timeout=100`,
        name: 'a',
        autoload: true,
      })
      await db.insertAsync({ _id: 'a' })
      const held = other.transaction(() => sleep(700))
      await sleep(50)
      await db.transaction((tx) => tx.insertAsync({ _id: 'b' }))
      await held
      assert.equal(await db.countAsync({}), 2)
      await db.close()
    } finally {
      Object.assign(settings, before)
      await other.close()
    }
  })

  it('ends where another transaction makes the schema, and goes on after that', async () => {
    const url = await server().database()
    const other = new Client({ connectionString: url })
    other.on('error', () => {})
    await other.connect()
    await other.query('begin; create schema pslock')
    await requireEnds(Array(4).fill(url))
    const db = new LockedNedb({ url, name: 'a', timeoutMs: 20_000 })
    setTimeout(() => void other.query('commit'), 300)
    await db.loadDatabaseAsync()
    await db.close()
    await other.end()
  })
})
