import assert from 'node:assert/strict'
import { LockedJSONFilePreset, LockedJSONFileSyncPreset } from '../../../adapters/lowdb.ts'
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

/** Where both sides changed the same: refused, with nothing lost, until the user has decided. */
describe('lowdb stale write', () => {
  const at = useFolder()
  const open = () => LockedJSONFilePreset<Data>(at('db.json'), { n: 0, posts: [] })
  const stale = async (run: () => unknown): Promise<StaleWriteError> => {
    const error = await untouched(at('db.json'), () => failing(run))
    assert.ok(error instanceof StaleWriteError, String(error))
    assert.equal(error.code, 'PSLOCK_STALE_WRITE')
    return error
  }

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
})
