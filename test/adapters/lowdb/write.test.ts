import assert from 'node:assert/strict'
import { existsSync, unlinkSync, writeFileSync } from 'node:fs'
import { LockedJSONFilePreset, LockedJSONFileSyncPreset, LockedLow } from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf, foreignWrite, untouched } from '../../fixtures/lowdb-tools.ts'

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

  it('read() drops unsaved edits, and db.data is what the file holds', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    db.data.n = 9
    db.data.posts.length = 0
    await db.read()
    assert.deepEqual(db.data, { n: 0, posts: [{ id: 1, title: 'a' }] })
  })

  it('read() drops them also where the file holds just the default data', async () => {
    const db = await open()
    await db.write()
    db.data.n = 9
    await db.read()
    assert.deepEqual(db.data, { n: 0, posts: [] })
    const sync = LockedJSONFileSyncPreset<Data>(at('db.json'), { n: 0, posts: [] })
    sync.data.n = 9
    sync.read()
    assert.equal(sync.data.n, 0)
  })

  it('read() drops them also in what an update has just created', async () => {
    const db = await open()
    await db.update((data) => void Object.assign(data, { settings: { theme: 'dark' } }))
    ;(db.data.settings as { theme: string }).theme = 'light'
    await db.read()
    assert.deepEqual(db.data.settings, { theme: 'dark' })
    let kept: Data | undefined
    await db.update((data) => {
      kept = data
    })
    kept!.n = 99
    await db.read()
    assert.equal(db.data.n, 0)
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

  it('unsaved edits survive when the file was deleted meanwhile', async () => {
    const db = await open()
    await db.update((data) => void data.posts.push({ id: 1, title: 'a' }))
    unlinkSync(at('db.json'))
    db.data.posts.push({ id: 2, title: 'b' })
    await db.write()
    assert.deepEqual(fileOf<Data>(at('db.json')).posts, [{ id: 2, title: 'b' }])
  })
})
