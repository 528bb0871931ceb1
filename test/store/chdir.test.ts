import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import {
  JSONFile,
  JSONFileSync,
  LockedJSONFilePreset,
  LockedLow,
  LockedLowSync,
} from '../../adapters/lowdb.ts'
import type { NedbPersistence } from '../../adapters/nedb/internals.ts'
import { LockedNedb, nedbAdapter } from '../../adapters/nedb.ts'
import { LockedDatastore } from '../../adapters/nedb-promises.ts'
import { LockedDb, LockTree, PsLock } from '../../src/index.ts'
import { useFolder } from '../fixtures/folder.ts'
import { Vanilla } from '../fixtures/nedb-tools.ts'

type Doc = { _id: string } & Record<string, unknown>

describe('a relative path, and a chdir later', () => {
  const at = useFolder()
  let before: string
  beforeEach(() => {
    before = process.cwd()
    mkdirSync(at('home'))
    mkdirSync(at('away'))
    process.chdir(at('home'))
  })
  afterEach(() => process.chdir(before))

  /** Nothing came into being where we went. */
  const nothingAway = () => assert.deepEqual(readdirSync(at('away')), [])

  const nedbs = {
    LockedNedb: (filename: string) => new LockedNedb<Doc>({ filename }),
    'LockedDb with nedbAdapter': (filename: string) =>
      new LockedDb(new Vanilla({ filename }), {
        adapter: nedbAdapter as never,
        path: filename,
      }) as unknown as LockedNedb<Doc>,
    LockedDatastore: (filename: string) =>
      LockedDatastore.create<Doc>({ filename }) as unknown as LockedNedb<Doc>,
  }
  for (const [name, open] of Object.entries(nedbs)) {
    it(`${name}: what others wrote stays, whatever rewrites the file, and no folder appears`, async () => {
      const db = open('sub/a.db')
      await db.loadDatabaseAsync()
      await db.insertAsync({ _id: 'a' })
      process.chdir(at('away'))
      const other = new LockedNedb<Doc>({ filename: at('home/sub/a.db'), autoload: true })
      const steps = {
        persist: () => (db.persistence as unknown as NedbPersistence).persistCachedDatabaseAsync(),
        compact: () => db.compactDatafileAsync(),
        load: () => db.loadDatabaseAsync(),
        index: () => db.ensureIndexAsync({ fieldName: 'n' }),
        unindex: () => db.removeIndexAsync('n'),
        transaction: () => db.transaction(() => db.insertAsync({ _id: 'in' })),
        insert: () => db.insertAsync({ _id: 'b' }),
      }
      for (const [step, run] of Object.entries(steps)) {
        await other.insertAsync({ _id: `before ${step}` })
        await run()
        assert.equal(await other.countAsync({ _id: `before ${step}` }), 1, step)
        assert.equal(await db.countAsync({ _id: `before ${step}` }), 1, step)
        nothingAway()
      }
      await db.dropDatabaseAsync()
      assert.ok(!existsSync(at('home/sub/a.db')))
      await db.insertAsync({ _id: 'c' })
      assert.equal(await other.countAsync({}), 1)
      nothingAway()
      for (const store of [db, other]) await store.close()
    })

    it(`${name}: loads where it was made`, async () => {
      const db = open('sub/a.db')
      process.chdir(at('away'))
      await db.loadDatabaseAsync()
      await db.insertAsync({ _id: 'a' })
      assert.deepEqual(readdirSync(at('home/sub')).sort(), ['a.db', 'a.db.lock'])
      nothingAway()
      await db.close()
    })
  }

  it('lowdb in all its forms', async () => {
    const opened = [
      new LockedLow<{ n: number }>('a.json', { n: 0 }),
      new LockedLow<{ n: number }>('b.json', { n: 0 }, { journal: true }),
      await LockedJSONFilePreset<{ n: number }>('c.json', { n: 0 }),
    ]
    const sync = new LockedLowSync<{ n: number }>('d.json', { n: 0 })
    const adapters = [
      new JSONFile<{ n: number }>('e.json'),
      new JSONFileSync<{ n: number }>('f.json'),
    ] as const
    process.chdir(at('away'))
    const late = new LockedLow<{ n: number }>(adapters[0], { n: 0 })
    const lateSync = new LockedLowSync<{ n: number }>(adapters[1], { n: 0 })
    for (const db of [...opened, late]) {
      await db.update((data) => {
        data.n++
      })
      await db.checkpoint()
      await db.read()
      assert.equal(db.data.n, 1)
      await db.close()
    }
    for (const db of [sync, lateSync]) {
      db.update((data) => {
        data.n++
      })
      db.read()
      assert.equal(db.data.n, 1)
      await db.close()
    }
    const files = readdirSync(at('home')).filter((name) => name.endsWith('.json'))
    assert.deepEqual(files.sort(), ['a.json', 'b.json', 'c.json', 'd.json', 'e.json', 'f.json'])
    nothingAway()
  })

  it('locks, tables, and dumps that a hook keeps waiting', async () => {
    const lock = new PsLock('x')
    const other = new PsLock('y', { lockPath: 'y.lock' })
    const tree = new LockTree('x')
    const db = new LockedLow<Record<string, unknown>>('a.json', {})
    const people = db.table<{ name: string }>('people')
    db.use({ before: () => process.chdir(at('away')) })
    await lock.exclusive(() => {})
    const dumping = db.dump('copy.json').catch(() => {})
    await dumping
    process.chdir(at('away'))
    await lock.exclusive(() => other.exclusive(() => {}))
    await tree.exclusive('name', () => {})
    await people.create({ name: 'string' })
    await people.insert({ name: 'Ada' })
    process.chdir(at('home'))
    await db.dump('copy.json')
    process.chdir(at('home'))
    assert.ok(existsSync(at('home/copy.json')))
    await db.restore('copy.json')
    nothingAway()
    for (const opened of [lock, other, tree, db]) await opened.close()
    rmSync(at('home/copy.json'))
  })
})
