import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type Datastore from '@seald-io/nedb'
import { COUNTERS, type Contents, counterId, recordId, TEXT } from '../store.ts'

/** The class, which its types call a default export. */
export type Nedb = Datastore.default<Record<string, unknown>>

export const Vanilla = createRequire(import.meta.url)('@seald-io/nedb') as new (options: {
  filename?: string
  inMemoryOnly?: boolean
}) => Nedb

/** A file as NeDB itself writes it. */
export function prepareNedb(path: string, records: number): void {
  const counters = Array.from({ length: COUNTERS }, (_, i) => ({ _id: counterId(i), n: 0 }))
  const others = Array.from({ length: records }, (_, i) => ({ _id: recordId(i), text: TEXT }))
  writeFileSync(path, [...counters, ...others].map((doc) => `${JSON.stringify(doc)}\n`).join(''))
}

export async function openVanilla(path: string): Promise<Nedb> {
  const store: Nedb = new Vanilla({ filename: path })
  await store.loadDatabaseAsync()
  return store
}

/** What is in an open store of NeDB's, or of ours. */
export async function nedbContents(store: Nedb): Promise<Contents> {
  let records = 0
  let increments = 0
  for (const { n } of await store.findAsync({})) {
    if (typeof n === 'number') increments += n
    else records++
  }
  return { records, increments }
}

/** The calls of an open store of NeDB's, or of ours. */
export function nedbCalls(store: Nedb) {
  return {
    insert: (id?: string) => store.insertAsync(id === undefined ? { text: TEXT } : { _id: id, text: TEXT }),
    async find(record: number) {
      const found = await store.findOneAsync({ _id: recordId(record) })
      if (!found) throw new Error(`${recordId(record)} is not there`)
    },
    readAll: async () => (await store.findAsync({ text: { $exists: true } })).length,
    increment: (counter: number) => store.updateAsync({ _id: counterId(counter) }, { $inc: { n: 1 } }, {}),
  }
}
