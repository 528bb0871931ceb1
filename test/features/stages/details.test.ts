import assert from 'node:assert/strict'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { LockedNedb, type NedbStage } from '../../../adapters/nedb.ts'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { ConflictError, LockedDb } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { Shelf, shelfAdapter } from '../../fixtures/locked-db-shelf.ts'
import { Vanilla, warnings } from '../../fixtures/nedb-tools.ts'

interface Doc {
  _id: string
  n?: number
  name?: string
  at?: Date
  list?: { id: number; at: Date }[]
}

const conflictsOf = (commit: Promise<void>) =>
  commit.then(
    () => assert.fail('it was committed'),
    (error) => (error instanceof ConflictError ? error.conflicts : assert.fail(String(error))),
  )

describe('stages of NeDB', () => {
  const at = useFolder()
  warnings()
  let db: LockedNedb<Doc>
  const open = () => new LockedNedb<Doc>({ filename: at('store'), autoload: true })
  beforeEach(() => {
    db = open()
  })
  afterEach(() => db.close())

  it('dates stay dates, wherever they are', async () => {
    await db.insertAsync({ _id: 'a', at: new Date(1), list: [{ id: 1, at: new Date(2) }] })
    const stage = await db.stage('s')
    await stage.update({ _id: 'a' }, { $set: { at: new Date(3) } }, {})
    await stage.insert({ _id: 'b', at: new Date(4) })
    await stage.update({ _id: 'a' }, { $push: { list: { id: 2, at: new Date(5) } } }, {})
    const expected = [
      {
        _id: 'a',
        at: new Date(3),
        list: [
          { id: 1, at: new Date(2) },
          { id: 2, at: new Date(5) },
        ],
      },
      { _id: 'b', at: new Date(4) },
    ]
    const other = open()
    const found = await (await other.stage('s')).find({})
    assert.deepEqual(
      found.sort((x, y) => (x._id < y._id ? -1 : 1)),
      expected,
    )
    assert.deepEqual((await stage.edits())[0]?.changes, [
      { id: 'a', path: 'at', before: new Date(1), after: new Date(3) },
    ])
    await db.updateAsync({ _id: 'a' }, { $set: { at: new Date(9) } }, {})
    const [conflict] = await conflictsOf(stage.commit())
    assert.deepEqual(conflict, {
      id: 'a',
      path: 'at',
      base: new Date(1),
      mine: new Date(3),
      theirs: new Date(9),
    })
    await stage.commit({ resolve: () => ({ value: new Date(3) }) })
    assert.deepEqual(
      (await db.findAsync({})).sort((x, y) => (x._id < y._id ? -1 : 1)),
      expected,
    )
    await other.close()
  })

  it('$inc keeps the value that the user saw', async () => {
    await db.insertAsync({ _id: 'a', n: 5 })
    const stage = await db.stage('s')
    await stage.update({ _id: 'a' }, { $inc: { n: 1 } }, {})
    await db.updateAsync({ _id: 'a' }, { $inc: { n: 10 } }, {})
    assert.equal((await stage.findOne({ _id: 'a' }))?.n, 6)
    assert.deepEqual(await stage.check(), [{ id: 'a', path: 'n', base: 5, mine: 6, theirs: 15 }])
    // What others made of it, seen before the first edit of it, is its base.
    const late = await db.stage('late')
    await late.update({ _id: 'a' }, { $inc: { n: 1 } }, {})
    await late.commit()
    assert.equal((await db.findOneAsync({ _id: 'a' }))?.n, 16)
  })

  it('a unique key is checked at each edit and again at the commit', async () => {
    await db.ensureIndexAsync({ fieldName: 'name', unique: true })
    await db.insertAsync({ _id: 'a', name: 'x' })
    const stage = await db.stage('s')
    const clash = { errorType: 'uniqueViolated' }
    await assert.rejects(stage.insert({ _id: 'b', name: 'x' }), clash)
    await stage.insert({ _id: 'b', name: 'y' })
    await assert.rejects(stage.insert({ _id: 'c', name: 'y' }), clash)
    await db.insertAsync({ _id: 'd', name: 'y' })
    await assert.rejects(stage.commit(), clash)
    assert.deepEqual(await db.countAsync({}), 2)
    assert.equal((await db.stages.stats()).open, 1)
    await db.removeAsync({ _id: 'd' }, {})
    await stage.commit()
    assert.deepEqual(await db.countAsync({}), 2)
  })

  it('a unique value may wander from one document to another', async () => {
    await db.ensureIndexAsync({ fieldName: 'name', unique: true })
    await db.insertAsync([
      { _id: 'a', name: 'x' },
      { _id: 'b', name: 'y' },
    ])
    const stage = await db.stage('s')
    await stage.update({ _id: 'a' }, { $set: { name: 'z' } }, {})
    await stage.update({ _id: 'b' }, { $set: { name: 'x' } }, {})
    await stage.update({ _id: 'a' }, { $set: { name: 'y' } }, {})
    assert.equal((await stage.findOne({ _id: 'a' }))?.name, 'y')
    await stage.commit()
    assert.deepEqual(
      (await db.findAsync({}).sort({ _id: 1 })).map(({ name }) => name),
      ['y', 'x'],
    )
  })

  it('an upsert, a change of many documents, and a new id are one edit each', async () => {
    await db.insertAsync([
      { _id: 'a', n: 1 },
      { _id: 'b', n: 1 },
    ])
    const stage = await db.stage('s')
    await stage.update({ n: 1 }, { $set: { n: 2 } }, { multi: true })
    await stage.update({ _id: 'c' }, { n: 3 }, { upsert: true })
    const { _id } = await stage.insert({ n: 4 } as Doc)
    assert.equal(await stage.count({}), 4)
    assert.equal((await stage.edits()).length, 3)
    await stage.undo()
    await stage.redo()
    await stage.commit()
    assert.equal((await db.findOneAsync({ _id }))?.n, 4)
    assert.equal(await db.countAsync({}), 4)
  })

  it('fields that the store sets itself are no conflict', async () => {
    await db.close()
    const stamped = new LockedNedb<Doc>({ filename: at('stamped'), autoload: true, timestampData: true })
    await stamped.insertAsync({ _id: 'a', n: 1 })
    const stage = await stamped.stage('s')
    await stage.update({ _id: 'a' }, { $set: { n: 2 } }, {})
    await stamped.updateAsync({ _id: 'a' }, { $set: { name: 'x' } }, {})
    await stage.commit()
    const { updatedAt, createdAt, ...doc } = (await stamped.findOneAsync({ _id: 'a' })) as Doc &
      Record<string, Date>
    assert.deepEqual(doc, { _id: 'a', n: 2, name: 'x' })
    assert.ok(updatedAt instanceof Date && createdAt instanceof Date)
    await stamped.close()
    db = open()
  })

  it('what a table has lost since is refused at the commit', async () => {
    const people = db.table<{ name: string; age: number }>('people')
    await people.create({ name: 'string', age: 'number' })
    await people.insert({ name: 'Ada', age: 36 })
    const stage = await db.stage('s')
    const table = (tx: object) => (tx as LockedNedb).table<{ name: string; age: number }>('people')
    await assert.rejects(
      stage.edit((tx) => table(tx).update({}, { age: 'old' as never })),
      { code: 'PSLOCK_SCHEMA' },
    )
    await stage.edit((tx) => table(tx).update({ name: 'Ada' }, { age: 37 }))
    await people.dropField('age')
    await assert.rejects(stage.commit({ resolve: () => 'mine' }), { code: 'PSLOCK_SCHEMA', field: 'age' })
    assert.equal((await db.stages.stats()).open, 1)
    await people.addField('age', { type: 'number', default: 1 })
    await stage.commit({ resolve: () => 'mine' })
    const [ada] = await people.select()
    assert.deepEqual([ada?.age, ada?._version], [37, 2])
  })

  it('the version of a record counts what both did', async () => {
    const people = db.table<{ name: string; age: number }>('people')
    await people.create({ name: 'string', age: 'number' })
    const { _id } = await people.insert({ name: 'Ada', age: 36 })
    const stage = await db.stage('s')
    await stage.edit(() => people.update({ _id }, { age: 37 }))
    await people.update({ _id }, { name: 'Countess' })
    await stage.commit()
    const [{ _version, name, age } = {} as never] = await people.select()
    assert.deepEqual([_version, name, age], [3, 'Countess', 37])
  })

  it('ids of all kinds', async () => {
    const ids = ['__proto__', 'a/1', '\u2028 \0', 'x'.repeat(5000), 'constructor']
    for (const id of ids) {
      const stage = await db.stage(id)
      await stage.insert({ _id: `of ${id.slice(0, 10)}`, name: '\u2028\u0085' })
    }
    const other = open()
    assert.deepEqual((await other.stages.list()).map(({ id }) => id).sort(), [...ids].sort())
    for (const id of ids) assert.equal((await (await other.stage(id)).edits()).length, 1)
    await other.close()
    // It is a file that the unmodified library reads.
    const vanilla = new Vanilla({ filename: at('store.stages') })
    await vanilla.loadDatabaseAsync()
    assert.equal((await vanilla.findAsync({})).length, 2 * ids.length)
  })

  it('what it finds can be sorted and taken in parts, as by the cursors of the stores', async () => {
    const promises = LockedDatastore.create<Doc>({ filename: at('promises'), autoload: true })
    for (const n of [3, 1, 2]) {
      await db.insertAsync({ _id: `d${n}`, n, name: `of ${n}` })
      await promises.insert({ _id: `d${n}`, n, name: `of ${n}` })
    }
    for (const stage of [await db.stage('s'), (await promises.stage('s')) as unknown as NedbStage<Doc>]) {
      await stage.insert({ _id: 'd0', n: 0 })
      await stage.update({ _id: 'd2' }, { $set: { n: 9 } }, {})
      const cursor = stage.find({}, { _id: 0, n: 1 }).sort({ n: -1 }).skip(1).limit(2)
      assert.deepEqual(await cursor, [{ n: 3 }, { n: 1 }])
      await stage.remove({ _id: 'd3' }, {})
      assert.deepEqual(await cursor.exec(), [{ n: 1 }, { n: 0 }], 'it looks anew')
      assert.equal((await stage.findOne({}).sort({ n: 1 }))?._id, 'd0')
      assert.equal(await stage.findOne({ n: 3 }), null)
      // Several at once, and one that fails.
      const [all, first] = await Promise.all([
        stage.find({}).sort({ _id: 1 }),
        stage.findOne({}).sort({ _id: 1 }),
      ])
      assert.deepEqual([all.map(({ _id }) => _id), first?._id], [['d0', 'd1', 'd2'], 'd0'])
      let ended = 0
      await assert.rejects(
        stage.find({ $none: 1 }).finally(() => ended++),
        /Unknown logical operator/,
      )
      assert.deepEqual([ended, await stage.find({ $none: 1 }).catch(() => 'caught')], [1, 'caught'])
    }
    await promises.close()
  })

  it('nothing is written before the first edit', async () => {
    const stage = await db.stage('s')
    await stage.find({})
    await stage.check()
    await stage.commit()
    await stage.cancel()
    assert.equal(await stage.undo(), 0)
    assert.deepEqual([existsSync(at('store.stages')), stage.at], [false, 0])
  })

  it('wrong arguments are told', async () => {
    const stage = await db.stage('s')
    const calls: [() => unknown, RegExp][] = [
      [() => db.stage(''), /non-empty text/],
      [() => db.stage(5 as never), /non-empty text/],
      [() => db.stage('s', { expiresMs: 0 }), /expiresMs/],
      [() => db.stage('s', { expiresMs: Number.POSITIVE_INFINITY }), /expiresMs/],
      [() => db.stage('s', { at: -1 }), /at must/],
      [() => db.stage('s', { owner: 5 as never }), /owner/],
      [() => db.stage('s', { expires: 5 } as never), /expiresMs/],
      [() => stage.undo(0), /count/],
      [() => stage.edit(5 as never), /edit\(run\)/],
      [() => stage.commit({ resolve: 5 as never }), /resolve/],
      [() => stage.commit({ validat: () => {} } as never), /validate/],
      [() => stage.cancel(5 as never), /reason/],
      [() => db.stages.list({ stat: 'open' } as never), /state/],
    ]
    for (const [call, message] of calls)
      await assert.rejects(async () => call(), { name: 'TypeError', message }, call.toString())
    await db.insertAsync({ _id: 'a', n: 1 })
    await stage.update({ _id: 'a' }, { $set: { n: 2 } }, {})
    await db.updateAsync({ _id: 'a' }, { $set: { n: 3 } }, {})
    await assert.rejects(stage.commit({ resolve: () => 'yours' as never }), TypeError)
  })

  it('a look cannot write', async () => {
    const stage = await db.stage('s')
    await stage.insert({ _id: 'a', n: 1 })
    const write = (tx: LockedNedb<Doc>) => tx.insertAsync({ _id: 'b', n: 1 })
    await assert.rejects(stage.view(write), { code: 'PSLOCK_TRANSACTION' })
    assert.equal(await stage.view((tx) => tx.countAsync({})), 1)
  })

  it('a closed store has none', async () => {
    const other = open()
    await other.close()
    await assert.rejects(other.stage('s'), { code: 'PSLOCK_CLOSED' })
    const stage = await db.stage('s')
    await db.close()
    await assert.rejects(stage.insert({ _id: 'a' }), { code: 'PSLOCK_CLOSED' })
    await assert.rejects(db.stage('s'), { code: 'PSLOCK_CLOSED' })
    db = open()
  })

  it('a damaged line of the stages is passed over, and the store is not', async () => {
    const stage = await db.stage('s')
    for (let n = 0; n < 20; n++) await stage.insert({ _id: `doc ${n}` })
    appendFileSync(at('store.stages'), '{"_id":"half')
    await stage.insert({ _id: 'after' })
    const other = open()
    assert.equal(await (await other.stage('s')).count({}), 21)
    await other.close()
  })

  it('listeners of nedb-promises hear of the commit, and of no edit', async () => {
    const store = LockedDatastore.create<Doc>(at('events'))
    const heard: string[] = []
    for (const name of ['insert', 'update', 'remove'] as const) store.on(name, () => heard.push(name))
    const stage = await store.stage('s')
    await stage.insert({ _id: 'a', n: 1 })
    await stage.update({ _id: 'a' }, { $set: { n: 2 } })
    assert.deepEqual(heard, [])
    await stage.commit()
    assert.equal(heard[0], 'insert')
    await store.close()
  })

  it('a store of another kind, or in memory, says that it has none', async () => {
    const shelf = new LockedDb(new Shelf(), { adapter: shelfAdapter, path: at('shelf') })
    await assert.rejects(shelf.stage('s'), /does not declare how edits are staged/)
    await shelf.close()
    const memory = new LockedNedb()
    await assert.rejects(memory.stage('s'), { code: 'PSLOCK_TRANSACTION' })
    await assert.rejects(memory.stages.list(), { code: 'PSLOCK_TRANSACTION' })
  })
})

interface Tree {
  posts: { id: number; title: string; tags?: string[] }[]
  settings?: { theme?: string; size?: number }
  words: string[]
}

describe('stages of lowdb', () => {
  const at = useFolder()
  let db: LockedLow<Tree>
  beforeEach(async () => {
    db = new LockedLow<Tree>(at('store'), { posts: [], words: [] })
    await db.update((data) => {
      data.posts.push({ id: 1, title: 'one' }, { id: 2, title: 'two' }, { id: 3, title: 'three' })
      data.settings = { theme: 'dark', size: 1 }
      data.words.push('a', 'b')
    })
  })
  afterEach(() => db.close())
  const ids = () => db.data.posts.map(({ id }) => id)

  it('records are merged one by one, wherever they stand', async () => {
    const stage = await db.stage('s')
    await stage.update((data) => {
      data.posts.splice(1, 0, { id: 9, title: 'between' })
    })
    await stage.update(({ posts }) => {
      posts[2]!.title = 'TWO'
    })
    await stage.update(({ posts }) => posts.unshift({ id: 0, title: 'zero' }))
    await db.update((data) => {
      data.posts.push({ id: 4, title: 'four' })
      data.posts[0]!.title = 'ONE'
      data.posts.splice(2, 1)
    })
    await stage.commit()
    assert.deepEqual(ids(), [0, 1, 9, 2, 4])
    assert.deepEqual(
      db.data.posts.map(({ title }) => title),
      ['zero', 'ONE', 'between', 'TWO', 'four'],
    )
  })

  it('a conflict says where it is', async () => {
    const stage = await db.stage('s')
    await stage.update((data) => {
      data.posts[1]!.title = 'mine'
      data.settings!.theme = 'light'
    })
    await db.update((data) => {
      data.posts[1]!.title = 'theirs'
      data.settings!.theme = 'grey'
    })
    assert.deepEqual(await conflictsOf(stage.commit()), [
      { id: 2, path: 'posts[id=2].title', base: 'two', mine: 'mine', theirs: 'theirs' },
      { id: undefined, path: 'settings.theme', base: 'dark', mine: 'light', theirs: 'grey' },
    ])
  })

  it('the same new id on both sides is a conflict, and so is what others took the place of away', async () => {
    const stage = await db.stage('s')
    await stage.update((data) => {
      data.posts.push({ id: 4, title: 'mine' })
      data.settings!.size = 2
    })
    await db.update((data) => {
      data.posts.push({ id: 4, title: 'theirs' })
      delete data.settings
    })
    const conflicts = await conflictsOf(stage.commit())
    assert.deepEqual(
      conflicts.map(({ path }) => path),
      ['posts[id=4]', 'settings.size'],
    )
    await stage.commit({ resolve: ({ path }) => (path === 'settings.size' ? 'mine' : 'theirs') })
    assert.deepEqual([db.data.settings, db.data.posts[3]?.title], [{ size: 2 }, 'theirs'])
  })

  it('an order that both have changed is a conflict; that of one side is kept', async () => {
    const stage = await db.stage('s')
    await stage.update((data) => data.posts.reverse())
    await db.update((data) => {
      data.posts[0]!.title = 'ONE'
    })
    assert.deepEqual(await stage.check(), [])
    await db.update((data) => data.posts.push(data.posts.shift()!))
    assert.deepEqual(
      (await stage.check()).map(({ path }) => path),
      ['posts'],
    )
    await stage.commit({ resolve: () => 'mine' })
    assert.deepEqual(ids(), [3, 2, 1])
  })

  it('lists without ids, and values that are no objects', async () => {
    const stage = await db.stage('s')
    await stage.update((data) => {
      data.words.push('mine')
      Object.assign(data, { odd: { $$date: 5 }, none: null })
    })
    await db.update((data) => data.words.push('theirs'))
    await stage.update((data) => data.words.push('mine, too'))
    await stage.commit()
    assert.deepEqual(db.data.words, ['a', 'b', 'theirs', 'mine', 'mine, too'])
    const { odd, none } = JSON.parse(readFileSync(at('store'), 'utf8'))
    assert.deepEqual([odd, none], [{ $$date: 5 }, null])
  })

  it('an edit of a large tree keeps only what it has changed', async () => {
    await db.update((data) => {
      for (let id = 10; id < 3000; id++) data.posts.push({ id, title: 'x'.repeat(100) })
    })
    const stage = await db.stage('s')
    await stage.update((data) => {
      data.posts[1500]!.title = 'mine'
    })
    assert.ok(readFileSync(at('store.stages')).length < 1000)
  })

  it('with a journal the commit writes only what it changes; references to the data stay', async () => {
    await db.update((data) => {
      for (let id = 10; id < 3000; id++) data.posts.push({ id, title: 'x'.repeat(100) })
    })
    await db.close()
    const journaled = new LockedLow<Tree>(at('store'), { posts: [], words: [] }, { journal: true })
    await journaled.read()
    const { posts } = journaled.data
    const stage = await journaled.stage('s')
    await stage.update((data) => {
      data.posts[1500]!.title = 'mine'
      data.words.push('c')
    })
    await stage.commit()
    assert.ok(readFileSync(at('store.journal')).length < 2000)
    assert.equal(posts[1500]?.title, 'mine')
    await journaled.close()
  })
})
