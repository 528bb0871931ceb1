import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockLostError } from '../../src/errors.ts'
import { PgLock } from '../../src/postgres/lock/pg-lock.ts'
import { staysPending, until } from '../fixtures/folder.ts'
import type { PgLockCommands } from '../fixtures/pg-lock-worker.ts'
import { usePeers } from '../harness/peer.ts'
import { usePostgres } from '../harness/postgres.ts'

const TOLD_MS = 5000

/**
 * @param urlOf of a database of its own
 * @param lose what takes the lock away
 * @param again what comes after it
 */
function tellsOfLoss(
  what: string,
  urlOf: () => string,
  lose: () => Promise<unknown>,
  again: () => Promise<void> = async () => {},
): void {
  it(`${what}: the signal aborts, and exclusive, run and release reject`, async function () {
    this.timeout(60_000)
    const lock = new PgLock(urlOf(), { name: 'lost' })
    const before = await lock.exclusive(({ fencingToken }) => fencingToken)
    const held = await new PgLock(urlOf(), { name: 'another' }).acquire()
    const thrown = new Error('of the callback')
    let nested: boolean | undefined
    let isIn = false
    const inside = lock.exclusive(async ({ signal }) => {
      await lock
        .shared(async (hold) => {
          isIn = true
          await until('the signal aborts', () => signal.aborted, 30_000)
          nested = hold.signal.aborted
        })
        .catch(() => {})
      assert.ok(signal.reason instanceof LockLostError)
      throw thrown
    })
    inside.catch(() => {})
    const running = held.run(() => until('the signal aborts', () => held.signal.aborted, 30_000))
    running.catch(() => {})
    await until('it is in', () => isIn)
    const stalledMs = watchStalls()
    const startedAt = performance.now()
    await lose()
    await until('it is told', () => held.signal.aborted, 30_000)
    const toldMs = performance.now() - startedAt - stalledMs()
    assert.ok(toldMs < TOLD_MS, `told after ${toldMs} ms`)
    await assert.rejects(inside, (error: LockLostError) => {
      assert.ok(error instanceof LockLostError)
      assert.equal(error.path, lock.path)
      assert.ok((error.cause as AggregateError).errors.includes(thrown))
      return true
    })
    assert.equal(nested, true)
    await assert.rejects(running, LockLostError)
    await assert.rejects(held.release(), { code: 'PSLOCK_LOST' })
    await assert.rejects(held.release(), { code: 'PSLOCK_LOST' })
    await again()
    // And it works again, with a higher token.
    const after = await lock.exclusive(({ fencingToken }) => fencingToken)
    assert.ok(after > before)
    await lock.close()
  })
}

/** How long this process, which is the one that holds, got no processor; ends when it is asked. */
function watchStalls(): () => number {
  const EVERY_MS = 10
  let stalledMs = 0
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    stalledMs += Math.max(0, now - last - 2 * EVERY_MS)
    last = now
  }, EVERY_MS)
  return () => {
    clearInterval(timer)
    return stalledMs
  }
}

/** A lock of a server can be lost: whoever holds it is told soon, and nothing of it passes in silence. */
describe('PgLock: loss of the connection', () => {
  const server = usePostgres()
  let url = ''
  before(async () => {
    url = await server().database()
  })
  const terminate = () =>
    server().sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'pslock %'",
      url,
    )
  tellsOfLoss('its backend is terminated', () => url, terminate)
})

describe('PgLock: loss of the server', () => {
  const server = usePostgres({ own: true })
  const start = usePeers<PgLockCommands>('pg-lock-worker')
  let lock: PgLock
  let count = 0
  beforeEach(() => {
    lock = new PgLock(server().url, { name: `lost ${++count}` })
  })
  afterEach(() => lock.close())

  for (const [what, lose, again] of [
    ['it is stopped', () => server().stop('fast'), () => server().start()],
    ['it is stopped at once', () => server().stop('immediate'), () => server().start()],
    ['it is killed', () => server().kill9(), () => server().start()],
    ['it does not answer', () => server().pause(), () => server().resume()],
  ] as const) {
    tellsOfLoss(what, () => server().url, lose, again)
  }

  it('no loss: the answer to a heartbeat that came while the holder blocked its event loop', async () => {
    const [holder] = await start([], 1)
    const url = `${server().url}#busy`
    await holder!.call('acquire', url)
    await sleep(1800)
    await server().pause()
    // The heartbeat is sent now, and overdue before the holder looks.
    await sleep(400)
    const spinning = holder!.call('spin', 3200)
    await sleep(300)
    await server().resume()
    await spinning
    await sleep(200)
    await holder!.call('release', url)
  })

  it('a release whose answer does not come is a LockLostError within some seconds', async () => {
    const held = await lock.acquire()
    await server().pause()
    const startedAt = performance.now()
    await assert.rejects(held.release(), LockLostError)
    assert.ok(performance.now() - startedAt < TOLD_MS)
    await server().resume()
  })

  it('a server that is away for a moment is waited for', async () => {
    await server().stop('fast')
    const granted = lock.exclusive(() => 'granted')
    await sleep(300)
    await server().start()
    assert.equal(await granted, 'granted')
    await server().stop('fast')
    await assert.rejects(
      lock.exclusive(() => {}, { timeoutMs: 300 }),
      { code: 'PSLOCK_UNAVAILABLE' },
    )
    await server().start()
  })

  it('who waits while the server is restarted goes on waiting', async () => {
    const [other] = await start([], 1)
    const url = `${server().url}#${encodeURIComponent(`lost ${count}`)}`
    await other!.call('acquire', url)
    const granted = lock.exclusive(() => 'granted')
    assert.ok(await staysPending(granted))
    await server().kill9()
    await server().start()
    assert.equal(await granted, 'granted')
    await assert.rejects(other!.call('release', url), { code: 'PSLOCK_LOST' })
  })

  it('tokens rise over crashes, whatever was not yet on the disk', async function () {
    this.timeout(60_000)
    let last = 0n
    for (let crash = 0; crash < 4; crash++) {
      // Uneven numbers: the sequence logs 32 ahead.
      for (let i = 0; i < 21; i++) {
        const token = await lock.exclusive(({ fencingToken }) => fencingToken)
        assert.ok(token > last, `${token} after ${last}`)
        last = token
      }
      if (crash % 2) await server().kill9()
      else await server().stop('immediate')
      await server().start()
    }
  })
})
