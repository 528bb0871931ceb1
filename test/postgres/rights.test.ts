import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LockedLow } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PgLock } from '../../src/index.ts'
import { ROOT } from '../fixtures/code.ts'
import { usePostgres } from '../harness/postgres.ts'

const ROLE = `pslock_app_${process.pid}`

describe('a user without rights of its own', () => {
  const server = usePostgres()
  let url = ''
  let own = ''
  before(async () => {
    url = await server().database()
    await server().sql(`create role ${ROLE} login password 'only for tests'`)
    const as = new URL(url)
    as.username = ROLE
    as.password = 'only for tests'
    own = as.href
  })
  it('is told what is missing, and needs no more than the documentation says', async () => {
    const refused = new LockedNedb({ url: own, name: 'jobs' })
    await assert.rejects(refused.loadDatabaseAsync(), {
      code: 'PSLOCK_UNAVAILABLE',
      message: /administrator/,
    })
    await refused.close()

    const first = new LockedNedb({ url, name: 'jobs', autoload: true })
    await first.insertAsync({ _id: 'a', n: 1 })
    await first.close()
    await server().sql(
      `grant usage on schema pslock to ${ROLE}; grant select on all tables in schema pslock to ${ROLE}`,
      url,
    )
    for (const open of [
      () => new LockedNedb({ url: own, name: 'jobs' }),
      () => new LockedLow({ url: own, name: 'text' }, {}),
    ]) {
      const store = open()
      for (let times = 0; times < 2; times++) {
        const read = store instanceof LockedNedb ? store.loadDatabaseAsync() : store.read()
        await assert.rejects(read, { code: 'PSLOCK_UNAVAILABLE', message: /administrator/ })
      }
      await store.close()
    }
    const page = readFileSync(join(ROOT, 'docs/server.md'), 'utf8')
    const grants = page.match(/grant [^;]+ to app;/g) ?? []
    assert.equal(grants.length, 3)
    for (const grant of grants) await server().sql(grant.replace('to app', `to ${ROLE}`), url)

    const db = new LockedNedb<{ _id: string; n: number }>({ url: own, name: 'jobs', autoload: true })
    await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
    await db.transaction((tx) => tx.insertAsync({ _id: 'b', n: 1 }))
    await db.removeAsync({ _id: 'b' }, {})
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', n: 2 }])
    await db.compactDatafileAsync()
    await db.close()
    const another = new LockedNedb({ url: own, name: 'new', autoload: true })
    await another.insertAsync({ n: 1 })
    await another.close()
    const lock = new PgLock(own, { name: 'jobs' })
    assert.equal(await lock.exclusive(() => 'held'), 'held')
    await lock.close()
    await server().sql(`drop owned by ${ROLE}`, url)
    await server().sql(`drop role ${ROLE}`)
  })
})
