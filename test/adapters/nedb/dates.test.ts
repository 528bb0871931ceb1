import assert from 'node:assert/strict'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { useFolder } from '../../fixtures/folder.ts'

interface Task {
  _id: string
  due: Date
  in: { list: Date[] }
}

/** A date can be changed in place. */
describe('nedb dates', () => {
  const at = useFolder()
  const task = (): Task => ({ _id: 'x', due: new Date(1000), in: { list: [new Date(2000)] } })

  it('a date that was given stays the caller’s: what becomes of it is neither in memory nor in the file', async () => {
    const db = new LockedNedb<Task>({ filename: at('x.db'), autoload: true })
    const ways: ((given: Task) => Promise<unknown>)[] = [
      (given) => db.insertAsync(given),
      ({ due, in: { list } }) => db.updateAsync({ _id: 'x' }, { $set: { due, 'in.list': list } }),
      (given) => db.updateAsync({ _id: 'x' }, given),
      () => db.removeAsync({ _id: 'x' }, {}),
      (given) => db.insertAsync([given]),
    ]
    for (const [way, give] of ways.entries()) {
      const given = task()
      await give(given)
      for (const date of [given.due, ...given.in.list]) date.setTime(9)
      await db.updateAsync({ _id: 'x' }, { $inc: { n: 1 } })
      const other = new LockedNedb<Task>({ filename: at('x.db'), autoload: true })
      for (const store of [db, other]) {
        const found = await store.findOneAsync({ _id: 'x' })
        if (found) assert.deepEqual([found.due, found.in], [task().due, task().in], `way ${way}`)
        else assert.equal(way, 3)
      }
      await other.close()
    }
    await db.close()
  })
})
