import assert from 'node:assert/strict'
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedLow } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { killWhatIsLeft, PSLOCK, pslock, start, startPslock, withoutProgress } from '../cli/run-pslock.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { usePostgres } from '../harness/postgres.ts'

/** What the command line does with stores on a server. */
describe('pslock copy, dump, restore and check of stores on a server', () => {
  const server = usePostgres()
  const file = useFolder()
  killWhatIsLeft()
  let database = ''
  before(async () => {
    database = await server().database()
  })
  let test = 0
  let url = ''
  beforeEach(() => {
    url = `${database}#store-${++test}`
  })

  async function withNedb<T>(where: object, run: (db: LockedNedb) => Promise<T>): Promise<T> {
    const db = new LockedNedb({ ...where, autoload: true } as never)
    await db.autoloadPromise
    try {
      return await run(db)
    } finally {
      await db.close()
    }
  }

  async function docsOf(where: object): Promise<object[]> {
    return withNedb(where, async (db) => (await db.findAsync({}).sort({ _id: 1 })) as object[])
  }

  const stores = async () => (await server().sql('select name from pslock.store order by 1', database)).flat()
  const fill = (where: object, docs: object[]) =>
    withNedb(where, async (db) => {
      await db.ensureIndexAsync({ fieldName: 'mail', unique: true, sparse: true })
      await db.insertAsync(docs as never)
    })

  it('copies a file to a server and back', async () => {
    await fill({ filename: file('a.db') }, [
      { _id: 'a', n: 1, when: new Date(5), mail: 'a@b' },
      { _id: 'b', text: 'ü\u0001\n💥' },
      { _id: 'c' },
    ])
    await withNedb({ filename: file('a.db') }, (db) => db.removeAsync({ _id: 'c' }, {}))
    const docs = await docsOf({ filename: file('a.db') })
    const there = await pslock('copy', file('a.db'), url, '--json')
    assert.deepEqual([there.code, withoutProgress(there.stderr)], [0, ''])
    const shown = url.replace('postgres@', '')
    assert.deepEqual(JSON.parse(there.stdout), { found: false, file: shown, from: file('a.db'), records: 3 })
    assert.deepEqual(await docsOf({ url }), docs)
    // With its indexes.
    await withNedb({ url }, (db) =>
      assert.rejects(db.insertAsync({ mail: 'a@b' }), { errorType: 'uniqueViolated' }),
    )
    const back = await pslock('copy', url, file('b.db'))
    assert.deepEqual([back.code, withoutProgress(back.stderr)], [0, ''])
    assert.deepEqual(await docsOf({ filename: file('b.db') }), docs)
    assert.doesNotMatch(readFileSync(file('b.db'), 'utf8'), /\$\$dump/)
  })

  it('copies a file to a file, and from one server to another', async () => {
    await fill({ filename: file('a.db') }, [{ _id: 'a' }])
    assert.equal((await pslock('copy', file('a.db'), file('c.db'))).code, 0)
    assert.deepEqual(await docsOf({ filename: file('c.db') }), [{ _id: 'a' }])
    assert.equal((await pslock('copy', file('a.db'), url)).code, 0)
    const other = `${await server().database()}#elsewhere`
    const { code, stdout } = await pslock('copy', url, other)
    assert.equal(code, 0)
    assert.match(stdout, /#elsewhere: copied, 2 records/)
    assert.deepEqual(await docsOf({ url: other }), [{ _id: 'a' }])
    const self = await pslock('copy', url, url, '--overwrite')
    assert.equal(self.code, 125)
  })

  it('replaces a target with content only with --overwrite, and whoever has it open sees it', async () => {
    await fill({ filename: file('a.db') }, [{ _id: 'a' }])
    await withNedb({ url }, async (db) => {
      // Open, and empty.
      assert.equal((await pslock('copy', file('a.db'), url)).code, 0)
      assert.deepEqual(await db.findAsync({}), [{ _id: 'a' }])
      await db.insertAsync({ _id: 'b' })
      const refused = await pslock('copy', file('a.db'), url)
      assert.equal(refused.code, 125)
      assert.match(refused.stderr, /has content already. To replace it: --overwrite. Nothing was changed/)
      assert.equal(await db.countAsync({}), 2)
      assert.equal((await pslock('copy', file('a.db'), url, '--overwrite')).code, 0)
      assert.deepEqual(await db.findAsync({}), [{ _id: 'a' }])
      await db.insertAsync({ _id: 'c' })
      assert.equal((await pslock('copy', url, file('a.db'))).code, 125)
      assert.equal((await pslock('copy', url, file('a.db'), '--overwrite')).code, 0)
      assert.equal((await docsOf({ filename: file('a.db') })).length, 2)
      writeFileSync(file('empty.db'), '')
      assert.equal((await pslock('copy', url, file('empty.db'))).code, 0)
    })
  })

  it('lowdb: its text and its units', async () => {
    writeFileSync(file('a.json'), '{"notes":["a"]}')
    assert.equal((await pslock('copy', file('a.json'), url)).code, 0)
    const low = new LockedLow<{ notes: string[] }>({ url } as never, { notes: [] })
    await low.update(({ notes }) => void notes.push('b'))
    const { code, stderr } = await pslock('copy', url, file('b.json'))
    assert.deepEqual([code, withoutProgress(stderr)], [0, ''])
    assert.deepEqual(JSON.parse(readFileSync(file('b.json'), 'utf8')), { notes: ['a', 'b'] })
    assert.equal((await pslock('dump', url, file('b.dump'))).code, 0)
    await low.update(({ notes }) => void notes.push('c'))
    assert.equal((await pslock('restore', url, file('b.dump'))).code, 0)
    await low.read()
    assert.deepEqual(low.data, { notes: ['a', 'b'] })
    await low.update(({ notes }) => void notes.push('d'))
    await low.read()
    assert.deepEqual(low.data, { notes: ['a', 'b', 'd'] })
    assert.equal((await pslock('check', url)).code, 0)
    // Not as another kind.
    writeFileSync(file('n.db'), '{"_id":"a"}\n')
    const mixed = await pslock('copy', file('n.db'), url, '--overwrite')
    assert.equal(mixed.code, 125)
    assert.match(mixed.stderr, /is a store of another kind: tree, not log. Nothing was changed/)
    await low.close()
  })

  it('dump and restore', async () => {
    await fill({ url }, [{ _id: 'a', n: 1 }])
    const dumped = await pslock('dump', url, file('a.dump'))
    assert.deepEqual([dumped.code, withoutProgress(dumped.stderr)], [0, ''])
    assert.match(readFileSync(file('a.dump'), 'utf8'), /^\{"\$\$dump"/)
    assert.equal((await pslock('dump', url, file('a.dump'))).code, 125)
    await withNedb({ url }, async (db) => {
      await db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
      const { code, stdout } = await pslock('restore', url, file('a.dump'))
      assert.equal(code, 0)
      assert.match(stdout, /restored, 2 records/)
      assert.deepEqual(await db.findOneAsync({ _id: 'a' }), { _id: 'a', n: 1 })
    })
    const fresh = `${database}#restored-${test}`
    assert.equal((await pslock('restore', fresh, file('a.dump'))).code, 0)
    assert.deepEqual(await docsOf({ url: fresh }), [{ _id: 'a', n: 1 }])
    appendFileSync(file('a.dump'), 'x'.repeat(50))
    writeFileSync(file('cut.dump'), readFileSync(file('a.dump')).subarray(0, 60))
    const cut = await pslock('restore', url, file('cut.dump'))
    assert.equal(cut.code, 1)
    assert.match(cut.stderr, /cut short/)
  })

  it('a name that is not there is said, and nothing is made', async () => {
    await fill({ url }, [{ _id: 'a' }])
    const before = await stores()
    const missing = `${database}#no-such-store`
    for (const args of [
      ['dump', missing, file('x')],
      ['check', missing],
      ['copy', missing, file('x')],
      ['copy', missing, `${database}#y`],
    ]) {
      const { code, stderr } = await pslock(...args)
      assert.equal(code, 125, args[0])
      assert.match(
        stderr,
        /#no-such-store is not there: no store of this name is in the database. Nothing was made/,
      )
    }
    assert.deepEqual(await stores(), before)
    assert.ok(!existsSync(file('x')))
    const empty = await server().database()
    assert.equal((await pslock('check', `${empty}#a`)).code, 125)
    assert.deepEqual(await server().sql("select to_regnamespace('pslock') is null", empty), [['t']])
  })

  it('check: what is whole, and what others have written', async () => {
    await fill({ url }, [
      { _id: 'a', mail: 'a@b' },
      { _id: 'b', mail: 'b@b' },
    ])
    const whole = await pslock('check', url)
    assert.equal(whole.code, 0)
    assert.match(whole.stdout, /: whole\n$/)
    const change = (key: string, line: string) =>
      server().sql(
        `update pslock.doc set line = '${line}' where key = '${key}' and store = (select id from pslock.store where name = 'store-${test}')`,
        database,
      )
    await change('"b"', '{"_id":"b","mail":"a@b"}')
    const twice = await pslock('check', url, '--json')
    assert.equal(twice.code, 1)
    const { findings } = JSON.parse(twice.stdout)
    assert.deepEqual(
      findings.map(({ what }: { what: string }) => what),
      ['duplicate-key'],
    )
    assert.match(
      findings[0].message,
      /the row with the key "\\"b\\"": the unique index "mail" has "a@b" twice/,
    )
    await change('"b"', '{"_id":"z"}')
    assert.match((await pslock('check', url)).stdout, /its key should be/)
    await change('"b"', 'nonsense')
    const nonsense = await pslock('check', url)
    assert.equal(nonsense.code, 1)
    assert.match(nonsense.stdout, /unreadable, since it is not a JSON object: "nonsense"/)
    assert.equal((await pslock('dump', url, file('x'))).code, 1)
    assert.equal((await pslock('copy', url, `${url}-copy`)).code, 1)
    assert.ok(!(await stores()).includes(`store-${test}-copy`))
    assert.equal((await pslock('repair', url)).code, 2)
  })

  it('waits for the lock of the target no longer than --timeout', async () => {
    await fill({ filename: file('a.db') }, [{ _id: 'a' }])
    await withNedb({ url }, async (db) => {
      await db.insertAsync({ _id: 'x' })
      await db.transaction(async () => {
        const { code, stderr } = await pslock('copy', file('a.db'), url, '--overwrite', '--timeout', '0.3')
        assert.equal(code, 75)
        assert.match(stderr, /no exclusive lock of postgres:.* within \d+ ms. Held by \d+ on /)
      })
      assert.deepEqual(await db.findAsync({}), [{ _id: 'x' }])
    })
  })

  it('killed or interrupted at any moment, the target is whole, or as it was', async function () {
    this.timeout(60_000)
    const lines = Array.from({ length: 30_000 }, (_, n) => `{"_id":"${n}","text":"${'x'.repeat(200)}"}\n`)
    writeFileSync(file('a.db'), lines.join(''))
    await fill({ url }, [{ _id: 'old' }])
    const seen = new Set<string>()
    for (let round = 0; round < 14; round++) {
      const target = round % 2 === 0 ? url : `${database}#new-${round}`
      const { child, outcome } = startPslock('copy', file('a.db'), target, '--overwrite')
      await sleep(200 + 150 * round)
      child.kill(round % 4 < 2 ? 'SIGINT' : 'SIGKILL')
      await outcome
      await until('the server has noticed', async () => {
        const open = `select count(*) from pg_stat_activity where application_name like 'pslock ${child.pid} %'`
        return (await server().sql(open, database)).join() === '0'
      })
      const name = new URL(target).hash.slice(1)
      const count = `select (select count(*) from pslock.doc where store = s.id and not gone) from pslock.store s where name = '${name}'`
      const [[records] = ['none']] = await server().sql(count, database)
      assert.ok(
        (target === url ? ['2', '30000'] : ['none', '30000']).includes(records as string),
        `${records}`,
      )
      seen.add(records as string)
      if (records === '30000' && target === url) break
    }
    const dumping = startPslock('copy', url, file('out.db'))
    await sleep(150)
    dumping.child.kill('SIGKILL')
    await dumping.outcome
    if (existsSync(file('out.db'))) assert.ok((await pslock('check', file('out.db'))).code === 0)
    assert.ok(seen.size > 1 || seen.has('none'))
    assert.ok(readdirSync(file()).length > 0)
  })

  it('wrong usage', async () => {
    for (const args of [
      ['check', database],
      ['check', `${url}`, '--lock-path', 'x'],
      ['copy', 'postgres://u:secret@[/db#a', file('x')],
    ]) {
      const { code, stderr, stdout } = await pslock(...args)
      assert.equal(code, 2, args.join(' '))
      assert.doesNotMatch(stderr + stdout, /secret/)
    }
  })
})

describe('pslock and a server with a password', () => {
  const server = usePostgres({ password: 'tops3cret' })
  const file = useFolder()

  it('never shows it', async () => {
    writeFileSync(file('a.db'), '{"_id":"a"}\n')
    const url = `${server().url}#a`
    const outcomes = [
      await pslock('copy', file('a.db'), url),
      await pslock('copy', file('a.db'), url),
      await pslock('check', url, '--json'),
      await pslock('check', url.replace('tops3cret', 'tops3cretx'), '--timeout', '1'),
      await pslock('check', url.replace(/:\d+\//, ':1/'), '--timeout', '0'),
      await pslock('dump', url, file('a.dump'), '--json'),
    ]
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      [0, 125, 0, 125, 125, 0],
    )
    for (const { stdout, stderr } of outcomes) assert.doesNotMatch(stdout + stderr, /tops3cret/)
    assert.match(outcomes[3]!.stderr, /password/)
    const env = { PGPASSWORD: 'tops3cret' }
    const bare = url.replace(':tops3cret', '')
    assert.equal((await start(process.execPath, [PSLOCK, 'check', bare], { env }).outcome).code, 0)
    assert.equal(
      (await start(process.execPath, [PSLOCK, 'run', bare, '--', 'true'], { env }).outcome).code,
      0,
    )
  })
})
