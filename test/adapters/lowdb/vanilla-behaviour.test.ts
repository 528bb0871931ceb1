import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { Low, LowSync } from 'lowdb'
import { JSONFile as VanillaJSONFile, JSONFileSync as VanillaJSONFileSync } from 'lowdb/node'
import { JSONFile, JSONFileSync, LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf } from '../../fixtures/lowdb-tools.ts'

/** Law 10: what lowdb's own tests ask of Low and LowSync, of the locked classes. */
describe('LockedLow and LockedLowSync as drop-ins', () => {
  const at = useFolder()

  it('are instances of Low and LowSync', () => {
    assert.ok(new LockedLow(at('a.json'), {}) instanceof Low)
    assert.ok(new LockedLowSync(at('a.json'), {}) instanceof LowSync)
  })

  it('throw for a missing adapter and for missing default data, in the words of lowdb', () => {
    for (const Store of [LockedLow, LockedLowSync] as unknown as (new (
      ...args: unknown[]
    ) => unknown)[]) {
      assert.throws(() => new Store(), { message: 'lowdb: missing adapter' })
      assert.throws(() => new Store(at('a.json')), { message: 'lowdb: missing default data' })
    }
  })

  it('null is default data', async () => {
    const db = new LockedLow<null | { a: number }>(at('a.json'), null)
    await db.read()
    assert.equal(db.data, null)
    db.data = { a: 1 }
    await db.write()
    assert.deepEqual(fileOf(at('a.json')), { a: 1 })
  })

  it('async: read gives the data of the file, write and update put it there', async () => {
    interface Data {
      a?: number
      b?: number
    }
    const defaultData: Data = {}
    const low = new LockedLow<Data>(new JSONFile<Data>(at('db.json')), defaultData)
    await low.read()
    assert.deepEqual(low.data, {})
    const newData: Data = { a: 1 }
    low.data = newData
    await low.write()
    assert.equal(low.data, newData, 'the object that was put there stays there')
    assert.equal(readFileSync(at('db.json'), 'utf8'), '{\n  "a": 1\n}')
    assert.equal(await low.update((data) => void Object.assign(data, { b: 2 })), undefined)
    assert.equal(readFileSync(at('db.json'), 'utf8'), '{\n  "a": 1,\n  "b": 2\n}')
    const again = new LockedLow<Data>(new JSONFile<Data>(at('db.json')), {})
    await again.read()
    assert.deepEqual(again.data, { a: 1, b: 2 })
  })

  it('sync: read gives the data of the file, write and update put it there', () => {
    interface Data {
      a?: number
      b?: number
    }
    const low = new LockedLowSync<Data>(new JSONFileSync<Data>(at('db.json')), {})
    low.read()
    assert.deepEqual(low.data, {})
    const newData: Data = { a: 1 }
    low.data = newData
    low.write()
    assert.equal(low.data, newData, 'the object that was put there stays there')
    assert.equal(
      low.update((data) => void Object.assign(data, { b: 2 })),
      undefined,
    )
    assert.equal(readFileSync(at('db.json'), 'utf8'), '{\n  "a": 1,\n  "b": 2\n}')
    const again = new LockedLowSync<Data>(new JSONFileSync<Data>(at('db.json')), {})
    again.read()
    assert.deepEqual(again.data, { a: 1, b: 2 })
  })

  it('a thousand writes that are not waited for one by one keep their order', async () => {
    const db = new LockedLow<{ counter: number }>(at('db.json'), { counter: 0 })
    const writes: Promise<void>[] = []
    for (let i = 1; i <= 1000; i++) {
      db.data.counter = i
      writes.push(db.write())
    }
    await Promise.all(writes)
    assert.equal(db.data.counter, 1000)
    assert.equal(fileOf(at('db.json')).counter, 1000)
  })

  it('subclasses with fields that look at this.data work, as the lodash recipe has it', async () => {
    interface Data {
      posts: { id: number; title: string }[]
    }
    class LowWithChain extends LockedLow<Data> {
      chain = { titles: () => this.data.posts.map(({ title }) => title) }
    }
    writeFileSync(at('db.json'), '{"posts":[{"id":1,"title":"foo"}]}')
    const db = new LowWithChain(new JSONFile<Data>(at('db.json')), { posts: [] })
    await db.read()
    assert.deepEqual(db.chain.titles(), ['foo'])
    await db.update(({ posts }) => void posts.push({ id: 2, title: 'bar' }))
    assert.deepEqual(db.chain.titles(), ['foo', 'bar'])
  })

  it('a subclass that overrides write is asked, and super.write works', async () => {
    class Stamped extends LockedLow<{ stamp?: string; n: number }> {
      override async write(): Promise<void> {
        this.data.stamp = 'me'
        return super.write()
      }
    }
    const db = new Stamped(at('db.json'), { n: 0 })
    db.data.n = 1
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 1, stamp: 'me' })
  })

  it('JSONFile and JSONFileSync give null for no file, undefined for a write, and the data then, as lowdb’s do', async () => {
    const [async, vanilla] = [new JSONFile<object>(at('a.json')), new VanillaJSONFile<object>(at('b.json'))]
    for (const adapter of [async, vanilla]) {
      assert.equal(await adapter.read(), null)
      assert.equal(await adapter.write({ a: 1 }), undefined)
      assert.deepEqual(await adapter.read(), { a: 1 })
    }
    const [sync, vanillaSync] = [
      new JSONFileSync<object>(at('c.json')),
      new VanillaJSONFileSync<object>(at('d.json')),
    ]
    for (const adapter of [sync, vanillaSync]) {
      assert.equal(adapter.read(), null)
      assert.equal(adapter.write({ a: 1 }), undefined)
      assert.deepEqual(adapter.read(), { a: 1 })
    }
    const texts = ['a', 'b', 'c', 'd'].map((name) => readFileSync(at(`${name}.json`), 'utf8'))
    assert.equal(new Set(texts).size, 1)
  })

  it('has the members adapter and data, enumerable as in lowdb, and lock beside them', () => {
    const adapter = new JSONFile<object>(at('db.json'))
    const db = new LockedLow<object>(adapter, {})
    assert.equal(db.adapter, adapter)
    assert.deepEqual(Object.keys(db).slice(0, 2), ['adapter', 'data'])
    assert.ok(db.lock.path.endsWith('db.json.lock'))
  })
})
