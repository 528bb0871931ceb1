import assert from 'node:assert/strict'
import { Client } from 'pg'
import { LockedNedb } from '../../adapters/nedb.ts'
import { STORE_LOCKS } from '../../src/postgres/server/schema.ts'
import { Address } from '../../src/postgres/server/url.ts'
import { removeStore } from '../../src/postgres/whole/whole-store.ts'
import { usePostgres } from '../harness/postgres.ts'

describe('to remove a store on a server', () => {
  const server = usePostgres()

  it('waits no longer than it may for whoever has its lock, nor for ever where it may not wait', async function () {
    this.timeout(30_000)
    const url = await server().database()
    const db = new LockedNedb({ url, name: 'a', autoload: true })
    await db.insertAsync({ _id: 'a' })
    await db.close()
    const other = new Client({ connectionString: url })
    await other.connect()
    await other.query(`begin; select pg_advisory_xact_lock(${STORE_LOCKS}, id) from pslock.store`)
    const start = performance.now()
    for (const timeoutMs of [0, 0.5, 200])
      await assert.rejects(removeStore(Address.of(url, 'a'), timeoutMs), { code: 'PSLOCK_STORE_IO' })
    assert.ok(performance.now() - start < 5000)
    await other.end()
    await removeStore(Address.of(url, 'a'), 0)
    assert.deepEqual(await server().sql('select from pslock.store', url), [])
  })
})
