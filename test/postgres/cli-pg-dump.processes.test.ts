import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { delimiter } from 'node:path'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PgLock } from '../../src/postgres/lock/pg-lock.ts'
import { type Outcome, PSLOCK, pslock, start, withoutProgress } from '../cli/run-pslock.ts'
import { useFolder } from '../fixtures/folder.ts'
import { usePostgres } from '../harness/postgres.ts'

function hasTools(): boolean {
  try {
    execFileSync('pg_dump', ['--version'], { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}

/** All stores of a database, by pg_dump and pg_restore. */
describe('pslock dump --pg and restore --pg', () => {
  const server = usePostgres({ password: 'tops3cret' })
  const file = useFolder()
  let url = ''
  const open: LockedNedb[] = []
  before(function () {
    if (!hasTools()) this.skip()
  })
  beforeEach(async () => {
    url = await server().database()
  })
  afterEach(async () => {
    for (const db of open.splice(0)) await db.close()
  })

  async function opened(name: string, database = url): Promise<LockedNedb> {
    const db = new LockedNedb({ url: database, name, autoload: true } as never)
    open.push(db)
    await db.autoloadPromise
    return db
  }

  const numbers = async (db: LockedNedb) =>
    ((await db.findAsync({}).sort({ n: 1 })) as { n?: number }[]).map(({ n }) => n)

  /** By hand, as a user would. */
  const tool = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: 'pipe' })

  it('over the database: a process that has a store open sees what was restored at its next call', async () => {
    const db = await opened('jobs')
    const lock = new PgLock(url, { name: 'a lock' })
    await lock.exclusive(() => {})
    for (const n of [1, 2, 3]) await db.insertAsync({ n })
    const dumped = await pslock('dump', '--pg', url, file('all.dump'))
    assert.deepEqual([dumped.code, withoutProgress(dumped.stderr)], [0, ''])
    assert.equal(statSync(file('all.dump')).mode & 0o777, 0o600)
    // As many commits as it takes for the numbers to go back, and a store that the dump does not have.
    for (const n of [4, 5, 6]) await db.insertAsync({ n })
    await db.removeAsync({ n: 1 }, {})
    const later = await opened('later')
    await later.insertAsync({ n: 9 })
    const laterLock = new PgLock(url, { name: 'a later lock' })
    const held = await laterLock.acquire()
    const restored = await pslock('restore', '--pg', url, file('all.dump'))
    assert.deepEqual([restored.code, withoutProgress(restored.stderr)], [0, ''])
    assert.doesNotMatch(restored.stdout, /tops3cret/)
    assert.deepEqual(await numbers(db), [1, 2, 3])
    await db.insertAsync({ n: 7 })
    assert.deepEqual(await numbers(db), [1, 2, 3, 7])
    assert.deepEqual(await numbers(await opened('jobs')), [1, 2, 3, 7])
    // It is gone, and nobody takes another one for it.
    await (await opened('newest')).insertAsync({ n: 0 })
    await assert.rejects(later.insertAsync({ n: 10 }), { code: 'PSLOCK_CORRUPT' })
    open.splice(open.indexOf(later), 1)
    await later.close().catch(() => {})
    // A lock that was taken after the dump is the same one.
    assert.equal(await new PgLock(url, { name: 'a later lock' }).tryAcquire(), undefined)
    const token = held.fencingToken
    await held.release()
    await lock.exclusive(({ fencingToken }) => assert.ok(fencingToken > token))
    await lock.close()
    await laterLock.close()
  })

  it('into a fresh database', async () => {
    const db = await opened('jobs')
    await db.insertAsync({ n: 1 })
    assert.equal((await pslock('dump', '--pg', url, file('all.dump'))).code, 0)
    assert.equal((await pslock('dump', '--pg', url, file('all.dump'))).code, 125)
    assert.equal((await pslock('dump', '--pg', url, file('all.dump'), '--overwrite')).code, 0)
    const fresh = await server().database()
    const { code, stderr } = await pslock('restore', '--pg', fresh, file('all.dump'))
    assert.deepEqual([code, withoutProgress(stderr)], [0, ''])
    const copy = await opened('jobs', fresh)
    assert.deepEqual(await numbers(copy), [1])
    await copy.insertAsync({ n: 2 })
    assert.deepEqual(await numbers(copy), [1, 2])
  })

  it('what is no dump changes nothing', async () => {
    const db = await opened('jobs')
    await db.insertAsync({ n: 1 })
    await pslock('dump', '--pg', url, file('all.dump'))
    writeFileSync(file('cut.dump'), readFileSync(file('all.dump')).subarray(0, -300))
    writeFileSync(file('none.dump'), 'nonsense')
    await db.insertAsync({ n: 2 })
    for (const name of ['cut.dump', 'none.dump', 'missing.dump']) {
      const { code, stderr } = await pslock('restore', '--pg', url, file(name))
      assert.equal(code, 125, name)
      assert.match(stderr, /^pslock: /m)
      assert.deepEqual(await numbers(db), [1, 2])
    }
  })

  it('pg_dump and pg_restore by hand, into a fresh database and over the old one', async () => {
    const db = await opened('jobs')
    await db.insertAsync({ n: 1 })
    tool('pg_dump', '-Fc', '-n', 'pslock', '-f', file('hand.dump'), '-d', url)
    const fresh = await server().database()
    tool('pg_restore', '-d', fresh, file('hand.dump'))
    assert.deepEqual(await numbers(await opened('jobs', fresh)), [1])
    await db.insertAsync({ n: 2 })
    await db.insertAsync({ n: 3 })
    tool('pg_restore', '--clean', '--if-exists', '--single-transaction', '-d', url, file('hand.dump'))
    const page = readFileSync(new URL('../../../docs/server.md', import.meta.url), 'utf8')
    const [, sql] = /```sql\n(truncate pslock\.incarnation[^`]*)```/.exec(page) ?? []
    assert.ok(sql, 'docs/server.md says what to do after it')
    await server().sql(sql, url)
    assert.deepEqual(await numbers(db), [1])
    await db.insertAsync({ n: 4 })
    assert.deepEqual(await numbers(await opened('jobs')), [1, 4])
  })

  it('a name, and what is no server', async () => {
    const { code, stderr } = await pslock('dump', '--pg', `${url}#jobs`, file('x'))
    assert.equal(code, 2)
    assert.match(
      stderr,
      /pg_dump cannot leave out rows: leave #\.\.\. out\. For one store: pslock dump postgres:/,
    )
    assert.equal((await pslock('restore', '--pg', `${url}#jobs`, file('x'))).code, 2)
    assert.ok(!existsSync(file('x')))
  })

  /** With programs of this name before all others. */
  function withProgram(name: string, script: string, ...args: string[]): Promise<Outcome> {
    mkdirSync(file('bin'), { recursive: true })
    writeFileSync(file(`bin/${name}`), `#!/bin/sh\n${script}\n`)
    chmodSync(file(`bin/${name}`), 0o755)
    const PATH = `${file('bin')}${delimiter}${process.env.PATH}`
    return start(process.execPath, [PSLOCK, ...args], { env: { PATH } }).outcome
  }

  it('the password is in no argument', async () => {
    await opened('jobs')
    const script = `echo "$@" >>${file('args')}; PATH=\${PATH#*:}; exec pg_dump "$@"`
    const { code, stderr } = await withProgram('pg_dump', script, 'dump', '--pg', url, file('all.dump'))
    assert.deepEqual([code, withoutProgress(stderr)], [0, ''])
    assert.match(readFileSync(file('args'), 'utf8'), /--schema=pslock/)
    assert.doesNotMatch(readFileSync(file('args'), 'utf8'), /tops3cret|postgres:/)
  })

  it('a pg_dump that is too old, or fails, or is not there', async () => {
    const old = await withProgram(
      'pg_dump',
      'echo "pg_dump (PostgreSQL) 9.6.24"',
      'dump',
      '--pg',
      url,
      file('x'),
    )
    assert.equal(old.code, 125)
    assert.match(old.stderr, /pg_dump is of PostgreSQL 9, and the server is \d+: it takes one that is as new/)
    const failing = 'case $1 in --version) echo pg_dump 99;; *) echo half; echo no >&2; exit 3;; esac'
    const failed = await withProgram('pg_dump', failing, 'dump', '--pg', url, file('x'))
    assert.equal(failed.code, 125)
    assert.match(failed.stderr, /no\npslock: .*pg_dump has failed \(exit code 3\)/)
    assert.ok(!existsSync(file('x')))
    const env = { PATH: file() }
    const none = await start(process.execPath, [PSLOCK, 'dump', '--pg', url, file('x')], { env }).outcome
    assert.equal(none.code, 125)
    assert.match(none.stderr, /pg_dump is not installed, or in no folder of PATH/)
    assert.doesNotMatch(none.stderr, /tops3cret/)
  })
})
