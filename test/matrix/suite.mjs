/**
 * Run by Jest (ESM) and vitest (`vmForks`), which give each test file a context of its own (`node:vm`): what comes from
 * `node:fs` there is of another `Error`, `Promise` and `Date` than what the file itself makes. `test` is the runner's.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { LockTree, PsLock, PsLockError } from 'pslock'
import { JSONFile, LockedJSONFilePreset, LockedLow, LockedLowSync } from 'pslock/lowdb'
import { LockedNedb } from 'pslock/nedb'
import { LockedDatastore } from 'pslock/nedb-promises'

const folder = mkdtempSync(join(tmpdir(), 'pslock-runner-'))
const file = (name) => join(folder, name)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('it runs in a context of its own', async () => {
  const error = await import('node:fs').then(({ readFileSync }) => {
    try {
      return readFileSync('/nowhere')
    } catch (error) {
      return error
    }
  })
  assert.equal(error instanceof Error, false)
  assert.equal(error.code, 'ENOENT')
})

test('PsLock: a new lock file, re-entering, a timeout, an abort', async () => {
  const lock = new PsLock(file('data'))
  assert.equal(await lock.exclusive(() => lock.exclusive(() => 1)), 1)
  assert.equal(
    lock.exclusiveSync(() => 2),
    2,
  )
  const held = await lock.acquire()
  const other = new PsLock(file('data'))
  assert.equal(other.tryAcquire(), undefined)
  await assert.rejects(
    other.exclusive(() => {}, { timeoutMs: 30 }),
    { code: 'PSLOCK_TIMEOUT' },
  )
  const abort = new AbortController()
  const waiting = other.exclusive(() => {}, { signal: abort.signal })
  abort.abort(new TypeError('enough'))
  await assert.rejects(waiting, { message: 'enough' })
  held.release()
  assert.equal(await other.shared(() => 3), 3)
  await lock.close()
  await other.close()
})

test('PsLock: another process is waited for', async () => {
  const lock = new PsLock(file('shared'))
  await lock.exclusive(() => {})
  const flock = spawn('flock', [
    lock.path.endsWith('.lock') ? lock.path : `${lock.path}.lock`,
    'sleep',
    '0.3',
  ])
  let isOver = false
  flock.on('exit', () => {
    isOver = true
  })
  while (!isOver && lock.tryAcquire()?.release() === undefined && lock.holders().length === 0)
    await setTimeout(5)
  await lock.exclusive(() => {})
  await lock.close()
})

test('PsLock: what is wrong with the lock file has its own error', async () => {
  const lock = new PsLock(file('no/such/folder/data'))
  await assert.rejects(
    lock.exclusive(() => {}),
    (error) => error instanceof PsLockError && error.code === 'PSLOCK_IO',
  )
  await lock.close()
})

test('LockTree: names, and a refusal', async () => {
  const tree = new LockTree(file('tree'))
  await tree.exclusive('app/orders', async () => {
    await tree.shared('app/users', () => {})
  })
  const held = await tree.acquire('app/orders')
  const other = new LockTree(file('tree'))
  await assert.rejects(
    other.exclusive('app', () => {}, { timeoutMs: 30 }),
    { code: 'PSLOCK_TIMEOUT' },
  )
  held.release()
  await tree.close()
  await other.close()
})

test('NeDB: writes, dates, transactions, a second store, a damaged file', async () => {
  const filename = file('nedb/a.db')
  const db = new LockedNedb({ filename, autoload: true })
  const at = new Date(1e12)
  await db.insertAsync([{ _id: 'a', at, list: [1, { two: [new Date(2e12)] }], pattern: 'x' }, { n: 1 }])
  await db.updateAsync({ _id: 'a' }, { $set: { seen: at } })
  await db.ensureIndexAsync({ fieldName: 'n', unique: true, sparse: true })
  await assert.rejects(db.insertAsync({ n: 1 }), { errorType: 'uniqueViolated' })
  await assert.rejects(
    db.transaction(async (tx) => {
      await tx.insertAsync({ n: 2 })
      throw new RangeError('no')
    }),
    RangeError,
  )
  assert.equal(await db.countAsync({ pattern: /x/ }), 1)
  const other = new LockedNedb({ filename, autoload: true })
  const found = await other.findOneAsync({ _id: 'a' })
  assert.equal(Number(found.at), 1e12)
  assert.equal(Number(found.seen), 1e12)
  assert.equal(Number(found.list[1].two[0]), 2e12)
  assert.equal(await other.countAsync({ at: { $lte: new Date() } }), 1)
  await db.compactDatafileAsync()
  await db.close()
  await other.close()
  writeFileSync(file('bad.db'), 'garbage\n')
  const bad = new LockedNedb({ filename: file('bad.db') })
  await assert.rejects(bad.loadDatabaseAsync(), { code: 'PSLOCK_CORRUPT' })
  await bad.close()
})

test('nedb-promises: writes and reads', async () => {
  const db = LockedDatastore.create({ filename: file('promises.db'), timestampData: true })
  await db.insert({ _id: 'a' })
  assert.equal((await db.find({ createdAt: { $lte: new Date() } })).length, 1)
  await db.close()
})

test('lowdb: update, write, merge, journal, transactions, the blocking form, a damaged file', async () => {
  const path = file('low.json')
  const db = new LockedLow(path, { posts: [], on: null })
  await db.update((data) => {
    data.posts.push({ id: 1 })
  })
  const other = await LockedJSONFilePreset(path, { posts: [] })
  other.data.posts.push({ id: 2 })
  db.data.on = 'it'
  await db.write()
  await other.write()
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), { posts: [{ id: 1 }, { id: 2 }], on: 'it' })
  await assert.rejects(
    db.update(() => {
      throw new RangeError('no')
    }),
    RangeError,
  )
  const sync = new LockedLowSync(path, { posts: [] })
  sync.update(({ posts }) => {
    posts.push({ id: 3 })
  })
  assert.throws(() => sync.update(async () => {}), TypeError)
  const kept = new LockedLow(new JSONFile(file('journal.json')), { n: 0 }, { journal: true })
  for (let n = 0; n < 3; n++) {
    await kept.update((data) => {
      data.n++
    })
  }
  await kept.close()
  assert.deepEqual(JSON.parse(readFileSync(file('journal.json'), 'utf8')), { n: 3 })
  await db.close()
  await other.close()
  await sync.close()
  writeFileSync(file('bad.json'), '{"a":')
  const bad = new LockedLow(file('bad.json'), {})
  await assert.rejects(bad.read(), { code: 'PSLOCK_CORRUPT' })
  await bad.close()
})
