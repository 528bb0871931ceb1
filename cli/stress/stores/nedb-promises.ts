import { createRequire } from 'node:module'
import type Vanilla from 'nedb-promises'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { documentSubject } from './documents.ts'
import { placeOf, type Subject, type SubjectOptions } from './subject.ts'

export async function open(options: SubjectOptions): Promise<Subject> {
  const db = options.unlocked
    ? vanilla().create({ filename: options.path })
    : LockedDatastore.create(placeOf(options))
  await db.load()
  await db.ensureIndex({ fieldName: 'key', unique: true, sparse: true })
  return documentSubject(
    {
      insert: (docs) => db.insert(docs),
      update: async (query, change) => db.update(query, change, {}),
      increment: async (_id) => {
        const how = { upsert: true, returnUpdatedDocs: true } as const
        return Number((await db.update<{ value: number }>({ _id }, { $inc: { value: 1 } }, how)).value)
      },
      remove: (query) => db.remove(query, {}),
      find: async (query) => db.find<object>(query),
      findOne: async (query) => db.findOne<object>(query),
      count: async (query) => db.count(query),
      set: async (_id, value) => db.update({ _id }, { $set: { value } }, { upsert: true }),
      compact: () => original(db).compactDatafileAsync(),
      close: async () => {
        if ('close' in db && typeof db.close === 'function') await db.close()
      },
    },
    { ...options, database: db },
  )
}

/** By `require`, see nedb.ts. */
function vanilla(): typeof Vanilla {
  return createRequire(import.meta.url)('nedb-promises')
}

/** NeDB itself, which this library wraps without its compaction. */
function original(db: object): { compactDatafileAsync(): Promise<void> } {
  return (db as { __original: { compactDatafileAsync(): Promise<void> } }).__original
}
