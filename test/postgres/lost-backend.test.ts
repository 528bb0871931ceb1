import assert from 'node:assert/strict'
import { Client } from 'pg'
import { LockedNedb } from '../../adapters/nedb.ts'
import { StoreUnavailableError } from '../../src/index.ts'
import { until } from '../fixtures/folder.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { usePostgres } from '../harness/postgres.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { rowsOf } from './server-stores.ts'

type Doc = { _id: string; n: number }

/** The client knows that its connection is lost, and the server goes on with what was sent by it. */
describe('a store on a server that still works for a lost connection', () => {
  const server = usePostgres()
  const [login, owner] = [`pslock_login_${process.pid}`, `pslock_owner_${process.pid}`]
  let [url, through] = ['', '']
  let network: FaultyNetwork
  let other: Client

  beforeEach(async () => {
    url = await server().database()
    await server().sql(
      `create role ${owner}; create role ${login} login password 'only for tests'; grant ${owner} to ${login};
       grant create on database ${new URL(url).pathname.slice(1)} to ${login}, ${owner}`,
    )
    network = await FaultyNetwork.to(url)
    const own = new URL(network.urlOf(url))
    own.username = login
    own.password = 'only for tests'
    through = own.href
    other = new Client({ connectionString: url })
    await other.connect()
  })
  afterEach(async () => {
    await other.end()
    await network.close()
    for (const role of [login, owner]) {
      await server().sql(
        `do $$ begin perform pg_terminate_backend(pid) from pg_stat_activity where usename = '${login}'; end $$`,
      )
      await server().sql(`drop owned by ${role}`, url)
      await server().sql(`drop owned by ${role}; drop role ${role}`)
    }
  })

  const opened = async (timeoutMs: number) => {
    const db = new LockedNedb<Doc>({ url: through, name: 'jobs', timeoutMs, autoload: true })
    await db.insertAsync({ _id: 'a', n: 0 })
    return db
  }
  const count = async () => JSON.parse((await rowsOf(server(), `${url}#jobs`))[0]?.line ?? '').n as number
  /** The put of one more waits in the server when the connections are lost. */
  const lostUnderWay = async (db: LockedNedb<Doc>) => {
    await other.query('begin; lock table pslock.doc in share mode')
    const told = db.updateAsync({}, { $inc: { n: 1 } }, { multi: true })
    told.catch(() => {})
    const waiting = `select from pg_locks where not granted and relation = 'pslock.doc'::regclass`
    await until('it waits', async () => (await server().sql(waiting, url)).length > 0)
    network.cut('unheard')
    return told
  }
  const refuseToEnd = () =>
    server().sql('revoke execute on function pg_terminate_backend(int, bigint) from public', url)

  const cases: [string, () => Promise<unknown>][] = [
    ['another role is set', () => server().sql(`alter role ${login} set role = ${owner}`)],
    [
      'the time zone is another one by then',
      () => server().sql(`alter role ${login} set timezone = 'Asia/Tokyo'`),
    ],
    ['it may not be ended', refuseToEnd],
  ]
  for (const [what, prepare] of cases) {
    it(`does nothing twice where ${what}`, async function () {
      this.timeout(30_000)
      if (what.includes('role')) await prepare()
      const db = await opened(20_000)
      await prepare()
      const told = lostUnderWay(db)
      setTimeout(
        () => void other.query('commit').then(() => setTimeout(() => network.tellServer(), 200)),
        1500,
      )
      await told
      assert.equal(await count(), 1)
      await db.updateAsync({}, { $inc: { n: 1 } }, { multi: true })
      assert.equal(await count(), 2)
      await db.close()
    })
  }

  it('says that it does not know where that takes too long, and goes on later', async function () {
    this.timeout(30_000)
    const db = await opened(1000)
    await refuseToEnd()
    const error = await failing(async () => await lostUnderWay(db))
    assert.ok(error instanceof StoreUnavailableError && error.isOutcomeUnknown, String(error))
    await other.query('commit')
    network.tellServer()
    await db.updateAsync({}, { $set: { n: 5 } }, { multi: true })
    assert.equal(await count(), 5)
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 5)
    await db.close()
  })
})
