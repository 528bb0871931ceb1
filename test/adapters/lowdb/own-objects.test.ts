import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { ROOT } from '../../fixtures/code.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf, foreignWrite } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  own?: unknown
}
interface Own {
  visits: number
  list: number[]
}

const own = (data: Data) => data.own as Own
const fresh = (): Own => ({ visits: 0, list: [0] })
const readOnly = (object: object) => Object.defineProperty(object, 'visits', { writable: false })

/** What a user puts into the data stays the user's. */
describe('lowdb objects of the user’s own', () => {
  const at = useFolder()

  const locked: [string, (value: Own) => unknown][] = [
    ['frozen', Object.freeze],
    ['frozen all through', (value) => Object.freeze({ ...value, list: Object.freeze(value.list) })],
    ['with a frozen list', (value) => ({ ...value, list: Object.freeze(value.list) })],
    ['sealed', Object.seal],
    ['not extensible', Object.preventExtensions],
    ['with a member that cannot be written', readOnly],
  ]
  for (const [what, make] of locked) {
    for (const journal of [false, true]) {
      it(`one that is ${what} is put in, edited here and elsewhere${journal ? ', with a journal' : ''}`, async () => {
        const db = new LockedLow<Data>(at('db.json'), { n: 0 }, { journal })
        const other = new LockedLow<Data>(at('db.json'), { n: 0 }, { journal })
        await db.update((data) => void Object.assign(data, { own: make(fresh()) }))
        await db.update((data) => void own(data).visits++)
        await db.update((data) => void own(data).list.push(1))
        await other.update((data) => void Object.assign(own(data), { visits: 5, list: [], more: 1 }))
        await db.read()
        assert.deepEqual(JSON.parse(JSON.stringify(db.data.own)), { visits: 5, list: [], more: 1 })
        await Promise.all([db.close(), other.close()])
        assert.deepEqual(fileOf(at('db.json')), { n: 0, own: { visits: 5, list: [], more: 1 } })
      })
    }

    it(`one that is ${what} is edited in a synchronous store, too`, () => {
      const db = new LockedLowSync<Data>(at('db.json'), { n: 0 })
      db.update((data) => void Object.assign(data, { own: make(fresh()) }))
      db.update((data) => {
        own(data).visits++
        own(data).list.push(1)
      })
      assert.deepEqual(db.data, { n: 0, own: { visits: 1, list: [0, 1] } })
      assert.deepEqual(fileOf(at('db.json')), db.data)
    })

    it(`\`data\` that is ${what} is edited here and elsewhere`, async () => {
      const db = new LockedLow<{ own?: unknown }>(at('db.json'), {})
      await db.read()
      db.data = make(fresh()) as object
      await db.write()
      await db.update((data) => void (data as Own).visits++)
      assert.deepEqual(db.data, { visits: 1, list: [0] })
      foreignWrite(at('db.json'), { visits: 1, list: [0, 7], more: 1 })
      await db.read()
      assert.deepEqual(db.data, { visits: 1, list: [0, 7], more: 1 })
      assert.deepEqual(fileOf(at('db.json')), db.data)
    })
  }

  it('what was put in by an update does not change with the file, nor with another store', async () => {
    const constant = fresh()
    const [a, b] = [new LockedLow<Data>(at('a.json'), { n: 0 }), new LockedLow<Data>(at('b.json'), { n: 0 })]
    for (const db of [a, b]) await db.update((data) => void Object.assign(data, { own: constant }))
    foreignWrite(at('b.json'), { n: 0, own: { visits: 7, list: [7] } })
    await b.read()
    await b.update((data) => void own(data).list.push(8))
    await a.update((data) => void data.n++)
    assert.deepEqual(constant, fresh())
    assert.deepEqual(fileOf(at('a.json')), { n: 1, own: fresh() })
    assert.deepEqual(fileOf(at('b.json')), { n: 0, own: { visits: 7, list: [7, 8] } })
    constant.visits = 99
    await b.write()
    assert.deepEqual([a.data.own, b.data.own], [fresh(), { visits: 7, list: [7, 8] }])
  })

  it('nor inside an update, nor in a synchronous store', async () => {
    const constant = fresh()
    const change = (data: Data) => void own(data).list.push(1)
    const put = (data: Data) => void Object.assign(data, { own: constant })
    const sync = new LockedLowSync<Data>(at('sync.json'), { n: 0 })
    for (const edit of [put, change]) sync.update(edit)
    sync.transaction(() => {
      sync.update(put)
      sync.update(change)
    })
    const db = new LockedLow<Data>(at('db.json'), { n: 0 })
    await db.transaction(async (tx) => {
      tx.data = { n: 0, own: constant }
      tx.data = { n: 0, own: { visits: 1, list: [0] } }
      await db.update(put)
      await db.update(change)
    })
    assert.deepEqual(constant, fresh())
    for (const { data } of [sync, db]) assert.deepEqual(data.own, { visits: 0, list: [0, 1] })
  })

  class Money {
    amount = 1
    toJSON() {
      return { amount: this.amount }
    }
  }
  const site = (data: Data) => data.own as { url: URL; money: Money[] }
  const putLeaves = (data: Data) =>
    void Object.assign(data, { own: { url: new URL('http://a/'), money: [new Money()] } })
  const spoil = (data: Data) => {
    site(data).url.pathname = '/spoilt'
    site(data).money[0]!.amount = 9
  }
  const spoilAndThrow = (data: Data) => {
    spoil(data)
    throw new Error('no')
  }
  const whole = { n: 1, own: { url: 'http://a/', money: [{ amount: 1 }] } }

  it('a throw takes back what was done to objects with a toJSON', async () => {
    const db = new LockedLow<Data>(at('db.json'), { n: 0 })
    await db.update(putLeaves)
    await assert.rejects(db.update(spoilAndThrow), /no/)
    await db.update((data) => void data.n++)
    assert.deepEqual(fileOf(at('db.json')), whole)
    assert.deepEqual(JSON.parse(JSON.stringify(db.data)), whole)
  })

  it('so it does in a batch, inside an update, and where the write fails', async () => {
    const db = new LockedLow<Data>(at('db.json'), { n: 0 })
    const done = await Promise.allSettled([db.update(putLeaves), db.update(spoilAndThrow)])
    assert.deepEqual(
      done.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    )
    await db.transaction(async () => {
      await assert.rejects(db.update(spoilAndThrow), /no/)
      await db.update((data) => void data.n++)
    })
    assert.deepEqual(fileOf(at('db.json')), whole)
    await db.update(putLeaves)
    const unwritable = (data: Data) => {
      spoil(data)
      Object.assign(data, { big: 1n })
    }
    await assert.rejects(db.update(unwritable), TypeError)
    await db.update((data) => void data.n++)
    assert.deepEqual(fileOf(at('db.json')), { ...whole, n: 2 })
  })

  it('so it does in a synchronous store', () => {
    const db = new LockedLowSync<Data>(at('db.json'), { n: 0 })
    db.update(putLeaves)
    assert.throws(() => db.update(spoilAndThrow), /no/)
    db.update(putLeaves)
    db.transaction(() => {
      assert.throws(() => db.update(spoilAndThrow), /no/)
      db.update((data) => void data.n++)
    })
    assert.deepEqual(fileOf(at('db.json')), whole)
  })

  it('a throw leaves what was done to db.data meanwhile', async () => {
    const db = new LockedLow<Data>(at('db.json'), { n: 0 })
    await db.update(putLeaves)
    const failed = db.update(async (data) => {
      await new Promise(setImmediate)
      spoilAndThrow(data)
    })
    site(db.data).money.unshift(new Money())
    await assert.rejects(failed, /no/)
    await db.write()
    const money = [{ amount: 1 }, { amount: 1 }]
    assert.deepEqual(fileOf(at('db.json')), { n: 0, own: { url: 'http://a/', money } })
  })

  for (const journal of [false, true]) {
    it(`what changes its place in new \`data\` is there once${journal ? ', with a journal' : ''}`, async () => {
      const list = ['a', 'b', 'c'].map((name) => ({ name, in: { name } }))
      type Moved = { list: unknown[]; one: object; two: object }
      const defaults: Moved = { list, one: { n: 1 }, two: { n: 2 } }
      const db = new LockedLow<Moved>(at('db.json'), defaults, { journal })
      await db.write().catch(() => {})
      await db.transaction((tx) => {
        tx.data = { list: [...tx.data.list].reverse(), one: tx.data.two, two: tx.data.one }
      })
      const swapped = { list: list.toReversed(), one: { n: 2 }, two: { n: 1 } }
      assert.deepEqual(JSON.parse(JSON.stringify(db.data)), swapped)
      await db.update(() => {
        const [c, b, a] = db.data.list as [object, object, object]
        db.data = { ...db.data, list: [{ id: 1 }, a, { id: 1, n: 1 }, c, b] }
      })
      const [a, b, c] = list
      await db.close()
      assert.deepEqual(fileOf(at('db.json')), { ...swapped, list: [{ id: 1 }, a, { id: 1, n: 1 }, c, b] })
    })
  }

  it('a frozen one is known to be frozen in the package, too, which is CommonJS', () => {
    const { patch } = createRequire(import.meta.url)(join(ROOT, 'dist/core.cjs'))
    assert.deepEqual(patch(Object.freeze({ n: 0 }), { n: 1 }), { n: 1 })
  })
})
