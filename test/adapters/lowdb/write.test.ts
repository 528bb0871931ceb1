import assert from 'node:assert/strict'
import { existsSync, unlinkSync, writeFileSync } from 'node:fs'
import { LockedJSONFilePreset, LockedJSONFileSyncPreset, LockedLow } from '../../../adapters/lowdb.ts'
import { StaleWriteError } from '../../../src/errors.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, foreignWrite, untouched } from '../../fixtures/lowdb-tools.ts'

interface Post {
  id: number
  title: string
}
interface Data {
  n: number
  posts: Post[]
  [key: string]: unknown
}

/** `db.data.x = ...; await db.write()`: merged with what others wrote, or refused with nothing lost. */
describe('lowdb bare edits and write', () => {
  const at = useFolder()
  const open = () => LockedJSONFilePreset<Data>(at('db.json'), { n: 0, posts: [] })
  const stale = async (run: () => unknown): Promise<StaleWriteError> => {
    const error = await untouched(at('db.json'), () => failing(run))
    assert.ok(error instanceof StaleWriteError, String(error))
    assert.equal(error.code, 'PSLOCK_STALE_WRITE')
    return error
  }

  it('write() keeps what others wrote at other places', async () => {
    const db = await open()
    await db.write()
    foreignWrite(at('db.json'), { n: 5, posts: [{ id: 1, title: 'theirs' }] })
    db.data.mine = true
    db.data.posts.push({ id: 2, title: 'mine' })
    await db.write()
    const both = [
      { id: 1, title: 'theirs' },
      { id: 2, title: 'mine' },
    ]
    assert.deepEqual(fileOf(at('db.json')), { n: 5, posts: both, mine: true })
    assert.deepEqual(db.data, { n: 5, posts: both, mine: true })
  })

  it('references into db.data stay valid across other processes’ changes', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    const { data } = db
    const { posts } = data
    const [first] = posts
    foreignWrite(at('db.json'), {
      n: 1,
      posts: [
        { id: 0, title: 'new' },
        { id: 1, title: 'b' },
      ],
    })
    await db.read()
    assert.equal(db.data, data)
    assert.equal(db.data.posts, posts)
    assert.deepEqual(first, { id: 1, title: 'b' })
    assert.equal(posts[1], first)
    first!.title = 'c'
    posts.push({ id: 2, title: 'mine' })
    await db.write()
    assert.deepEqual(
      fileOf<Data>(at('db.json')).posts.map(({ title }) => title),
      ['new', 'c', 'mine'],
    )
  })

  it('references into db.data stay valid across updates, of this process too', async () => {
    const db = await open()
    const { posts } = db.data
    await db.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    assert.equal(db.data.posts, posts)
    posts.push({ id: 2, title: 'b' })
    await db.write()
    assert.equal(fileOf<Data>(at('db.json')).posts.length, 2)
  })

  it('an object that stands twice in memory does not write an old title back', async () => {
    const db = await open()
    db.data.posts.push({ id: 1, title: 'old' })
    db.data.selected = db.data.posts[0]
    await db.write()
    const theirs = fileOf<Data>(at('db.json'))
    theirs.posts[0]!.title = 'new'
    foreignWrite(at('db.json'), theirs)
    await db.read()
    assert.equal(db.data.posts[0]!.title, 'new')
    db.data.n++
    await db.write()
    assert.equal(fileOf<Data>(at('db.json')).posts[0]!.title, 'new')
  })

  it('a change of the same place is refused with both states, again and again until read()', async () => {
    const db = await open()
    await db.write()
    foreignWrite(at('db.json'), { n: 1, posts: [] })
    db.data.n = 1
    db.data.kept = 'mine'
    for (const run of [() => db.write(), () => db.write(), () => db.update(() => {}), () => db.write()]) {
      const { paths, base, mine, theirs, path, message } = await stale(run)
      assert.deepEqual([...paths], ['n'])
      assert.deepEqual(base, { n: 0, posts: [] })
      assert.deepEqual(mine, { n: 1, posts: [], kept: 'mine' })
      assert.deepEqual(theirs, { n: 1, posts: [] })
      assert.ok(path.endsWith('db.json') && message.includes('db.json'))
      assert.deepEqual(db.data, { n: 1, posts: [], kept: 'mine' }, 'nothing is lost')
    }
    await db.read()
    assert.deepEqual(db.data, { n: 1, posts: [] })
    db.data.n = 2
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 2, posts: [] })
  })

  it('a sync store refuses and recovers in the same way', async () => {
    const db = LockedJSONFileSyncPreset<Data>(at('db.json'), { n: 0, posts: [] })
    db.write()
    foreignWrite(at('db.json'), { n: 1, posts: [] })
    db.data.n = 1
    for (const run of [() => db.write(), () => db.update(() => {}), () => db.write()]) {
      const { paths, mine } = await stale(run)
      assert.deepEqual([[...paths], mine], [['n'], { n: 1, posts: [] }])
    }
    db.read()
    db.data.n = 2
    db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 2, posts: [] })
  })

  it('taking the edit back by hand also ends a refusal', async () => {
    const db = await open()
    await db.write()
    foreignWrite(at('db.json'), { n: 1, posts: [] })
    db.data.n = 7
    await stale(() => db.write())
    db.data.n = 0
    await db.update((data) => void data.n++)
    assert.deepEqual(fileOf(at('db.json')), { n: 2, posts: [] })
  })

  it('a refusal does not refuse the other operations that were issued with it', async () => {
    const db = await open()
    await db.write()
    foreignWrite(at('db.json'), { n: 1, posts: [] })
    db.data.n = 7
    const [write, second, read] = await Promise.allSettled([db.write(), db.write(), db.read()])
    assert.deepEqual(
      [write, second, read].map(({ status }) => status),
      ['rejected', 'rejected', 'fulfilled'],
    )
    assert.equal(db.data.n, 1)
    await db.update((data) => void data.n++)
    assert.equal(fileOf(at('db.json')).n, 2)
  })

  it('read() drops unsaved edits, and db.data is what the file holds', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    db.data.n = 9
    db.data.posts.length = 0
    await db.read()
    assert.deepEqual(db.data, { n: 0, posts: [{ id: 1, title: 'a' }] })
  })

  it('a first read() of no file keeps the default data, and edits of it', async () => {
    const db = new LockedLow<Data>(at('db.json'), { n: 0, posts: [] })
    db.data.n = 3
    await db.read()
    assert.equal(db.data.n, 3)
    await db.write()
    assert.equal(fileOf(at('db.json')).n, 3)
  })

  it('edits of the default data before the first read() do not overwrite the file', async () => {
    writeFileSync(at('db.json'), '{"n":5,"posts":[{"id":1,"title":"a"}]}')
    const db = new LockedLow<Data>(at('db.json'), { n: 0, posts: [] })
    db.data.posts.push({ id: 2, title: 'b' })
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), {
      n: 5,
      posts: [
        { id: 1, title: 'a' },
        { id: 2, title: 'b' },
      ],
    })
  })

  it('db.data = newObject is an edit like any other', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    const { posts } = db.data
    db.data = { n: 1, posts: [], fresh: true }
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 1, posts: [], fresh: true })
    foreignWrite(at('db.json'), { n: 1, posts: [{ id: 9, title: 't' }], fresh: true })
    const mine = db.data
    await db.read()
    assert.equal(db.data, mine, 'the new object is what keeps its identity now')
    assert.notEqual(db.data.posts, posts)
  })

  it('db.data = newObject while others append keeps both, or is refused; never silently one', async () => {
    const db = await open()
    await db.write()
    foreignWrite(at('db.json'), { n: 0, posts: [{ id: 1, title: 'theirs' }] })
    db.data = { n: 8, posts: [] }
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 8, posts: [{ id: 1, title: 'theirs' }] })
  })

  it('a write() with nothing to write leaves the file as it is, and creates a missing one', async () => {
    writeFileSync(at('db.json'), JSON.stringify({ n: 0, posts: [] }, null, 2))
    const db = await open()
    await untouched(at('db.json'), () => db.write())
    unlinkSync(at('db.json'))
    await db.write()
    assert.ok(existsSync(at('db.json')))
  })

  it('default data is not shared: not with other stores, and not with the object that was passed', async () => {
    const defaults: Data = { n: 0, posts: [] }
    const a = await LockedJSONFilePreset<Data>(at('a.json'), defaults)
    const b = await LockedJSONFilePreset<Data>(at('b.json'), defaults)
    const c = LockedJSONFileSyncPreset<Data>(at('c.json'), defaults)
    await a.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    a.data.n = 1
    await a.write()
    await b.write()
    c.write()
    for (const name of ['b.json', 'c.json']) assert.deepEqual(fileOf(at(name)), { n: 0, posts: [] })
    assert.deepEqual(defaults, { n: 0, posts: [] })
  })

  it('dates and objects of classes stay what they are in memory, as with vanilla, and later edits of them are saved', async () => {
    class Point {
      x = 1
      moved() {
        return ++this.x
      }
    }
    const db = await open()
    const point = new Point()
    db.data.point = point
    db.data.when = new Date(0)
    db.data.hole = undefined
    await db.write()
    await db.update((data) => void data.n++)
    point.moved()
    ;(db.data.when as Date).setTime(1000)
    await db.write()
    const saved = { n: 1, posts: [], point: { x: 2 }, when: '1970-01-01T00:00:01.000Z' }
    assert.deepEqual(fileOf(at('db.json')), saved)
    await db.update((data) => void (data.point as Point).moved())
    assert.deepEqual(fileOf(at('db.json')), { ...saved, point: { x: 3 } })
    assert.equal(point.x, 3)
  })

  it('dates that came back from another process as texts can still be written', async () => {
    const db = await open()
    await db.update(
      (data) =>
        void Object.assign(data, { when: new Date(0), hole: undefined, list: [undefined, Number.NaN] }),
    )
    const saved = fileOf(at('db.json'))
    assert.deepEqual(saved, { n: 0, posts: [], when: '1970-01-01T00:00:00.000Z', list: [null, null] })
    foreignWrite(at('db.json'), { ...saved, n: 1 })
    db.data.mine = 1
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { ...saved, n: 1, mine: 1 })
    assert.deepEqual(JSON.parse(JSON.stringify(db.data)), { ...saved, n: 1, mine: 1 })
  })

  it('frozen default data is a template like any other', async () => {
    const db = await LockedJSONFilePreset<Data>(at('db.json'), Object.freeze({ n: 0, posts: [] }))
    await db.update((data) => void data.n++)
    db.data.n++
    await db.write()
    assert.equal(fileOf(at('db.json')).n, 2)
  })

  it('unsaved edits survive when the file was deleted meanwhile', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    unlinkSync(at('db.json'))
    db.data.posts.push({ id: 2, title: 'b' })
    await db.write()
    assert.deepEqual(fileOf<Data>(at('db.json')).posts, [{ id: 2, title: 'b' }])
  })
})
