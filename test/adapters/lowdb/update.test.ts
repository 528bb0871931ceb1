import assert from 'node:assert/strict'
import { existsSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  LockedJSONFilePreset,
  LockedJSONFileSyncPreset,
  LockedLow,
  LockedLowSync,
} from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, foreignWrite, untouched } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  list: unknown[]
  [key: string]: unknown
}

const set = (members: object) => (data: Data) => void Object.assign(data, members)

/** `update(fn)`: the file's present state, edited by `fn`, all or nothing. */
describe('lowdb update', () => {
  const at = useFolder()
  const open = () => LockedJSONFilePreset<Data>(at('db.json'), { n: 0, list: [] })

  it('awaits an async function before it writes', async () => {
    const db = await open()
    await db.update(async (data) => {
      await sleep(20)
      data.n = 1
    })
    assert.equal(fileOf(at('db.json')).n, 1)
    assert.equal(db.data.n, 1)
  })

  it('works on what others wrote meanwhile, without a read()', async () => {
    const db = await open()
    foreignWrite(at('db.json'), { n: 41, list: ['theirs'] })
    await db.update((data) => void data.n++)
    assert.deepEqual(fileOf(at('db.json')), { n: 42, list: ['theirs'] })
    assert.deepEqual(db.data, { n: 42, list: ['theirs'] })
  })

  for (const [what, edit] of [
    [
      'throws',
      () => {
        throw new Error('no')
      },
    ],
    [
      'rejects late',
      async () => {
        await sleep(5)
        throw new Error('no')
      },
    ],
  ] as [string, () => unknown][]) {
    it(`leaves memory and file untouched when the function ${what}`, async () => {
      const db = await open()
      await db.update((data) => void data.list.push({ id: 1, tags: ['a'] }))
      const memory = structuredClone(db.data)
      const error = await untouched(at('db.json'), () =>
        failing(() =>
          db.update((data) => {
            data.n = 9
            ;(data.list[0] as { tags: string[] }).tags.push('b')
            data.list.push('half')
            delete (data as Partial<Data>).n
            return edit()
          }),
        ),
      )
      assert.equal(error.message, 'no', "the user's own error comes through")
      assert.deepEqual(db.data, memory)
      await db.update((data) => void data.n++)
      assert.deepEqual(fileOf(at('db.json')), { ...memory, n: 1 })
    })
  }

  it('leaves dates and objects of classes in memory untouched when the function throws', async () => {
    class Point {
      x = 1
    }
    const db = await open()
    db.data.when = new Date(0)
    db.data.point = new Point()
    await db.write()
    await failing(() =>
      db.update((data) => {
        ;(data.point as Point).x = 2
        ;(data.when as Date).setTime(5)
        throw new Error('no')
      }),
    )
    assert.deepEqual(JSON.parse(JSON.stringify([db.data.when, db.data.point])), [
      '1970-01-01T00:00:00.000Z',
      { x: 1 },
    ])
  })

  it('creates no file when the first function throws', async () => {
    const db = await open()
    await failing(() =>
      db.update(() => {
        throw new Error('no')
      }),
    )
    assert.ok(!existsSync(at('db.json')))
    assert.deepEqual(db.data, { n: 0, list: [] })
  })

  it('a throw of one of several concurrent updates does not touch the others', async () => {
    const db = await open()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        db.update((data) => {
          data.list.push(i)
          if (i % 3 === 0) throw new Error(`no ${i}`)
        }),
      ),
    )
    const kept = [...outcomes.keys()].filter((i) => i % 3 !== 0)
    assert.deepEqual(
      [...outcomes.keys()].filter((i) => outcomes[i]?.status === 'fulfilled'),
      kept,
    )
    assert.deepEqual(fileOf(at('db.json')).list, kept)
  })

  it('concurrent updates of one process share writes', async () => {
    const db = await open()
    const seen = new Set<string>()
    const watch = setInterval(
      () => existsSync(at('db.json')) && seen.add(readFileSync(at('db.json'), 'utf8')),
      0,
    )
    await Promise.all(Array.from({ length: 500 }, () => db.update((data) => void data.n++)))
    clearInterval(watch)
    seen.add(readFileSync(at('db.json'), 'utf8'))
    assert.equal(fileOf(at('db.json')).n, 500)
    assert.ok(seen.size < 100, `${seen.size} states were written`)
  })

  it('runs functions one after the other, in the order in which they were given', async () => {
    const db = await open()
    const order: string[] = []
    await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        db.update(async (data) => {
          order.push(`${name}<`)
          await sleep(3)
          data.list.push(name)
          order.push(`>${name}`)
        }),
      ),
    )
    assert.deepEqual(order, ['a<', '>a', 'b<', '>b', 'c<', '>c'])
    assert.deepEqual(db.data.list, ['a', 'b', 'c'])
  })

  it('what cannot be written as JSON is refused, and memory and file stay as they were', async () => {
    const db = await open()
    await db.update(set({ n: 1 }))
    for (const bad of [
      10n,
      (() => {
        const cycle: Record<string, unknown> = {}
        return Object.assign(cycle, { cycle })
      })(),
    ]) {
      const error = await untouched(at('db.json'), () => failing(() => db.update(set({ bad }))))
      assert.ok(error instanceof TypeError)
      assert.deepEqual(db.data, { n: 1, list: [] })
    }
  })

  it('read() makes good a memory that cannot be written as JSON', async () => {
    const db = await open()
    await db.update(set({ n: 1 }))
    db.data.self = db.data
    assert.ok((await untouched(at('db.json'), () => failing(() => db.write()))) instanceof TypeError)
    await db.read()
    assert.deepEqual(db.data, { n: 1, list: [] })
    ;(db as { data: unknown }).data = undefined
    await db.read()
    assert.deepEqual(db.data, { n: 1, list: [] })
  })

  it('without a function it is a TypeError, and nothing is written', async () => {
    const db = await open()
    const sync = new LockedLowSync<Data>(at('db.json'), { n: 0, list: [] })
    for (const wrong of [undefined, null, 1, {}]) {
      const promise = db.update(wrong as never)
      await assert.rejects(promise, TypeError)
      assert.throws(() => sync.update(wrong as never), TypeError)
    }
    assert.ok(!existsSync(at('db.json')))
  })

  it('a sync store refuses an async function, also one that rejects, and nothing is written', async () => {
    const db = LockedJSONFileSyncPreset<Data>(at('db.json'), { n: 0, list: [] })
    assert.throws(() => db.update(async () => {}), TypeError)
    assert.throws(
      () =>
        db.update(async () => {
          throw new Error('unhandled')
        }),
      TypeError,
    )
    await new Promise(setImmediate)
    assert.ok(!existsSync(at('db.json')))
    assert.equal(db.data.n, 0)
  })

  it('starts from the default data again when the file was deleted meanwhile', async () => {
    writeFileSync(at('db.json'), '{"n":7,"list":[1]}')
    const db = new LockedLow<Data>(at('db.json'), { n: 0, list: [] })
    await db.read()
    unlinkSync(at('db.json'))
    await db.update((data) => void data.n++)
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: [] })
    assert.deepEqual(db.data, { n: 1, list: [] })
    unlinkSync(at('db.json'))
    await db.read()
    assert.deepEqual(db.data, { n: 0, list: [] })
  })
})
