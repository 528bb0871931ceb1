import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createConnection, createServer, type Server } from 'node:net'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PgLock } from '../../src/index.ts'
import { usePostgres } from '../harness/postgres.ts'

/** BackendKeyData, by which a server says which of its processes serves the connection. */
const KEY_DATA = Buffer.from([0x4b, 0, 0, 0, 12])

/**
 * Stands between, as pgbouncer does: it answers with keys of its own, since which process of the server serves a client
 * changes from one transaction to the next.
 */
async function poolerTo(url: string): Promise<{ readonly server: Server; readonly url: string }> {
  const { hostname, port } = new URL(url)
  const server = createServer((client) => {
    const backend = createConnection({ host: hostname, port: Number(port) })
    for (const socket of [client, backend])
      socket.on('error', () => {}).on('close', () => [client, backend].map((one) => one.destroy()))
    client.pipe(backend)
    backend.on('data', (bytes: Buffer) => {
      const at = bytes.indexOf(KEY_DATA)
      if (at !== -1) bytes.writeInt32BE(4711, at + KEY_DATA.length)
      client.write(bytes)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const through = new URL(url)
  through.host = `127.0.0.1:${(server.address() as { port: number }).port}`
  return { server, url: through.href }
}

describe('behind a connection pooler', () => {
  const server = usePostgres()
  let pooler: Awaited<ReturnType<typeof poolerTo>>
  before(async () => {
    pooler = await poolerTo(await server().database())
  })
  after(() => pooler?.server.close())

  const isRefused = (error: Error & { code?: string }) => {
    assert.equal(error.code, 'PSLOCK_UNSUPPORTED')
    assert.match(error.message, /pooler/)
    return true
  }

  it('a store is refused, and says why', async () => {
    const db = new LockedNedb({ url: pooler.url, name: 'jobs' })
    await assert.rejects(db.loadDatabaseAsync(), isRefused)
    await db.close()
  })

  it('so is a lock', async () => {
    const lock = new PgLock(pooler.url, { name: 'jobs' })
    await assert.rejects(
      lock.exclusive(() => assert.fail('it was granted')),
      isRefused,
    )
    await lock.close()
  })
})
