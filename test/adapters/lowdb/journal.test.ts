import assert from 'node:assert/strict'
import { chmodSync, existsSync, linkSync, readFileSync, statSync, unlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Low } from 'lowdb'
import { JSONFile as VanillaJSONFile } from 'lowdb/node'
import {
  JSONFile,
  LockedJSONFilePreset,
  LockedLow,
  LockedLowSync,
  lowdbAdapter,
} from '../../../adapters/lowdb.ts'
import { LockedDb, LockUnsupportedError, StoreIoError, TransactionError } from '../../../src/index.ts'
import { newGate, useFolder } from '../../fixtures/folder.ts'
import { fileOf } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  posts: { id: number; title: string; tags?: string[] }[]
  [key: string]: unknown
}

/** `journal: true`: what an update changes is added to `<file>.journal`. */
describe('lowdb with a journal', () => {
  const at = useFolder()
  const empty = (): Data => ({ n: 0, posts: [] })
  const open = (options = {}) =>
    LockedJSONFilePreset<Data>(at('db.json'), empty(), { journal: true, ...options })
  const journal = () => (existsSync(at('db.json.journal')) ? statSync(at('db.json.journal')).size : 0)
  const seen = async () => {
    const db = await open()
    const data = JSON.parse(JSON.stringify(db.data)) as Data
    await db.close()
    return data
  }

  it('adds what was changed to the journal, and leaves the file as it is', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'one' }))
    const file = readFileSync(at('db.json'), 'utf8')
    await db.update((data) => void Object.assign(data.posts[0] as object, { title: 'two' }))
    assert.ok(journal() < 200, 'only the change is written')
    assert.equal(readFileSync(at('db.json'), 'utf8'), file)
    assert.deepEqual(db.data, { n: 0, posts: [{ id: 1, title: 'two' }] })
    assert.deepEqual(await seen(), db.data)
  })

  it('writes nothing where nothing was changed', async () => {
    const db = await open()
    await db.update((data) => void data.n++)
    await db.update((data) => void data.posts.find(({ id }) => id === 1))
    await db.update((data) => void Object.assign(data, { n: 1 }))
    assert.equal(journal(), 0)
  })

  it('shows each store object what others have written, in the containers that it has', async () => {
    const [a, b] = [await open(), await open()]
    await a.update((data) => void data.posts.push({ id: 1, title: 'one' }, { id: 2, title: 'two' }))
    await b.read()
    const { posts } = b.data
    const [first, second] = posts
    await a.update((data) => {
      data.posts.reverse()
      Object.assign(data.posts[1] as object, { title: 'first' })
    })
    await b.update((data) => void data.n++)
    assert.equal(b.data.posts, posts)
    assert.ok(posts[0] === second && posts[1] === first)
    assert.equal(first?.title, 'first')
    await a.read()
    assert.deepEqual(a.data, b.data)
  })

  it('puts the journal into the file by checkpoint(), on close(), and when it outgrows the file', async () => {
    const vanilla = async () => {
      const db = new Low<Data>(new VanillaJSONFile(at('db.json')), empty())
      await db.read()
      return db.data
    }
    const db = await open()
    for (let i = 0; i < 3; i++) await db.update((data) => void data.n++)
    assert.equal((await vanilla()).n, 1)
    await db.checkpoint()
    assert.equal((await vanilla()).n, 3)
    assert.equal(journal(), 0)
    await db.update((data) => void data.n++)
    let longest = 0
    while (journal() > 0 && longest < 200_000) {
      longest = journal()
      await db.update((data) => void Object.assign(data, { n: data.n + 1, text: 'x'.repeat(5000) }))
    }
    assert.ok(longest > 55_000 && longest < 70_000, String(longest))
    assert.equal((await vanilla()).n, db.data.n)
    await db.update((data) => void data.n++)
    await db.close()
    assert.equal(existsSync(at('db.json.journal')), false)
    assert.equal((await vanilla()).n, db.data.n)
  })

  it('refuses edits of db.data outside an update, and a bare write()', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'one', tags: ['b', 'a'] }))
    const [post] = db.data.posts
    const edits: (() => unknown)[] = [
      () => db.data.n++,
      () => db.data.posts.push({ id: 2, title: 'two' }),
      () => Object.assign(post as object, { title: 'new' }),
      () => post?.tags?.sort(),
      () => delete post?.tags,
      () => Object.defineProperty(db.data, 'x', { value: 1 }),
      () => {
        db.data = empty()
      },
    ]
    for (const edit of edits) assert.throws(edit, TransactionError, String(edit))
    await assert.rejects(db.write(), TransactionError)
    let kept: Data | undefined
    await db.update((data) => {
      kept = data
    })
    assert.throws(() => Object.assign(kept as Data, { n: 5 }), TransactionError)
    assert.deepEqual(db.data, { n: 0, posts: [{ id: 1, title: 'one', tags: ['b', 'a'] }] })
    assert.deepEqual(await seen(), db.data)
  })

  it('leaves memory and file as they were when an update throws', async () => {
    const db = await open()
    await db.update((data) => void data.n++)
    const gate = newGate()
    const failed = db.update(async (data) => {
      data.n = 100
      data.posts.push({ id: 1, title: 'never' })
      await gate.opened
      throw new Error('no')
    })
    await sleep(5)
    assert.equal(db.data.n, 1, 'nobody sees what is not written')
    gate.open()
    await assert.rejects(failed, /no/)
    await assert.rejects(
      db.update((data) => void Object.assign(data, { n: 1n })),
      TypeError,
    )
    assert.deepEqual([db.data, journal()], [{ n: 1, posts: [] }, 0])
  })

  it('takes everything that JSON keeps, and the data as a whole', async () => {
    const db = await open()
    await db.update((data) => void Object.assign(data, { at: new Date(0), gone: undefined, nan: Number.NaN }))
    await db.update((data) => void Object.assign(data, { list: [undefined, 1] }))
    assert.deepEqual(db.data, { n: 0, posts: [], at: '1970-01-01T00:00:00.000Z', nan: null, list: [null, 1] })
    await db.transaction((tx) => {
      tx.data = { n: 7, posts: [{ id: 1, title: 'all new' }] }
    })
    assert.deepEqual(db.data, { n: 7, posts: [{ id: 1, title: 'all new' }] })
    assert.deepEqual(await seen(), db.data)
  })

  it('knows transactions, savepoints, views and rollbackAfter', async () => {
    const db = await open()
    await db.update((data) => void data.n++)
    const push = (id: number) => (data: Data) => void data.posts.push({ id, title: String(id) })
    await db.transaction(async (tx) => {
      await tx.update(push(1))
      await assert.rejects(
        tx.update((data) => {
          push(2)(data)
          Object.assign(data.posts[0] as object, { title: 'undone' })
          throw new Error('undone')
        }),
      )
      tx.data.n++
      await Promise.all([tx.update(push(3)), db.update(push(4)), tx.write()])
      assert.equal(await db.view(() => db.data.posts.length), 3)
      await db.transaction((inner) => void inner.data.n++)
    })
    const data = { n: 3, posts: [1, 3, 4].map((id) => ({ id, title: String(id) })) }
    assert.deepEqual(db.data, data)
    await db.rollbackAfter(async (tx) => {
      await tx.update(push(9))
      assert.equal(tx.data.posts.length, 4)
    })
    await assert.rejects(
      // @ts-expect-error it is read-only
      db.view((tx) => void tx.data.n++),
      TransactionError,
    )
    assert.deepEqual(db.data, data)
    assert.deepEqual(await seen(), data)
    await assert.rejects(
      db.transaction(() => db.checkpoint()),
      TransactionError,
    )
  })

  it('runs an optimistic transaction again where others have written meanwhile', async () => {
    const [db, other] = [await open(), await open()]
    await db.update((data) => void data.n++)
    const add10 = (data: Data) => void Object.assign(data, { n: data.n + 10 })
    let runs = 0
    const run = async (tx: { data: Data }) => {
      if (runs++ === 0) await other.lock.exclusive(() => other.update(add10))
      tx.data.n++
    }
    await db.transaction(run, { retry: 3 })
    assert.deepEqual([runs, db.data.n], [2, 12])
    assert.equal((await seen()).n, 12)
  })

  it('knows tables, hooks, dump and restore', async () => {
    const db = await open()
    const told: unknown[] = []
    db.use({ after: ({ name, changed }) => told.push([name, changed]) })
    const people = db.table<{ name: string; tags: string[] }>('people')
    await people.create({ name: 'string', tags: 'array' })
    await people.insert({ name: 'Ada', tags: ['a'] })
    await people.update({ name: 'Ada' }, { tags: ['b'] })
    assert.deepEqual(
      (await people.select()).map(({ name, tags }) => ({ name, tags })),
      [{ name: 'Ada', tags: ['b'] }],
    )
    assert.deepEqual(await people.delete({ name: 'Eve' }), 0)
    assert.equal(await people.delete({ name: 'Ada' }), 1)
    await db.update(() => {})
    await db.update((data) => void data.n++)
    await db.read()
    assert.deepEqual(told.slice(-3), [
      ['update', false],
      ['update', true],
      ['read', false],
    ])
    await db.dump(at('copy.json'))
    assert.equal(fileOf(at('copy.json')).n, 1)
    await db.update((data) => void data.n++)
    await db.restore(at('copy.json'))
    assert.equal(db.data.n, 1)
    assert.equal(existsSync(at('db.json.journal')), false)
    await db.update((data) => void data.n++)
    assert.equal((await seen()).n, 2)
  })

  it('is read and written by whom the file is, and refused for a file with several names', async () => {
    const db = await open()
    await db.update((data) => void data.n++)
    chmodSync(at('db.json'), 0o640)
    await db.update((data) => void data.n++)
    assert.equal(statSync(at('db.json.journal')).mode & 0o777, 0o640)
    await db.checkpoint()
    linkSync(at('db.json'), at('second.json'))
    await assert.rejects(
      db.update((data) => void data.n++),
      LockUnsupportedError,
    )
    assert.deepEqual([db.data.n, journal()], [2, 0])
    unlinkSync(at('second.json'))
    chmodSync(at('db.json'), 0o440)
    await assert.rejects(
      db.update((data) => void data.n++),
      StoreIoError,
    )
    assert.deepEqual([db.data.n, journal()], [2, 0])
    chmodSync(at('db.json'), 0o640)
    await db.update((data) => void data.n++)
    assert.equal((await seen()).n, 3)
  })

  it('is refused where it cannot be kept', async () => {
    const adapter = { path: at('own.json'), read: async () => empty(), write: async () => {} }
    assert.throws(() => new LockedLow<Data>(adapter, empty(), { journal: true }), /own adapter/)
    const wrong = 'yes' as unknown as boolean
    assert.throws(() => new LockedLow<Data>(at('db.json'), empty(), { journal: wrong }), /journal must be/)
    const sync = { journal: true } as object
    assert.throws(() => new LockedLowSync<Data>(at('db.json'), empty(), sync), /synchronous/)
    const low = new Low<Data>(new JSONFile(at('db.json')), empty())
    const db = new LockedDb(low, { adapter: lowdbAdapter, path: at('db.json'), journal: true } as never)
    await low.update((data) => void data.n++)
    await low.update((data) => void data.n++)
    assert.ok(journal() > 0)
    await (db as { close(): Promise<void> }).close()
    assert.equal(fileOf(at('db.json')).n, 2)
  })
})
