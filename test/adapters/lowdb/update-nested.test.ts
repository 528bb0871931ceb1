import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedJSONFilePreset, LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, untouched } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  list: unknown[]
  [key: string]: unknown
}

const set = (members: object) => (data: Data) => void Object.assign(data, members)

/** What is called from inside `fn` is part of it, or is refused; it is never lost. */
describe('lowdb update inside update', () => {
  const at = useFolder()
  const open = () => LockedJSONFilePreset<Data>(at('db.json'), { n: 0, list: [] })

  it('an update or write inside an update loses nothing', async () => {
    const db = await open()
    await db.update(async (data) => {
      data.a = 1
      await db.update(set({ b: 2 }))
      db.data.c = 3
      await db.write()
      data.d = 4
    })
    assert.deepEqual(fileOf(at('db.json')), { n: 0, list: [], a: 1, b: 2, c: 3, d: 4 })
    assert.deepEqual(db.data, { n: 0, list: [], a: 1, b: 2, c: 3, d: 4 })
  })

  it('a throw after an update inside an update undoes both', async () => {
    const db = await open()
    await db.update(set({ n: 1 }))
    await untouched(at('db.json'), () =>
      failing(() =>
        db.update(async () => {
          await db.update(set({ b: 2 }))
          throw new Error('no')
        }),
      ),
    )
    assert.deepEqual(db.data, { n: 1, list: [] })
  })

  it('an update inside an update that throws, and is caught, undoes its own part only', async () => {
    const db = await open()
    await db.update(async (data) => {
      data.a = 1
      await failing(() =>
        db.update((inner) => {
          inner.b = 2
          throw new Error('no')
        }),
      )
    })
    assert.deepEqual(fileOf(at('db.json')), { n: 0, list: [], a: 1 })
  })

  it('updates inside an update take turns, and a throw of one does not undo its siblings', async () => {
    const db = await open()
    const order: string[] = []
    await db.update(async (data) => {
      data.n = 1
      const outcomes = await Promise.allSettled(
        ['a', 'b', 'c'].map((name, i) =>
          db.update(async (inner) => {
            order.push(`${name}<`)
            await sleep(5 * i)
            inner[name] = i
            order.push(`>${name}`)
            if (name === 'b') throw new Error('no')
          }),
        ),
      )
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled'],
      )
    })
    assert.deepEqual(order, ['a<', '>a', 'b<', '>b', 'c<', '>c'])
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: [], a: 0, c: 2 })
    assert.deepEqual(db.data, { n: 1, list: [], a: 0, c: 2 })
  })

  it('an update inside an update that nobody waits for is part of it all the same', async () => {
    const db = await open()
    let acknowledged = false
    await db.update((data) => {
      data.n = 1
      void db
        .update(async (inner) => {
          await sleep(20)
          inner.late = true
        })
        .then(() => {
          acknowledged = true
        })
    })
    assert.ok(acknowledged)
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: [], late: true })
    assert.deepEqual(db.data, { n: 1, list: [], late: true })
  })

  it('what the outer function does while the inner one runs is kept as well', async () => {
    const db = await open()
    await db.update(async (data) => {
      const inner = db.update(async (copy) => {
        await sleep(10)
        copy.list.push('inner')
      })
      await sleep(3)
      data.n = 1
      data.list.push('outer')
      await inner
    })
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: ['outer', 'inner'] })
  })

  it('and in a synchronous store, which refuses the same changed by both', () => {
    const db = new LockedLowSync<Data>(at('db.json'), { n: 0, list: [] })
    db.transaction((tx) => {
      db.update((data) => {
        tx.data.outer = 1
        tx.data.list.push('outer')
        data.list.push('inner')
      })
      assert.throws(
        () =>
          db.update((data) => {
            tx.data.n = 1
            data.n = 2
          }),
        { name: 'StaleWriteError' },
      )
    })
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: ['outer', 'inner'], outer: 1 })
    assert.deepEqual(db.data, fileOf(at('db.json')))
  })

  it('a timer that was set inside an update, and fires after it, is a newcomer', async () => {
    const db = await open()
    let late: Promise<void> | undefined
    await db.update((data) => {
      data.n = 1
      setTimeout(() => {
        late = db.update(set({ late: true }))
      }, 10)
    })
    await sleep(30)
    await late
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: [], late: true })
  })

  it('a reference to what was edited in the function is not a way around the lock', async () => {
    const db = await open()
    let leaked: Data | undefined
    const first = db.update((data) => {
      leaked = data
    })
    const second = db.update(async (data) => {
      leaked!.n = 99
      data.second = true
    })
    await Promise.all([first, second])
    assert.deepEqual(fileOf(at('db.json')), { n: 0, list: [], second: true })
  })

  for (const there of [true, false]) {
    it(`another store of the same ${there ? 'file' : 'missing file'}, used inside the function, is not overwritten`, async () => {
      const db = await open()
      if (there) await db.write()
      const other = new LockedLow<Data>(at('db.json'), { n: 0, list: [] }, { timeoutMs: 300 })
      // Joining this hold and refusing are both fine; losing what was acknowledged is not.
      let inner: string | undefined
      const [outer] = await Promise.allSettled([
        db.update(async (data) => {
          data.mine = 1
          inner = (await Promise.allSettled([other.update(set({ other: 1 }))]))[0].status
        }),
      ])
      const { mine, other: theirs } = fileOf(at('db.json'))
      assert.equal(mine === 1, outer.status === 'fulfilled', `the outer update was ${outer.status}`)
      assert.equal(theirs === 1, inner === 'fulfilled', `the inner update was ${inner}`)
    })
  }
})
