import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedJSONFilePreset } from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, foreignWrite } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  list: unknown[]
  [key: string]: unknown
}

const set = (members: object) => (data: Data) => void Object.assign(data, members)

/** `db.data.x = 1; await db.update(...)` saves both, whenever the edit was made. */
describe('lowdb update beside bare edits', () => {
  const at = useFolder()
  const open = () => LockedJSONFilePreset<Data>(at('db.json'), { n: 0, list: [] })

  it('edits made to db.data while an async function runs survive, in memory and at the next write', async () => {
    const db = await open()
    const updating = db.update(async (data) => {
      await sleep(20)
      data.n = 1
    })
    await sleep(5)
    db.data.meanwhile = true
    db.data.list.push('meanwhile')
    await updating
    assert.deepEqual(db.data, { n: 1, list: ['meanwhile'], meanwhile: true })
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: [] }, 'they are not yet written')
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: ['meanwhile'], meanwhile: true })
  })

  it('edits made while the file is being written survive', async () => {
    const db = await open()
    const updating = db.update(set({ big: 'x'.repeat(8_000_000) }))
    for (let i = 0; i < 200; i++) {
      db.data.list.push(i)
      await new Promise(setImmediate)
    }
    await updating
    await db.write()
    assert.deepEqual(
      fileOf(at('db.json')).list,
      Array.from({ length: 200 }, (_, i) => i),
    )
    assert.equal((db.data.big as string).length, 8_000_000)
  })

  it('takes an unsaved edit back, in memory too', async () => {
    const db = await open()
    await db.write()
    db.data.x = 1
    await db.update((data) => {
      delete data.x
    })
    assert.deepEqual(db.data, { n: 0, list: [] })
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 0, list: [] }, 'the next write brings it back')
  })

  it('saves unsaved edits of db.data along with its own', async () => {
    const db = await open()
    db.data.x = 1
    foreignWrite(at('db.json'), { n: 0, list: [], theirs: true })
    await db.update(set({ y: 2 }))
    assert.deepEqual(fileOf(at('db.json')), { n: 0, list: [], theirs: true, x: 1, y: 2 })
    assert.deepEqual(db.data, { n: 0, list: [], theirs: true, x: 1, y: 2 })
  })

  it('an unsaved edit stays unsaved when the function throws, and is written later', async () => {
    const db = await open()
    db.data.x = 1
    foreignWrite(at('db.json'), { n: 5, list: [] })
    await failing(() =>
      db.update(() => {
        throw new Error('no')
      }),
    )
    assert.equal(db.data.x, 1)
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 5, list: [], x: 1 })
  })

  it('an edit made meanwhile at the same place is refused by the next write, and the update is saved', async () => {
    const db = await open()
    const updating = db.update(async (data) => {
      await sleep(20)
      data.n = 1
    })
    await sleep(5)
    db.data.n = 7
    await updating
    assert.equal(fileOf(at('db.json')).n, 1)
    assert.equal(db.data.n, 7, 'nothing is lost')
    assert.equal((await failing(() => db.write())).code, 'PSLOCK_STALE_WRITE')
    await db.read()
    assert.equal(db.data.n, 1)
  })

  it('an edit made meanwhile that cannot be written does not fail the update that was', async () => {
    const db = await open()
    const updating = db.update(async (data) => {
      await sleep(20)
      data.n = 1
    })
    await sleep(5)
    db.data.bad = 10n
    await updating
    assert.equal(fileOf(at('db.json')).n, 1)
    assert.ok((await failing(() => db.write())) instanceof TypeError)
    delete db.data.bad
    await db.update((data) => void data.n++)
    assert.deepEqual(fileOf(at('db.json')), { n: 2, list: [] })
    assert.deepEqual(db.data, { n: 2, list: [] })
  })
})
