import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { idsOf, seenByVanilla, sorted, temporaryFolder, Vanilla } from '../../fixtures/nedb-tools.ts'

type Doc = { _id: string } & Record<string, unknown>

describe('values that NeDB loses', () => {
  const file = temporaryFolder()
  const open = () => new LockedNedb<Doc>({ filename: file('a.db'), autoload: true })
  const breaks = { nel: 'a\u0085b', ls: 'a\u2028b', ps: 'a\u2029b', vt: 'a\u000bb', ff: 'a\fb', cr: 'a\r\nb' }

  it('control: vanilla loses a document with U+2028', async () => {
    const db = new Vanilla({ filename: file('a.db') })
    await db.loadDatabaseAsync()
    await db.insertAsync(Array.from({ length: 30 }, (_, n) => ({ _id: `d${n}` })))
    await db.insertAsync({ _id: 'ls', text: breaks.ls })
    const later = new Vanilla({ filename: file('a.db') })
    await later.loadDatabaseAsync()
    assert.ok(!idsOf(await later.findAsync({})).includes('ls'))
  })

  it('line breaks of all kinds come back, here, elsewhere and in vanilla', async () => {
    await using db = open()
    const doc = { _id: 'id\u2028\u2029\u0085', ...breaks, 'key\u2028': [breaks.ps] }
    await db.insertAsync(doc)
    assert.ok(!/[\u0085\u2028\u2029]/.test(readFileSync(file('a.db'), 'utf8')))
    await using other = open()
    assert.deepEqual(await other.findAsync({}), [doc])
    assert.deepEqual(await seenByVanilla(file('a.db')), [doc])
    await db.compactDatafileAsync()
    assert.deepEqual(await seenByVanilla(file('a.db')), [doc])
  })

  it('documents that vanilla wrote with them are read', async () => {
    const vanilla = new Vanilla({ filename: file('a.db') })
    await vanilla.loadDatabaseAsync()
    await vanilla.insertAsync({ _id: 'a', ...breaks })
    await using db = open()
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', ...breaks }])
  })

  for (const id of ['', null, false, Number.NaN, Number.POSITIVE_INFINITY, {}, [], '__proto__', '$$pslock']) {
    it(`an _id of ${typeof id === 'number' ? id : JSON.stringify(id)} is refused, and nothing of its batch stays`, async () => {
      await using db = open()
      await assert.rejects(db.insertAsync([{ _id: 'a' }, { _id: id } as unknown as Doc]), TypeError)
      assert.equal(await db.countAsync({}), 0)
      await db.insertAsync({ _id: 'a' })
      assert.deepEqual(await seenByVanilla(file('a.db')), [{ _id: 'a' }])
    })
  }

  it('an array or a date in the place of a document is refused, wherever, and nothing of its batch stays', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'a', n: 1 })
    await db.ensureIndexAsync({ fieldName: 'n' })
    const before = readFileSync(file('a.db'), 'utf8')
    const called = (run: (done: (error: Error | null) => void) => void) =>
      new Promise<void>((resolve, reject) => run((error) => (error ? reject(error) : resolve())))
    for (const odd of [[], [{ n: 2 }], new Date(1)] as unknown as Doc[]) {
      const attempts = [
        () => db.updateAsync({ _id: 'a' }, odd, {}),
        () => db.updateAsync({ _id: 'none' }, odd, {}),
        () => db.updateAsync({ n: 1 }, odd, { multi: true }),
        () => db.updateAsync({ _id: 'new' }, odd, { upsert: true }),
        () => db.insertAsync([{ _id: 'b' } as Doc, odd]),
        () => db.transaction(() => db.updateAsync({ _id: 'a' }, odd, {})),
        () => called((done) => db.update({ _id: 'a' }, odd, {}, done)),
        ...(Array.isArray(odd)
          ? []
          : [() => db.insertAsync(odd), () => called((done) => db.insert(odd, done))]),
      ]
      for (const attempt of attempts) await assert.rejects(attempt, TypeError)
    }
    assert.equal(readFileSync(file('a.db'), 'utf8'), before)
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', n: 1 }])
    await using other = open()
    assert.deepEqual(await other.findAsync({}), [{ _id: 'a', n: 1 }])
    // These are no documents for NeDB either, or plain ones.
    for (const odd of [null, undefined, 'text', 5, true, () => 1] as unknown as Doc[]) {
      await assert.rejects(db.insertAsync(odd))
      await assert.rejects(db.updateAsync({ _id: 'a' }, odd, {}))
    }
    class Point {
      _id = 'p'
      x = 1
    }
    for (const plain of [new Point(), Object.assign(new Map(), { _id: 'm' })] as unknown as Doc[])
      await db.insertAsync(plain)
    assert.deepEqual(await db.findAsync({ _id: { $in: ['p', 'm'] } }).sort({ _id: 1 }), [
      { _id: 'm' },
      { _id: 'p', x: 1 },
    ])
  })

  it('an _id "__proto__" that a file holds does not stand in the way of others, and is changed and removed with them', async () => {
    const line = (n: number) => `{"_id":"__proto__","n":${n}}\n{"_id":"b","n":${n}}\n`
    writeFileSync(file('a.db'), line(1))
    await using db = open()
    const { numAffected } = (await db.updateAsync({}, { $inc: { n: 1 } }, { multi: true })) as never
    assert.equal(numAffected, 2)
    await db.updateAsync({ _id: '__proto__' }, { n: 5 }, {})
    await db.transaction(() => db.updateAsync({ n: { $gt: 0 } }, { $inc: { n: 1 } }, { multi: true }))
    await db.compactDatafileAsync()
    await using other = open()
    const expected = [
      { _id: '__proto__', n: 6 },
      { _id: 'b', n: 3 },
    ]
    for (const store of [db, other]) assert.deepEqual(await store.findAsync({}).sort({ _id: 1 }), expected)
    assert.equal(await other.removeAsync({}, { multi: true }), 2)
    assert.deepEqual(await db.findAsync({}), [])
    assert.equal(({} as { n?: number }).n, undefined)
  })

  it('a document with a field $$deleted is refused', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'a' })
    await assert.rejects(db.insertAsync({ _id: 'b', $$deleted: true }), TypeError)
    await assert.rejects(db.updateAsync({ _id: 'a' }, { _id: 'a', $$deleted: true }, {}))
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a' }])
  })

  it('the ids 1 and "1" are not both taken, since vanilla would keep only one of them', async () => {
    await using db = new LockedNedb<{ _id: string | number }>({ filename: file('a.db'), autoload: true })
    await db.insertAsync({ _id: 1 })
    await db.insertAsync({ _id: '1' }).catch(() => {})
    assert.equal((await seenByVanilla(file('a.db'))).length, await db.countAsync({}))
  })

  it('memory is what the file says: NaN, Infinity, invalid dates, undefined', async () => {
    await using db = open()
    const odd = { nan: Number.NaN, inf: -Infinity, date: new Date(Number.NaN), undef: undefined, fn: () => 1 }
    await db.insertAsync({ _id: 'a', ...odd, deep: [odd] } as Doc)
    await db.insertAsync({ _id: 'b' })
    await db.updateAsync({ _id: 'b' }, { $set: { nan: Number.NaN } }, {})
    await using other = open()
    const text = async (store: LockedNedb<Doc>) => JSON.stringify(sorted(await store.findAsync({})))
    assert.equal(await text(db), await text(other))
    assert.equal(await db.countAsync({ nan: null }), await other.countAsync({ nan: null }))
  })

  it('holes in arrays are null and -0 is 0 in memory too, as in the file', async () => {
    await using db = open()
    await db.insertAsync({
      _id: 'a',
      list: Object.assign(Array(2), { 1: 1 }),
      zero: -0,
      undef: undefined,
    } as unknown as Doc)
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', list: [null, 1], zero: 0 }])
  })

  it("what was given to $set and $push is the caller's: to change it later changes no document", async () => {
    await using db = open()
    await db.insertAsync({ _id: 'a' })
    const [held, pushed] = [{ n: 1 }, { n: 1 }]
    await db.updateAsync({ _id: 'a' }, { $set: { held }, $push: { list: pushed } }, {})
    held.n = 2
    pushed.n = 2
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', held: { n: 1 }, list: [{ n: 1 }] }])
  })

  for (const text of ['{"__proto__":{"x":1}}', '{"deep":[{"__proto__":1}]}', '{"at":{"$$date":1,"b":2}}']) {
    it(`${text} is refused, since it would not come back`, async () => {
      await using db = open()
      await db.insertAsync({ _id: 'a' })
      const doc = JSON.parse(text) as object
      await assert.rejects(db.insertAsync({ _id: 'b', ...doc }), TypeError)
      await assert.rejects(db.insertAsync(Object.assign(JSON.parse(text), { _id: 'b' })), TypeError)
      await assert.rejects(db.updateAsync({ _id: 'a' }, { $set: { held: doc } }, {}), TypeError)
      assert.deepEqual(await db.findAsync({}), [{ _id: 'a' }])
    })
  }

  it('$set of a path through __proto__ is refused, and no prototype changes', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'a' })
    await assert.rejects(db.updateAsync({ _id: 'a' }, { $set: { '__proto__.polluted': 1 } }, {}), TypeError)
    assert.equal(({} as { polluted?: number }).polluted, undefined)
  })

  it('dates, nested documents and long texts come back', async () => {
    await using db = open()
    const doc = {
      _id: 'a',
      at: new Date(1),
      deep: { list: [{ at: new Date(2) }, null, 'ä€😀'] },
      long: 'x'.repeat(3e6),
    }
    await db.insertAsync(doc)
    await using other = open()
    assert.deepEqual(await other.findAsync({}), [doc])
    assert.deepEqual(await seenByVanilla(file('a.db')), [doc])
  })

  it('come back through serialization hooks', async () => {
    const hooks = {
      afterSerialization: (line: string) => Buffer.from(line).toString('hex'),
      beforeDeserialization: (line: string) => Buffer.from(line, 'hex').toString(),
    }
    await using db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, ...hooks })
    await db.insertAsync([{ _id: 'a', ...breaks }, { _id: 'b' }])
    await db.insertAsync(Array.from({ length: 200 }, (_, n) => ({ _id: `d${n}` })))
    await db.removeAsync({ _id: 'b' }, {})
    await using other = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, ...hooks })
    assert.equal(await other.countAsync({}), 201)
    await other.compactDatafileAsync()
    assert.equal(await db.countAsync({}), 201)
    assert.equal((await seenByVanilla(file('a.db'), hooks)).length, 201)
    await using wrong = new LockedNedb<Doc>({ filename: file('a.db') })
    await assert.rejects(wrong.loadDatabaseAsync(), { code: 'PSLOCK_CORRUPT' })
  })

  it('a file of vanilla’s with dates as _ids opens, whose documents were updated and removed', async () => {
    const lines = [1, 2, 1, 3].map((at, n) => `{"_id":{"$$date":${at}},"n":${n}}`)
    writeFileSync(file('a.db'), `${lines.join('\n')}\n{"$$deleted":true,"_id":{"$$date":3}}\n`)
    const db = new LockedNedb<{ _id: unknown; n: number }>({ filename: file('a.db'), autoload: true })
    const found = await db.findAsync({}).sort({ n: 1 })
    assert.deepEqual(
      found.map(({ n }) => n),
      [1, 2],
    )
    assert.equal((await db.findAsync({ _id: { $in: [new Date(1)] } })).length, 1)
    await db.close()
  })
})
