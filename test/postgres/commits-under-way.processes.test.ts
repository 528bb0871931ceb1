import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { keyOf } from '../../adapters/nedb/record-lines.ts'
import { LockedNedb, type LockedNedbOptions } from '../../adapters/nedb.ts'
import { LockTimeoutError } from '../../src/index.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import { nameOf, useServerStores } from './server-stores.ts'

type Doc = { _id: string; n: number }

/** Commits of different records do not wait for each other, so that they end in another order than they began. */
describe('a store on a server, while commits of others are under way', () => {
  const place = useServerStores()
  const opened: { close(): Promise<void> }[] = []
  const raws: Client[] = []
  afterEach(async () => {
    await Promise.allSettled(raws.splice(0).map((raw) => raw.end()))
    await Promise.allSettled(opened.splice(0).map((store) => store.close()))
  })

  const url = () => place.path('jobs')
  const open = async (options: LockedNedbOptions = {}): Promise<LockedNedb<Doc>> => {
    const db = new LockedNedb<Doc>({ url: url(), autoload: true, ...options })
    opened.push(db)
    await db.autoloadPromise
    return db
  }
  const connected = async () => {
    const raw = new Client({ connectionString: url().split('#')[0] as string })
    raws.push(raw)
    await raw.connect()
    return raw
  }

  /** A commit as a process sends it, in a transaction that goes on. @param version of the record before; 0: there is none */
  async function begun(
    doc: Partial<Doc> & { _id: string; $$deleted?: true },
    version: string | number = 0,
  ): Promise<Client> {
    const raw = await connected()
    await raw.query('begin')
    const text = `select p.o_status, p.o_seq from pslock.store s, pslock.incarnation i,
      pslock.put(s.id, i.id, s.fence, $2, $3, $2, array[$6::boolean], $4, false, $5, 1) p where s.name = $1`
    const values = [
      nameOf(url()),
      [keyOf(doc._id)],
      [version],
      [JSON.stringify(doc)],
      raws.length,
      doc.$$deleted === true,
    ]
    assert.equal((await raw.query(text, values)).rows[0].o_status, 0)
    return raw
  }
  const versionOf = async (id: string) => {
    const text = `select d.seq from pslock.doc d join pslock.store s on s.id = d.store where s.name = '${nameOf(url())}' and key = '${keyOf(id)}'`
    return Number((await place.server().sql(text, url()))[0]?.[0])
  }
  const ids = async (db: LockedNedb<Doc>) => (await db.findAsync({})).map(({ _id }) => _id).sort()

  it('hears of them as soon as they are in, however much came in before', async () => {
    const [one, other] = [await open(), await open()]
    await one.insertAsync({ _id: 'a', n: 0 })
    assert.deepEqual(await ids(other), ['a'])
    const late = await begun({ _id: 'late', n: 1 })
    const later = await begun({ _id: 'later', n: 2 })
    await one.insertAsync({ _id: 'b', n: 0 })
    for (const db of [one, other]) assert.deepEqual(await ids(db), ['a', 'b'])
    await later.query('commit')
    await one.insertAsync({ _id: 'c', n: 0 })
    for (const db of [one, other]) assert.deepEqual(await ids(db), ['a', 'b', 'c', 'later'])
    await late.query('commit')
    for (const db of [one, other]) assert.deepEqual(await ids(db), ['a', 'b', 'c', 'late', 'later'])
  })

  // One record by itself goes another way than several.
  for (const others of [0, 2]) {
    it(`counts on what is in first where both write the same record${others ? ', and others' : ''}`, async () => {
      const db = await open()
      await db.insertAsync({ _id: 'a', n: 0 })
      const call = (run: () => Promise<unknown>) => {
        // The first of them goes by itself, what is issued meanwhile together.
        const beside = Array.from({ length: others }, (_, i) => db.insertAsync({ _id: `beside ${i}`, n: -1 }))
        return Promise.all([run(), ...beside])
      }
      const forget = async () => {
        await db.removeAsync({ n: -1 }, { multi: true })
        // After a conflict the lock is taken first for a while.
        await sleep(70)
      }
      const other = await begun({ _id: 'a', n: 10 }, await versionOf('a'))
      const counted = call(() => db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {}))
      await sleep(20)
      await other.query('commit')
      await counted
      assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 11)

      await forget()
      const removing = await begun({ _id: 'a', $$deleted: true }, await versionOf('a'))
      const inVain = call(() => db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {}))
      await sleep(20)
      await removing.query('commit')
      await inVain
      assert.equal(await db.findOneAsync({ _id: 'a' }), null)

      // What finds nothing writes nothing, and is compared as well.
      await forget()
      await (await begun({ _id: 'd', n: 1 })).query('commit')
      await call(() => db.updateAsync({ _id: 'd' }, { $inc: { n: 1 } }, {}))
      assert.equal((await db.findOneAsync({ _id: 'd' }))?.n, 2)

      await forget()
      const inserting = await begun({ _id: 'b', n: 1 })
      const twice = failing(() => call(() => db.insertAsync({ _id: 'b', n: 2 })))
      await sleep(20)
      await inserting.query('commit')
      assert.equal((await twice).errorType, 'uniqueViolated')

      await forget()
      const given = await begun({ _id: 'c', n: 1 })
      const instead = call(() => db.insertAsync({ _id: 'c', n: 2 }))
      await sleep(20)
      await given.query('rollback')
      await instead
      await forget()
      assert.deepEqual((await db.findAsync({})).map(({ _id, n }) => `${_id} ${n}`).sort(), [
        'b 1',
        'c 2',
        'd 2',
      ])
    })
  }

  it('a transaction waits for them, and says who they are', async () => {
    const db = await open()
    await db.insertAsync({ _id: 'a', n: 0 })
    const other = await begun({ _id: 'b', n: 1 })
    const count = (options?: { timeoutMs: number }) => db.transaction((tx) => tx.countAsync({}), options)
    const error = await failing(() => count({ timeoutMs: 300 }))
    assert.ok(error instanceof LockTimeoutError && error.holders.length > 0, String(error))
    const counting = count()
    await sleep(50)
    await other.query('commit')
    assert.equal(await counting, 2)
  })

  it('forgets what was removed while a foreign transaction is open', async () => {
    const [db, other] = [await open(), await open()]
    const some = (what: string) => Array.from({ length: 1100 }, (_, n) => ({ _id: `${what} ${n}`, n: n + 1 }))
    await db.insertAsync([{ _id: '0', n: 0 }, ...some('first')])
    assert.equal(await other.countAsync({}), 1101)
    const foreign = await connected()
    await foreign.query('create table elsewhere (n int); begin; insert into elsewhere values (1)')
    const gone = async () => {
      const text = `select count(*) from pslock.doc d join pslock.store s on s.id = d.store where s.name = '${nameOf(url())}' and gone`
      return Number((await place.server().sql(text, url()))[0]?.[0])
    }
    // Of what is removed last all is kept.
    for (const [what, kept] of [
      ['', 1100],
      ['second', 1100],
    ] as const) {
      if (what) await db.insertAsync(some(what))
      await db.removeAsync({ n: { $gt: 0 } }, { multi: true })
      await db.compactDatafileAsync()
      assert.equal(await gone(), kept)
    }
    for (const one of [db, other]) assert.deepEqual(await ids(one), ['0'])
    await other.insertAsync({ _id: 'x', n: 0 })
    await foreign.query('commit')
    for (const one of [db, other]) assert.deepEqual(await ids(one), ['0', 'x'])
  })

  it('a transaction that the server refuses, while others want the lock, leaves the connection as it was', async () => {
    const [db, other] = [await open(), await open()]
    await db.insertAsync({ _id: 'a', n: 0 })
    await place.server().sql(
      `create or replace function refuse() returns trigger language plpgsql as
         $$ begin if new.line like '%refuse%' then raise exception 'refused' using errcode = 'P0001'; end if; return new; end $$;
       create or replace trigger refuse before insert on pslock.doc for each row execute function refuse()`,
      url(),
    )
    try {
      await db.transaction(async (tx) => tx.countAsync({}))
      await other.insertAsync({ _id: 'b', n: 0 })
      await assert.rejects(
        db.transaction((tx) => tx.insertAsync({ _id: 'refuse', n: 0 })),
        { code: 'PSLOCK_STORE_IO' },
      )
      // By itself, and so without the lock.
      await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
      for (const one of [db, other]) assert.deepEqual(await ids(one), ['a', 'b'])
    } finally {
      await place.server().sql('drop trigger refuse on pslock.doc', url())
    }
  })

  it('of a transaction during which the server has restarted nothing is left', async () => {
    const db = await open()
    await db.insertAsync({ _id: 'a', n: 0 })
    const transaction = db.transaction(async (tx) => {
      await tx.insertAsync({ _id: 'b', n: 0 })
      await place.server().sql('delete from pslock.incarnation', url())
    })
    await assert.rejects(transaction, { code: 'PSLOCK_UNAVAILABLE' })
    assert.deepEqual(await ids(db), ['a'])
    // Nor is what was done in it before.
    const raw = await connected()
    const put = `select pslock.clear(s.id) from pslock.store s where s.name = $1`
    await raw.query('begin')
    await raw.query(put, [nameOf(url())])
    const held = `select pslock.put(id, gen_random_uuid(), 0, null, null, '{}', '{}', '{}', false, 1, 1) from pslock.store where name = $1`
    await assert.rejects(raw.query(held, [nameOf(url())]), { code: 'PK002' })
    await raw.query('commit')
    assert.deepEqual(await ids(db), ['a'])
  })

  it('dropDatabase leaves its number, by which it is known to be in', async () => {
    const db = await open()
    await db.insertAsync({ _id: 'a', n: 0 })
    const numbers = () =>
      place.server().sql('select number from pslock.client order by at desc limit 1', url())
    const before = await numbers()
    await db.dropDatabaseAsync()
    assert.equal(Number((await numbers())[0]?.[0]), Number(before[0]?.[0]) + 1)
  })

  it('commits of several records of several processes, in any order, lose nothing', async function () {
    this.timeout(60_000)
    const next = random(newSeed())
    const keys = Array.from({ length: 8 }, (_, i) => `k${i}`)
    const stores = await Promise.all(Array.from({ length: 6 }, () => open({ timeoutMs: 30_000 })))
    await (stores[0] as LockedNedb<Doc>).insertAsync(keys.map((_id) => ({ _id, n: 0 })))
    const expected = new Map(keys.map((key) => [key, 0]))
    let [refused, inserted, several] = [0, 0, 0]
    await Promise.all(
      stores.map(async (db) => {
        for (let round = 0; round < 25; round++) {
          const some = keys.filter(() => next() < 0.4).sort(() => next() - 0.5)
          const fresh = `new ${round}`
          if (some.length > 1) several++
          await Promise.all([
            ...some.map(async (_id) => {
              await db.updateAsync({ _id }, { $inc: { n: 1 } }, {})
              expected.set(_id, (expected.get(_id) as number) + 1)
            }),
            db.insertAsync({ _id: fresh, n: -1 }).then(
              () => inserted++,
              (error) => {
                assert.equal(error.errorType, 'uniqueViolated')
                refused++
              },
            ),
          ])
          if (next() < 0.5) await sleep(next() * 60)
        }
      }),
    )
    note(`${several} commits of several records, ${refused} ids that another was first with`)
    assert.ok(several > 50 && refused > 20)
    assert.equal(inserted, 25)
    for (const db of stores) {
      const found = await db.findAsync({ n: { $gte: 0 } })
      assert.deepEqual(new Map(found.map(({ _id, n }) => [_id, n] as const).sort()), expected)
      assert.equal(await db.countAsync({}), keys.length + 25)
    }
  })

  it('to open the store while others write is no restart of the server', async function () {
    this.timeout(60_000)
    await open()
    const incarnation = async () =>
      (await place.server().sql('select id from pslock.incarnation', url())).flat()
    const before = await incarnation()
    assert.equal(before.length, 1)
    let [inserted, isOver] = [0, false]
    const writing = Promise.all(
      Array.from({ length: 4 }, async (_, client) => {
        const raw = await connected()
        const one = `select pslock.put(s.id, i.id, s.fence, array[$1], array[0], array[$1], array[false], array['{}'], false, $3, 1)
          from pslock.store s, pslock.incarnation i where s.name = $2`
        while (!isOver)
          await raw.query({ name: 'one', text: one, values: [`k${inserted++}`, nameOf(url()), client] })
      }),
    )
    const raw = await connected()
    let opened = 0
    for (const until = performance.now() + 2000; performance.now() < until; opened++)
      await raw.query({ name: 'open', text: 'select pslock.open($1, $2)', values: [nameOf(url()), 'log'] })
    isOver = true
    await writing
    note(`opened ${opened} times during ${inserted} commits`)
    assert.deepEqual(await incarnation(), before)
  })

  it('what comes from a server with higher numbers is numbered anew, and counted on', async () => {
    const db = await open()
    await db.insertAsync([
      { _id: 'a', n: 1 },
      { _id: 'b', n: 1 },
    ])
    await db.removeAsync({ _id: 'b' }, {})
    await db.close()
    // As pg_restore brings it, into a database where nobody has reset the incarnation.
    const at = `(select id from pslock.store where name = '${nameOf(url())}')`
    await place.server().sql(
      `update pslock.doc set seq = seq + 1e9 where store = ${at};
       update pslock.store set floor = 999999999 where id = ${at}`,
      url(),
    )
    const [one, other] = [await open(), await open()]
    assert.ok((await versionOf('a')) < 1e9)
    for (let i = 0; i < 3; i++)
      for (const store of [one, other]) await store.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
    await one.insertAsync({ _id: 'b', n: 2 })
    for (const store of [one, other]) assert.deepEqual(await ids(store), ['a', 'b'])
    assert.equal((await other.findOneAsync({ _id: 'a' }))?.n, 7)
  })
})
