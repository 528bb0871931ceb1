import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { type Doc, temporaryFolder, Vanilla, warnings } from '../../fixtures/nedb-tools.ts'

interface Index {
  readonly fieldName: string
  readonly unique: boolean
  readonly sparse: boolean
  readonly tree: { getNumberOfKeys(): number; search(key: unknown): Doc[] }
  getAll(): Doc[]
  getMatching(value: unknown): Doc[]
}

type Callback = (error: Error | null, value: unknown) => void

/** NeDB as its users see it, and as its own tests do. */
interface Db {
  readonly indexes: Record<string, Index>
  readonly autoloadPromise: Promise<void> | null
  loadDatabase(callback: Callback): void
  loadDatabaseAsync(): Promise<void>
  insert(doc: object, callback: Callback): void
  insertAsync(doc: object): Promise<Doc>
  find(query: object, callback: Callback): void
  findAsync(query: object): Promise<Doc[]>
  findOneAsync(query: object): Promise<Doc | null>
  countAsync(query: object): Promise<number>
  updateAsync(query: object, update: object, options?: object): Promise<unknown>
  removeAsync(query: object, options?: object): Promise<number>
  ensureIndex(options: object, callback: Callback): void
  ensureIndexAsync(options: object): Promise<void>
  removeIndexAsync(field: string): Promise<void>
  compactDatafile: (callback?: Callback) => unknown
  compactDatafileAsync(): Promise<void>
  setAutocompactionInterval(interval: unknown): void
  stopAutocompaction(): void
  getAllData(): Doc[]
  on(event: string, listener: () => void): void
}

interface Place {
  readonly file: string
  open(options?: object): Db
  /** Puts lines there. */
  write(...lines: string[]): void
  /** The records that are there. */
  lines(): Record<string, unknown>[]
}

interface Behaviour {
  readonly run: (place: Place) => Promise<unknown>
  readonly gives: unknown
}

const reverse = (text: string) => [...text].reverse().join('')
const HOOKS = { afterSerialization: reverse, beforeDeserialization: reverse }
const mine = new Error('a hook does not like it')
const refuse = () => {
  throw mine
}

/** What an operation fails with: the very object that a hook has thrown, or the error's words. */
async function failure(operation: Promise<unknown>): Promise<unknown> {
  try {
    await operation
  } catch (error) {
    if (!(error instanceof Error)) return error
    return error === mine ? 'the very same' : [error.name, error.message, { ...error }]
  }
  return 'none'
}

const unreadable = (percent: number, threshold: number) =>
  `${percent}% of the data file is corrupt, more than given corruptAlertThreshold (${threshold}%). Cautiously refusing to start ` +
  'NeDB to prevent dataloss.'

/** An open store of hooks that work at first: `spoil` says what they do from then on. */
async function spoiled(place: Place, spoil: (line: string) => unknown): Promise<Db> {
  let isGood = true
  const db = place.open({
    afterSerialization: (line: string) => (isGood ? reverse(line) : spoil(line)),
    beforeDeserialization: reverse,
  })
  await db.loadDatabaseAsync()
  await db.insertAsync([{ _id: 'a' }, { _id: 'b' }])
  isGood = false
  return db
}

const BEHAVIOURS: Record<string, Behaviour> = {
  'a document is in the indexes as soon as it is inserted': {
    run: async ({ open }) => {
      const db = open({ autoload: true })
      await db.ensureIndexAsync({ fieldName: 'z' })
      const keys = [db.indexes.z?.tree.getNumberOfKeys()]
      const doc = await db.insertAsync({ a: 2, z: 'yes' })
      keys.push(db.indexes.z?.tree.getNumberOfKeys())
      return [keys, db.indexes.z?.getMatching('yes')[0]?._id === doc._id]
    },
    gives: [[0, 1], true],
  },
  'a document is in all indexes as soon as it is inserted, with callbacks': {
    run: async ({ open }) => {
      const db = open({ autoload: true })
      for (const fieldName of ['z', 'ya']) await promisify(db.ensureIndex.bind(db))({ fieldName })
      await promisify(db.insert.bind(db))({ a: 5, z: 'yes', ya: 'indeed' })
      const { z, ya } = db.indexes
      return [z?.tree.getNumberOfKeys(), ya?.tree.getNumberOfKeys(), ya?.getMatching('indeed').length]
    },
    gives: [1, 1, 1],
  },
  'two documents at one key of an index are in it as soon as they are inserted': {
    run: async ({ open }) => {
      const db = open({ autoload: true })
      await db.ensureIndexAsync({ fieldName: 'z' })
      await db.insertAsync({ a: 5, z: 'yes' })
      await db.insertAsync({ a: 6, z: 'yes' })
      return [db.indexes.z?.tree.getNumberOfKeys(), db.indexes.z?.tree.search('yes').map(({ a }) => a)]
    },
    gives: [1, [5, 6]],
  },
  'an index that was kept has what is inserted, changed and removed later': {
    run: async ({ open }) => {
      const db = open({ autoload: true })
      await db.ensureIndexAsync({ fieldName: 'z', sparse: true })
      const { z } = db.indexes
      const counts = [z?.getAll().length]
      await db.insertAsync([{ z: 1 }, { z: 2 }, { y: 3 }])
      counts.push(z?.getAll().length)
      await db.updateAsync({ z: 2 }, { $set: { z: 4 } })
      counts.push(z?.getMatching(4).length, z?.getMatching(2).length)
      await db.removeAsync({ z: 1 })
      counts.push(z?.getAll().length)
      return counts
    },
    gives: [0, 2, 1, 0, 1],
  },
  'getAllData has what was just inserted': {
    run: async ({ open }) => {
      const db = open({ autoload: true })
      await db.insertAsync({ a: 1 })
      return db.getAllData().length
    },
    gives: 1,
  },
  'an index is there before ensureIndex has come to its end, and gone before removeIndex has': {
    run: async ({ open }) => {
      const db = open({ autoload: true })
      await db.insertAsync({ z: 1 })
      const ensured = db.ensureIndexAsync({ fieldName: 'z' })
      const there = db.indexes.z?.getAll().length
      await ensured
      await db.removeIndexAsync('z')
      return [there, Object.keys(db.indexes)]
    },
    gives: [1, ['_id']],
  },
  'an index that is ensured before the load is filled by it': {
    run: async ({ open, write }) => {
      write('{"_id":"1","z":"1"}', '{"_id":"2","z":"2"}')
      const db = open()
      db.ensureIndex({ fieldName: 'z' }, () => {})
      const { fieldName, unique, sparse } = db.indexes.z ?? {}
      const before = db.indexes.z?.tree.getNumberOfKeys()
      await promisify(db.loadDatabase.bind(db))()
      return [fieldName, unique, sparse, before, db.indexes.z?.tree.getNumberOfKeys()]
    },
    gives: ['z', false, false, 0, 2],
  },
  'an afterSerialization that throws: the insert rejects with its very error': {
    run: ({ open }) =>
      failure(open({ autoload: true, ...HOOKS, afterSerialization: refuse }).insertAsync({ hello: 'world' })),
    gives: 'the very same',
  },
  'an afterSerialization that rejects: the insert rejects with its very error': {
    run: ({ open }) =>
      failure(
        open({ autoload: true, ...HOOKS, afterSerialization: async () => refuse() }).insertAsync({
          hello: 1,
        }),
      ),
    gives: 'the very same',
  },
  'an afterSerialization that throws what is no error: that is what the insert rejects with': {
    run: ({ open }) =>
      failure(
        open({
          autoload: true,
          ...HOOKS,
          afterSerialization: () => {
            throw 'no key'
          },
        }).insertAsync({ hello: 1 }),
      ),
    gives: 'no key',
  },
  'an afterSerialization that throws: an explicit load of a file rejects with its very error': {
    run: ({ open, write }) => {
      write(reverse('{"_id":"a"}'))
      return failure(open({ ...HOOKS, afterSerialization: refuse }).loadDatabaseAsync())
    },
    gives: 'the very same',
  },
  'an afterSerialization that throws: update, remove, indexes and compaction reject with its very error': {
    run: async (place) => {
      const db = await spoiled(place, refuse)
      return [
        await failure(db.updateAsync({ _id: 'a' }, { $set: { n: 1 } })),
        await failure(db.removeAsync({ _id: 'a' })),
        await failure(db.ensureIndexAsync({ fieldName: 'n' })),
        await failure(db.compactDatafileAsync()),
        await failure(db.insertAsync([{ n: 1 }, { n: 2 }])),
      ]
    },
    gives: Array(5).fill('the very same'),
  },
  'an afterSerialization that throws for one document: calls beside it are as they are': {
    run: async (place) => {
      const db = await spoiled(place, (line) => (line.includes('"bad"') ? refuse() : reverse(line)))
      return Promise.all(['c', 'bad', 'd'].map((_id) => failure(db.insertAsync({ _id }))))
    },
    gives: ['none', 'the very same', 'none'],
  },
  'a beforeDeserialization that throws: its lines are corrupt': {
    run: async ({ open }) => {
      const db = open({ autoload: true, ...HOOKS })
      await db.insertAsync({ hello: 'world' })
      await db.updateAsync({ hello: 'world' }, { $set: { hello: 'earth' } })
      return failure(open({ ...HOOKS, beforeDeserialization: refuse }).loadDatabaseAsync())
    },
    gives: ['Error', unreadable(100, 10), { corruptionRate: 1, corruptItems: 2, dataLength: 2 }],
  },
  'one hook without the other is refused by the constructor': {
    run: async ({ open, write, file }) => {
      write('Some content')
      assert.throws(
        () => open({ autoload: true, afterSerialization: reverse }),
        /deserialization hook undefined/,
      )
      assert.throws(() => open({ autoload: true, beforeDeserialization: reverse }), /hook undefined but/)
      return readFileSync(file, 'utf8')
    },
    gives: 'Some content\n',
  },
  'hooks turn each line of the file': {
    run: async ({ open, file }) => {
      const db = open({ autoload: true, ...HOOKS })
      await db.insertAsync({ _id: 'a' })
      await db.ensureIndexAsync({ fieldName: 'idefix' })
      await db.removeAsync({ _id: 'a' })
      return readFileSync(file, 'utf8').split('\n').filter(Boolean).map(reverse)
    },
    gives: ['{"_id":"a"}', '{"$$indexCreated":{"fieldName":"idefix"}}', '{"$$deleted":true,"_id":"a"}'],
  },
  'more unreadable lines than the threshold allows: the file is refused, in these words': {
    run: ({ open, write }) => {
      write('{"_id":"1"}', '{"_id":"2"}', 'garbage', '{"_id":"3"}')
      return failure(open().loadDatabaseAsync())
    },
    gives: ['Error', unreadable(25, 10), { corruptionRate: 0.25, corruptItems: 1, dataLength: 4 }],
  },
  'a threshold of 0 tolerates no unreadable line, one of 1 tolerates all': {
    run: async ({ open, write }) => {
      write('{"_id":"1"}', '{"_id":"2"}', 'garbage', '{"_id":"3"}')
      const refused = await failure(open({ corruptAlertThreshold: 0 }).loadDatabaseAsync())
      const db = open({ corruptAlertThreshold: 1 })
      await db.loadDatabaseAsync()
      return [refused, await db.countAsync({})]
    },
    gives: [['Error', unreadable(25, 0), { corruptionRate: 0.25, corruptItems: 1, dataLength: 4 }], 3],
  },
  'an explicit load rewrites the file, and says so': {
    run: async ({ open, write, lines }) => {
      write('{"_id":"1","n":1}', '{"_id":"1","n":2}', '{"_id":"2"}', '{"$$deleted":true,"_id":"2"}')
      const db = open()
      let told = 0
      db.on('compaction.done', () => told++)
      await db.loadDatabaseAsync()
      return [lines(), told]
    },
    gives: [[{ _id: '1', n: 2 }], 1],
  },
  'the compaction timer calls the compactDatafile that the store has then': {
    run: async ({ open }) => {
      const db = open({ autoload: true })
      await db.insertAsync({ a: 1 })
      const { setInterval } = globalThis
      const timers: [run: () => unknown, ms: number][] = []
      globalThis.setInterval = ((run: () => unknown, ms: number) => {
        timers.push([run, ms])
        return setInterval(() => {}, 60_000)
      }) as typeof setInterval
      try {
        db.setAutocompactionInterval('0')
      } finally {
        globalThis.setInterval = setInterval
      }
      let called = 0
      db.compactDatafile = () => called++
      const last = timers.at(-1)
      await last?.[0]()
      db.stopAutocompaction()
      return [last?.[1], called]
    },
    gives: [5000, 1],
  },
  'what was issued before the load runs once it is loaded': {
    run: async ({ open, write }) => {
      write('{"_id":"1"}')
      const db = open()
      const found = promisify(db.find.bind(db))({}) as Promise<Doc[]>
      const inserted = db.insertAsync({ _id: '2' })
      await db.loadDatabaseAsync()
      await inserted
      return [(await found).length, await db.countAsync({})]
    },
    gives: [1, 2],
  },
  'a store that is loaded again has what was put into the file meanwhile': {
    run: async ({ open, write }) => {
      const db = open({ autoload: true })
      await db.insertAsync({ _id: '1' })
      write('{"_id":"2"}')
      await db.loadDatabaseAsync()
      return (await db.findAsync({})).map(({ _id }) => _id)
    },
    gives: ['2'],
  },
}

describe('NeDB and LockedNedb, side by side', () => {
  const file = temporaryFolder()
  warnings()

  const place = (name: string, Store: new (options: { filename: string }) => unknown): Place => {
    mkdirSync(file(name))
    const path = file(`${name}/it.db`)
    return {
      file: path,
      open: (options = {}) => new Store({ filename: path, ...options }) as Db,
      write: (...lines) => writeFileSync(path, lines.map((line) => `${line}\n`).join('')),
      lines: () =>
        readFileSync(path, 'utf8')
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Record<string, unknown>),
    }
  }

  for (const [what, { run, gives }] of Object.entries(BEHAVIOURS)) {
    it(what, async () => {
      assert.deepEqual(await run(place('vanilla', Vanilla)), gives, 'the library itself does otherwise')
      assert.deepEqual(await run(place('locked', LockedNedb)), gives)
    })
  }

  it('what a hook of LockedNedb throws leaves memory and file as they were, where NeDB keeps it in memory', async () => {
    const at = place('locked', LockedNedb)
    const db = await spoiled(at, refuse)
    const before = readFileSync(at.file)
    await failure(db.insertAsync({ _id: 'c' }))
    await failure(db.insertAsync({ no: 'id' }))
    await failure(db.updateAsync({ _id: 'a' }, { $set: { n: 1 } }))
    await failure(db.removeAsync({ _id: 'b' }))
    await failure(db.ensureIndexAsync({ fieldName: 'n' }))
    await failure(db.compactDatafileAsync())
    assert.deepEqual((await db.findAsync({})).map(({ _id }) => _id).sort(), ['a', 'b'])
    assert.equal(await db.countAsync({ n: 1 }), 0)
    assert.deepEqual(Object.keys(db.indexes), ['_id'])
    assert.deepEqual(readFileSync(at.file), before)
  })

  it('of a hook’s error in LockedNedb one transaction is undone, and only that', async () => {
    const at = place('locked', LockedNedb)
    const db = (await spoiled(at, (line) =>
      line.includes('"bad"') ? refuse() : reverse(line),
    )) as unknown as LockedNedb<Doc>
    const wholly = db.transaction(async (tx) => {
      await tx.insertAsync({ _id: 'c' })
      await tx.insertAsync({ _id: 'bad' })
    })
    assert.equal(await failure(wholly), 'the very same')
    await db.transaction(async (tx) => {
      await tx.insertAsync({ _id: 'd' })
      assert.equal(await failure(tx.insertAsync({ _id: 'bad' })), 'the very same')
    })
    const ids = async (of: { findAsync(query: object): PromiseLike<Doc[]> }) =>
      (await of.findAsync({})).map(({ _id }) => _id).sort()
    assert.deepEqual(await ids(db), ['a', 'b', 'd'])
    const vanilla = new Vanilla({ filename: at.file, ...HOOKS })
    await vanilla.loadDatabaseAsync()
    assert.deepEqual(await ids(vanilla), ['a', 'b', 'd'])
  })

  it('LockedNedb’s error of an unreadable file leads to what its hook has thrown, and says where and what to do', async () => {
    const at = place('locked', LockedNedb)
    at.write(reverse('{"_id":"a"}'))
    const error = (await at
      .open({ ...HOOKS, beforeDeserialization: refuse })
      .loadDatabaseAsync()
      .catch((error: unknown) => error)) as Error & { path: string; code: string; cause: Error }
    assert.deepEqual([error.code, error.path], ['PSLOCK_CORRUPT', at.file])
    assert.match(error.cause.message, /it\.db is line 1, byte 0.*`pslock check`/)
    assert.equal(error.cause.cause, mine)
  })
})
