import { stat } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { ABSENT, type Answer, claimId, insertedNumbers } from '../operation.ts'
import { isWhole, makeRecord, recordId } from '../record.ts'
import { chore, type Subject, slowly } from './subject.ts'

export type Query = Record<string, unknown>

/** What both NeDB libraries can do, with the smallest results that tell what happened. */
export interface DocumentStore {
  insert(docs: object | object[]): Promise<unknown>
  /** @returns how many documents were affected */
  update(query: Query, change: object): Promise<number>
  /** @returns the counter's new value */
  increment(id: string): Promise<number>
  remove(query: Query): Promise<number>
  find(query: Query): Promise<object[]>
  findOne(query: Query): Promise<object | null>
  count(query: Query): Promise<number>
  /** Sets the value of this document, which is made if it is not there. */
  set(id: string, value: number): Promise<unknown>
  compact(): Promise<unknown>
  close(): Promise<void>
}

/** The plan's operations in terms of documents. */
export function documentSubject(
  store: DocumentStore,
  { worker, path, database }: { worker: number; path: string; database: object },
): Subject {
  const read = async (n: number): Promise<Answer> => {
    const _id = recordId(worker, n)
    const found = n % 2 === 0 ? await store.findOne({ _id }) : (await store.find({ _id: { $in: [_id] } }))[0]
    if (!found) return { said: 'done', value: ABSENT }
    return isWhole(found, _id) ? { said: 'done', value: found.v } : { said: 'torn' }
  }
  return {
    perform: async (operation) => {
      switch (operation.kind) {
        case 'insert':
        case 'insertMany': {
          const docs = insertedNumbers(operation).map((n) => document(worker, n, 0, operation.length))
          await store.insert(operation.kind === 'insert' ? (docs[0] as object) : docs)
          return { said: 'done' }
        }
        case 'update': {
          const { n, v, length } = operation
          const query = { _id: recordId(worker, n) }
          return {
            said: 'done',
            value: await store.update(query, { $set: makeRecord(worker, n, v, length) }),
          }
        }
        case 'delete':
          return { said: 'done', value: await store.remove({ _id: recordId(worker, operation.n) }) }
        case 'increment':
          return { said: 'done', value: await store.increment(operation.counter) }
        case 'claim':
          return unlessTaken(store, { _id: claimId(worker, operation.key), key: operation.key })
        case 'readRecord':
          return read(operation.n)
        case 'readCount':
          return { said: 'done', value: await store.count({ worker }) }
        case 'readCounter': {
          const found = (await store.findOne({ _id: operation.counter })) as { value: number } | null
          return { said: 'done', value: found?.value ?? 0 }
        }
        case 'readRegister':
          return value(await store.findOne({ _id: operation.register }))
        case 'writeRegister':
          await store.set(operation.register, operation.value)
          return { said: 'done' }
        case 'compareAndSet': {
          const { register: _id, from, to } = operation
          if (from === ABSENT) {
            const { said } = await unlessTaken(store, { _id, value: to })
            return { said: 'done', value: said === 'taken' ? 0 : 1 }
          }
          return { said: 'done', value: await store.update({ _id, value: from }, { $set: { value: to } }) }
        }
        case 'insertKey': {
          const { key, value } = operation
          return unlessTaken(store, { _id: `${key}-${value}`, key, value })
        }
        case 'deleteKey':
          return { said: 'done', value: await store.remove({ key: operation.key }) }
        case 'readKey':
          return value(await store.findOne({ key: operation.key }))
        case 'compact':
          await store.compact()
          return { said: 'done' }
        case 'compactByNeed':
          await slowly(database)(() => makeStale(store, `stale-${worker}`))
          return { said: 'done', value: await isReplaced(path) }
        case 'dump':
        case 'copy':
          return chore(operation, database, path)
      }
    },
    slowly: slowly(database),
    close: () => store.close(),
  }
}

/** In a transaction: nobody sees a record of it, and of the file as much is stale as a compaction by need asks for. */
async function makeStale(store: DocumentStore, _id: string): Promise<void> {
  await store.insert({ _id, text: 'x'.repeat(STALE_BYTES) })
  await store.remove({ _id })
}

/** More than all records of the workers together, and than the least that is compacted. */
const STALE_BYTES = 2 ** 21

/** @returns 1 where the file is replaced within a second, else 0: whoever has the lock may keep it longer */
async function isReplaced(path: string): Promise<number> {
  const { ino } = await stat(path)
  for (let look = 0; look < 50; look++) {
    await pause(20)
    if ((await stat(path)).ino !== ino) return 1
  }
  return 0
}

async function unlessTaken(store: DocumentStore, doc: object): Promise<Answer> {
  try {
    await store.insert(doc)
    return { said: 'done' }
  } catch (error) {
    if ((error as { errorType?: unknown }).errorType === 'uniqueViolated') return { said: 'taken' }
    throw error
  }
}

function value(found: object | null): Answer {
  return { said: 'done', value: (found as { value: number } | null)?.value ?? ABSENT }
}

function document(worker: number, n: number, v: number, length: number): object {
  return { _id: recordId(worker, n), ...makeRecord(worker, n, v, length) }
}
