import { LockedNedb } from '../../../adapters/nedb.ts'
import { documentSubject } from './documents.ts'
import { placeOf, type Subject, type SubjectOptions } from './subject.ts'
import { vanilla } from './vanilla.ts'

export async function open(options: SubjectOptions): Promise<Subject> {
  const db = options.unlocked
    ? new (vanilla())({ filename: options.path })
    : new LockedNedb({ ...placeOf(options), autoload: true })
  await (options.unlocked ? db.loadDatabaseAsync() : db.autoloadPromise)
  await db.ensureIndexAsync({ fieldName: 'key', unique: true, sparse: true })
  return documentSubject(
    {
      insert: (docs) => db.insertAsync(docs as Record<string, unknown>),
      update: async (query, change) => (await db.updateAsync(query, change, {})).numAffected,
      increment: async (_id) => {
        const how = { upsert: true, returnUpdatedDocs: true } as const
        const { affectedDocuments } = await db.updateAsync({ _id }, { $inc: { value: 1 } }, how)
        return Number((affectedDocuments as Record<string, unknown> | null)?.value)
      },
      remove: (query) => db.removeAsync(query, {}),
      find: (query) => db.findAsync(query),
      findOne: (query) => db.findOneAsync(query),
      count: (query) => db.countAsync(query),
      set: (_id, value) => db.updateAsync({ _id }, { $set: { value } }, { upsert: true }),
      compact: () => db.compactDatafileAsync(),
      close: async () => {
        if (db instanceof LockedNedb) await db.close()
      },
    },
    { ...options, database: db },
  )
}
