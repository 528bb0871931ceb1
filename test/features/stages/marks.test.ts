import assert from 'node:assert/strict'
import { appendFileSync, readFileSync } from 'node:fs'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { warnings } from '../../fixtures/nedb-tools.ts'

interface Doc {
  _id: string
  n?: number
  sku?: string
}

describe('the mark of a stage in a store', () => {
  const at = useFolder()
  warnings()
  const open = () => new LockedNedb<Doc>({ filename: at('store'), autoload: true })
  const mark = { _id: 'mark', _version: 1, _table: '$stages' }

  it('has a value of its own in the fields of unique indexes', async () => {
    const db = open()
    await db.ensureIndexAsync({ fieldName: 'sku', unique: true })
    await db.ensureIndexAsync({ fieldName: ['z', 'x.y'], unique: true })
    await db.ensureIndexAsync({ fieldName: 'x', unique: true })
    await db.ensureIndexAsync({ fieldName: 'few', unique: true, sparse: true })
    await db.insertAsync({ _id: 'a' })
    const stage = await db.stage('s')
    await stage.insert({ _id: 'b', sku: '1', x: { y: 1 }, z: 1 } as Doc)
    await stage.commit()
    assert.equal(await db.countAsync({}), 2)
    const line = readFileSync(at('store'), 'utf8')
      .split('\n')
      .find((text) => text.includes('$stages'))
    const { _id: id, ...fields } = JSON.parse(line ?? '{}')
    assert.deepEqual(fields, { _version: 1, _table: '$stages', sku: id, z: id, x: { y: id } })
    await db.close()
  })

  it('is no part of what a stage of NeDB finds, counts, changes or removes', async () => {
    const first = open()
    await first.insertAsync({ _id: 'a', n: 1 })
    await first.close()
    appendFileSync(at('store'), `${JSON.stringify(mark)}\n`)
    const db = open()
    const stage = await db.stage('s')
    const look = async () => [
      (await stage.find({})).map(({ _id }) => _id),
      await stage.count({}),
      await stage.findOne({ n: { $exists: false } }),
    ]
    assert.deepEqual(await look(), [['a'], 1, null])
    await stage.insert({ _id: 'b' })
    await stage.remove({ _id: 'b' })
    await stage.update({}, { $set: { n: 2 } }, { multi: true })
    assert.equal(await stage.remove({}, { multi: true }), 1)
    await stage.edit((tx) => tx.removeAsync({}, { multi: true }))
    assert.deepEqual(await look(), [[], 0, null])
    await stage.commit()
    assert.deepEqual(await db.findAsync({}), [mark])
    const upsert = await db.stage('u')
    await upsert.update({ _id: 'c' }, { $set: { n: 1 } }, { upsert: true })
    await upsert.commit()
    assert.deepEqual(await db.findOneAsync({ _id: 'c' }), { _id: 'c', n: 1 })
    await db.close()
  })

  it('is no part of what a stage of lowdb reads or writes', async () => {
    const db = new LockedLow<Record<string, unknown>>(at('store.json'), { n: 1 })
    await db.update((data) => {
      data.$stages = [{ _id: 'mark', _version: 1 }]
    })
    const stage = await db.stage('s')
    assert.deepEqual(await stage.read(), { n: 1 })
    await stage.update((data) => {
      for (const name of Object.keys(data)) delete data[name]
      data.m = 2
    })
    assert.deepEqual(await stage.read(), { m: 2 })
    await stage.commit()
    await db.read()
    assert.deepEqual(db.data, { m: 2, $stages: [{ _id: 'mark', _version: 1 }] })
    await db.close()
  })
})
