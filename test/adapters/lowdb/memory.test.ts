import assert from 'node:assert/strict'
import { AsyncResource } from 'node:async_hooks'
import { LockedJSONFilePreset, LockedJSONFileSyncPreset } from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf, foreignWrite } from '../../fixtures/lowdb-tools.ts'

interface Post {
  id: number
  title: string
}
interface Data {
  n: number
  posts: Post[]
  [key: string]: unknown
}

/** What people keep: references into `db.data`, objects of their own in it, the default data they passed. */
describe('lowdb objects in memory', () => {
  const at = useFolder()
  const open = () => LockedJSONFilePreset<Data>(at('db.json'), { n: 0, posts: [] })

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

  it('frozen default data is a template like any other', async () => {
    const db = await LockedJSONFilePreset<Data>(at('db.json'), Object.freeze({ n: 0, posts: [] }))
    await db.update((data) => void data.n++)
    db.data.n++
    await db.write()
    assert.equal(fileOf(at('db.json')).n, 2)
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

  it('stores that were used leave nothing behind on the promises and timers of the process', async () => {
    const onEach = () => Object.getOwnPropertySymbols(new AsyncResource('probe')).length
    await (await open()).update((data) => void data.n++)
    const before = onEach()
    for (let i = 0; i < 50; i++) await (await open()).update((data) => void data.n++)
    assert.equal(onEach(), before)
  })
})
