import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PgLock } from '../../src/index.ts'
import { until } from '../fixtures/folder.ts'
import { unprivileged, usePostgres } from '../harness/postgres.ts'

/** BackendKeyData, by which a server says which of its processes serves the connection. */
const KEY_DATA = Buffer.from([0x4b, 0, 0, 0, 12])

interface Pooler {
  readonly url: string
  close(): void
}

/**
 * Stands between, as pgbouncer does: it answers with keys of its own, since which process of the server serves a client
 * changes from one transaction to the next.
 */
async function proxyTo(url: string): Promise<Pooler> {
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
  return { url: through.href, close: () => void server.close() }
}

function hasPgbouncer(): boolean {
  try {
    execFileSync('pgbouncer', ['--version'], { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}

/** pgbouncer itself. */
async function pgbouncerTo(url: string): Promise<Pooler> {
  const { hostname, port } = new URL(url)
  const free = createServer()
  await once(free.listen(0, '127.0.0.1'), 'listening')
  const own = (free.address() as { port: number }).port
  free.close()
  const folder = mkdtempSync(join(tmpdir(), 'pslock-pgbouncer-'))
  chmodSync(folder, 0o755)
  const settings = `[databases]
* = host=${hostname} port=${port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
`
  writeFileSync(join(folder, 'ini'), settings, { mode: 0o644 })
  const program = spawn('pgbouncer', [join(folder, 'ini')], { ...unprivileged(), stdio: 'ignore' })
  const through = new URL(url)
  through.host = `127.0.0.1:${own}`
  await until('pgbouncer answers', async () => {
    const socket = createConnection(own, '127.0.0.1')
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    return isThere
  })
  const close = () => {
    program.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  return { url: through.href, close }
}

const poolers: { [name: string]: ((url: string) => Promise<Pooler>) | undefined } = {
  'a connection pooler': proxyTo,
  'pgbouncer in transaction mode': hasPgbouncer() ? pgbouncerTo : undefined,
}

for (const [name, start] of Object.entries(poolers)) {
  describe(`behind ${name}`, () => {
    if (!start) {
      it('is not tried: pgbouncer is not installed')
      return
    }
    const server = usePostgres()
    let pooler: Pooler
    before(async () => {
      pooler = await start(await server().database())
    })
    after(() => pooler?.close())

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
}
