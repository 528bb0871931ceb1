import assert from 'node:assert/strict'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { recordsOf, temporaryFolder } from '../../fixtures/nedb-tools.ts'

interface Doc {
  _id: string
  n?: number
}

/** NeDB's own members, which nedb-promises shows too. */
interface Below {
  __original: object
  insertAsync(doc: object): Promise<Doc>
  findAsync(query: object): Promise<Doc[]>
  compactDatafileAsync(): Promise<void>
  getAllData(): Doc[]
  filename: string
  inMemoryOnly: boolean
  timestampData: boolean
  executor: object
  persistence: { filename: string }
  indexes: Record<string, object>
  _autocompactionIntervalId: unknown
  autoloadPromise: Promise<void> | null
}

describe('events and members of LockedDatastore', () => {
  const file = temporaryFolder()
  const open = () => LockedDatastore.create<Doc>({ filename: file('a.db') })
  const below = (db: object) => db as unknown as Below

  it('emits its events with their documented arguments', async () => {
    await using db = open()
    const events: unknown[][] = []
    const names = [
      'load',
      'insert',
      'update',
      'remove',
      'find',
      'findOne',
      'count',
      'ensureIndex',
      'removeIndex',
    ]
    for (const name of [...names, 'insertError', '__error__']) {
      db.on(name as 'load', (...args: unknown[]) => events.push([name, args[0] === db, ...args.slice(1)]))
    }
    await db.ensureIndex({ fieldName: 'n', unique: true })
    await db.insert({ _id: 'a', n: 1 })
    await db.update({ _id: 'a' }, { $set: { n: 2 } })
    await db.find({ _id: 'a' })
    await db.findOne({ _id: 'a' })
    await db.count({})
    await assert.rejects(db.insert({ _id: 'b', n: 2 }))
    await db.remove({ _id: 'a' }, {})
    await db.removeIndex('n')
    assert.deepEqual(
      events.map(([name]) => name),
      [
        'load',
        'ensureIndex',
        'insert',
        'update',
        'find',
        'findOne',
        'count',
        'insertError',
        '__error__',
        'remove',
        'removeIndex',
      ],
    )
    assert.ok(events.every(([, isStore]) => isStore))
    const of = (wanted: string) => events.find(([name]) => name === wanted)?.slice(2)
    assert.deepEqual(of('update'), [1, { _id: 'a' }, { $set: { n: 2 } }, {}])
    assert.deepEqual((of('find') as [Doc[]])[0], [{ _id: 'a', n: 2 }])
    assert.deepEqual(of('count'), [1, {}])
    const [operation, error] = of('__error__') as [string, { errorType: string }]
    assert.deepEqual([operation, error.errorType], ['insert', 'uniqueViolated'])
  })

  it('emits compactionDone for a compaction, and not for opening', async () => {
    await using db = open()
    let compactions = 0
    db.on('compactionDone', (store: object) => {
      assert.equal(store, db)
      compactions++
    })
    await db.load()
    await db.insert({ _id: 'a' })
    assert.equal(compactions, 0)
    await below(db).compactDatafileAsync()
    assert.equal(compactions, 1)
  })

  it("shows NeDB's members, falsy ones too, and lets them be set", async () => {
    await using db = open()
    await db.insert({ _id: 'a' })
    assert.equal(below(db).filename, file('a.db'))
    assert.equal(below(db).inMemoryOnly, false)
    assert.equal(below(db).timestampData, false)
    assert.equal(below(db)._autocompactionIntervalId, null)
    assert.deepEqual(Object.keys(below(db).indexes), ['_id'])
    assert.equal(below(db).persistence.filename, file('a.db'))
    assert.equal(typeof below(db).executor, 'object')
    assert.equal(below(db).getAllData().length, 1)
    assert.equal((await below(db).insertAsync({ _id: 'b' }))._id, 'b')
    assert.equal((await below(db).findAsync({})).length, 2)
    below(db).timestampData = true
    await db.insert({ _id: 'c' })
    assert.ok('createdAt' in recordsOf(file('a.db')).at(-1)!)
    below(db).timestampData = false
    assert.equal((below(db).__original as Below).timestampData, false)
    const { setAutocompactionInterval, stopAutocompaction } = db as unknown as Record<
      string,
      (ms?: number) => void
    >
    setAutocompactionInterval?.call(db, 60_000)
    assert.notEqual(below(db)._autocompactionIntervalId, null)
    stopAutocompaction?.call(db)
    db.removeAllListeners()
  })

  it('a store in memory says so', async () => {
    await using db = LockedDatastore.create<Doc>()
    assert.equal(below(db).inMemoryOnly, true)
    assert.equal(below(db).filename, null)
  })
})
