import assert from 'node:assert/strict'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { useFolder } from '../../fixtures/folder.ts'

type Doc = Record<string, unknown>

/** Everything that values in a document have in common with the rest of the process. */
const shared = [Object, Array, String, Number, Boolean, Date, Function].flatMap((Class) => [
  Class,
  Class.prototype as object,
])

function stateOfProcess(): string {
  const members = (object: object) =>
    Reflect.ownKeys(object).map((key) => {
      const value: unknown = Object.getOwnPropertyDescriptor(object, key)?.value
      return typeof value === 'function' && !shared.includes(value)
        ? [String(key), Reflect.ownKeys(value).map(String)]
        : String(key)
    })
  return JSON.stringify([shared.map(members), Array.prototype.length])
}

const json = (text: string) => JSON.parse(text) as Doc

describe('prototypes of the process', () => {
  const file = useFolder()
  const doc = { _id: 'a', text: 'x', n: 1, list: [1], at: new Date(1), deep: { list: ['x'] } }

  const updates: Doc[] = [
    ...['$set', '$min', '$max', '$inc', '$unset', '$push', '$addToSet', '$pull', '$pop'].flatMap(
      (modifier) => [
        { [modifier]: { 'constructor.prototype.polluted': 1 } },
        { [modifier]: { 'constructor.prototype': 1 } },
        { [modifier]: { '__proto__.polluted': 1 } },
        { [modifier]: { 'missing.constructor.prototype.polluted': 1 } },
        { [modifier]: { 'constructor.keys': 1 } },
        { [modifier]: { 'deep.hasOwnProperty.call': 1 } },
        { [modifier]: { 'list.constructor.prototype': 1 } },
        { [modifier]: { 'list.push.polluted': 1 } },
        { [modifier]: { 'deep.list.0.link.polluted': 1 } },
        { [modifier]: { 'text.link.polluted': 1 } },
        { [modifier]: { 'n.toFixed.polluted': 1 } },
        { [modifier]: { 'at.getTime.polluted': 1 } },
      ],
    ),
    { $unset: { 'constructor.prototype.hasOwnProperty': true } },
    { $set: { a: [], 'a.map.polluted': 1 } },
    { $set: { a: { b: [] } }, $push: { 'a.b.map.polluted': 1 } },
    { $set: { constructor: { prototype: { polluted: 1 } } } },
    { $set: { 'deep.constructor': { prototype: {} } } },
    { $push: { list: { $each: [{ constructor: { prototype: 1 } }] } } },
    { $addToSet: { list: json('{"__proto__":{"polluted":1}}') } },
    { $rename: { text: 'constructor.prototype.polluted' } },
    { $rename: { 'constructor.prototype.hasOwnProperty': 'text' } },
    { constructor: { prototype: { polluted: 1 } } },
    json('{"__proto__":{"polluted":1}}'),
  ]
  const projections: Doc[] = [
    ...[0, 1].flatMap((action) => [
      { 'constructor.prototype.hasOwnProperty': action },
      { 'constructor.prototype.polluted': action },
      { 'constructor.prototype': action, _id: 0 },
      { 'constructor.keys': action },
      { '__proto__.toString': action },
      { 'deep.toString.name': action },
    ]),
    { 'list.push.length': 0 },
    { 'list.constructor.from': 0 },
    { 'text.constructor.raw': 0 },
    { list: 1, 'list.map.polluted': 1 },
  ]
  const documents: Doc[] = [
    { constructor: { prototype: { polluted: 1 } } },
    { deep: [{ constructor: { prototype: null } }] },
    { 'constructor.prototype.polluted': 1 },
    { deep: { 'constructor.prototype': 1 } },
    json('{"deep":[{"__proto__":{"polluted":1}}]}'),
  ]

  for (const [store, open] of [
    ['LockedNedb', () => new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })],
    ['LockedNedb in memory', () => new LockedNedb<Doc>()],
  ] as const) {
    describe(store, () => {
      it('no update, upsert, insert, projection or index reaches them', async () => {
        const before = stateOfProcess()
        await using db = open()
        await db.insertAsync(doc)
        for (const update of updates) {
          const text = JSON.stringify(update)
          await assert.rejects(db.updateAsync({ _id: 'a' }, update, {}), TypeError, text)
          await assert.rejects(db.updateAsync({}, update, { multi: true }), TypeError, text)
          assert.equal(stateOfProcess(), before, text)
        }
        for (const update of updates.slice(0, 5)) {
          await assert.rejects(db.updateAsync({ _id: 'new' }, update, { upsert: true }), TypeError)
        }
        for (const query of [
          { constructor: { prototype: { polluted: 1 } } },
          json('{"__proto__":{"polluted":1}}'),
        ]) {
          await assert.rejects(db.updateAsync(query, { $set: { n: 1 } }, { upsert: true }), TypeError)
        }
        for (const projection of projections) {
          const text = JSON.stringify(projection)
          await assert.rejects(db.findAsync({}, projection as never).execAsync(), TypeError, text)
          await assert.rejects(
            db
              .findOneAsync({})
              .projection(projection as never)
              .execAsync(),
            TypeError,
            text,
          )
          assert.equal(stateOfProcess(), before, text)
        }
        for (const document of documents) {
          const text = JSON.stringify(document)
          await assert.rejects(db.insertAsync(document), TypeError, text)
          await assert.rejects(db.insertAsync([{}, document]), TypeError, text)
        }
        for (const fieldName of [
          '__proto__',
          'constructor.prototype',
          'a.constructor.prototype.x',
          '__proto__.x',
        ]) {
          await assert.rejects(db.ensureIndexAsync({ fieldName }), TypeError, fieldName)
          await assert.rejects(db.ensureIndexAsync({ fieldName: ['n', fieldName] }), TypeError, fieldName)
        }
        await db.findAsync({ 'constructor.prototype.polluted': 1, __proto__: { x: 1 } } as Doc)
        assert.deepEqual(await db.findAsync({}), [doc])
        assert.equal(stateOfProcess(), before)
      })

      it('fields of such names are a document’s own', async () => {
        await using db = open()
        await db.insertAsync({
          _id: 'f1',
          constructor: { name: 'Ferrari', keys: 1 },
          deep: { keys: { map: 1 } },
        })
        await db.updateAsync({ _id: 'f1' }, { $set: { 'constructor.name': 'Lotus', 'deep.keys.map': 2 } }, {})
        await db.updateAsync({ _id: 'f1' }, { $set: { toString: 1 }, $inc: { valueOf: 1 } }, {})
        const [found] = await db.findAsync({}, { 'deep.keys.map': 0, _id: 0 })
        assert.deepEqual(found, {
          constructor: { name: 'Lotus', keys: 1 },
          deep: { keys: {} },
          toString: 1,
          valueOf: 1,
        })
        assert.deepEqual(await db.findAsync({}, { 'deep.keys.map': 1, _id: 0 }), [
          { deep: { keys: { map: 2 } } },
        ])
        assert.equal(await db.countAsync({ 'constructor.name': 'Lotus' }), 1)
      })
    })
  }

  it('in transactions nothing of the transaction remains', async () => {
    const before = stateOfProcess()
    await using db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })
    const evil = { $set: { 'constructor.prototype.polluted': 1 } }
    for (const options of [{}, { retry: 1 }]) {
      const failing = db.transaction(async () => {
        await db.insertAsync({ _id: 'b' })
        await db.updateAsync({ _id: 'b' }, evil, {})
      }, options)
      await assert.rejects(failing, TypeError)
    }
    assert.equal(await db.countAsync({}), 0)
    assert.equal(stateOfProcess(), before)
  })

  it('nedb-promises and tables reach them no more', async () => {
    const before = stateOfProcess()
    await using db = LockedDatastore.create<Doc>(file('a.db'))
    const evil = { $set: { 'constructor.prototype.polluted': 1 } }
    await db.insert({ _id: 'a' })
    await assert.rejects(db.update({ _id: 'a' }, evil), TypeError)
    await assert.rejects(db.update({ _id: 'b' }, evil, { upsert: true }), TypeError)
    await assert.rejects(db.find({}, { 'constructor.prototype.polluted': 1 }), TypeError)
    await assert.rejects(db.findOne({}).project({ 'constructor.keys': 0 } as never), TypeError)
    await assert.rejects(db.ensureIndex({ fieldName: '__proto__' }), TypeError)
    const things = await db.table<{ any: object }>('things').create({ any: 'object' })
    const any = { constructor: { prototype: { polluted: 1 } } }
    await assert.rejects(things.insert({ any }), TypeError)
    const { _id } = await things.insert({ any: {} })
    await assert.rejects(things.update({ _id }, { any }), TypeError)
    assert.equal(stateOfProcess(), before)
  })

  it('an index on a field like toString is one', async () => {
    await using db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })
    await db.ensureIndexAsync({ fieldName: 'toString', unique: true })
    await db.insertAsync({ _id: 'a', toString: 1 })
    await assert.rejects(db.insertAsync({ _id: 'b', toString: 1 }), { errorType: 'uniqueViolated' })
  })
})
