import { JSONFilePreset } from 'lowdb/node'
import { LockedJSONFilePreset } from '../../../adapters/lowdb.ts'
import { ABSENT, type Answer, claimId, insertedNumbers, type Operation } from '../operation.ts'
import { isWhole, makeRecord, recordId, type StoredRecord } from '../record.ts'
import { chore, lockOptions, type Subject, type SubjectOptions, slowly } from './subject.ts'

export type Post = StoredRecord & { readonly id: string }

/** The whole file. */
export interface Blog {
  posts: Post[]
  counters: Record<string, number>
  claims: Record<string, string>
  registers: Record<string, number>
  unique: Record<string, number>
}

/** What both libraries can do. */
interface JsonStore {
  data: Blog
  read(): Promise<void>
  write(): Promise<void>
  update(change: (data: Blog) => void): Promise<void>
}

export async function open(options: SubjectOptions): Promise<Subject> {
  const empty: Blog = { posts: [], counters: {}, claims: {}, registers: {}, unique: {} }
  if (options.unlocked) {
    // Under NODE_ENV=test the preset would keep everything in memory.
    delete process.env.NODE_ENV
    const db = await JSONFilePreset<Blog>(options.path, empty)
    return subject(db, options, async () => {})
  }
  const db = await LockedJSONFilePreset<Blog>(options.path, empty, lockOptions(options))
  return subject(db, options, () => db.close())
}

function subject(db: JsonStore, { worker, path }: SubjectOptions, close: () => Promise<void>): Subject {
  return {
    perform: async (operation) => {
      if (operation.kind === 'dump' || operation.kind === 'copy') return chore(operation, db, path)
      return perform(db, worker, operation)
    },
    slowly: slowly(db),
    close,
  }
}

async function perform(db: JsonStore, worker: number, operation: Operation): Promise<Answer> {
  switch (operation.kind) {
    case 'insert':
    case 'insertMany': {
      const posts = insertedNumbers(operation).map((n) => post(worker, n, 0, operation.length))
      return change(db, operation, (data) => {
        data.posts.push(...posts)
        return undefined
      })
    }
    case 'update': {
      const edited = post(worker, operation.n, operation.v, operation.length)
      return change(db, operation, (data) => {
        const found = data.posts.find(({ id }) => id === edited.id)
        if (found) Object.assign(found, edited)
        return found ? 1 : 0
      })
    }
    case 'delete':
      return change(db, operation, (data) => {
        const index = data.posts.findIndex(({ id }) => id === recordId(worker, operation.n))
        if (index >= 0) data.posts.splice(index, 1)
        return index >= 0 ? 1 : 0
      })
    case 'increment':
      return change(db, operation, ({ counters }) => {
        const value = (counters[operation.counter] ?? 0) + 1
        counters[operation.counter] = value
        return value
      })
    case 'writeRegister':
      return change(db, operation, ({ registers }) => {
        registers[operation.register] = operation.value
        return undefined
      })
    case 'compareAndSet':
      return change(db, operation, ({ registers }) => {
        const fits = (registers[operation.register] ?? ABSENT) === operation.from
        if (fits) registers[operation.register] = operation.to
        return fits ? 1 : 0
      })
    case 'insertKey': {
      let fits = false
      await db.update(({ unique }) => {
        fits = unique[operation.key] === undefined
        unique[operation.key] ??= operation.value
      })
      return { said: fits ? 'done' : 'taken' }
    }
    case 'deleteKey':
      return change(db, operation, ({ unique }) => {
        const fits = unique[operation.key] !== undefined
        delete unique[operation.key]
        return fits ? 1 : 0
      })
    case 'compact':
    case 'compactByNeed':
      throw new Error('the file of lowdb has nothing to compact')
    case 'claim':
      return claim(db, worker, operation.key)
    default:
      await db.read()
      return look(db.data, worker, operation)
  }
}

/** The change as an update, or bare: made on `db.data`, then written. */
async function change(
  db: JsonStore,
  operation: Operation,
  make: (data: Blog) => number | undefined,
): Promise<Answer> {
  let value: number | undefined
  if (!('bare' in operation) || !operation.bare) {
    await db.update((data) => {
      value = make(data)
    })
    return { said: 'done', value }
  }
  value = make(db.data)
  try {
    await db.write()
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'PSLOCK_STALE_WRITE') throw error
    await db.read()
    return { said: 'stale' }
  }
  return { said: 'done', value }
}

async function claim(db: JsonStore, worker: number, key: string): Promise<Answer> {
  let taken = false
  await db.update(({ claims }) => {
    taken = claims[key] !== undefined
    claims[key] ??= claimId(worker, key)
  })
  return { said: taken ? 'taken' : 'done' }
}

function look({ posts, counters, registers, unique }: Blog, worker: number, operation: Operation): Answer {
  if (operation.kind === 'readCount') {
    return { said: 'done', value: posts.filter((post) => post.worker === worker).length }
  }
  if (operation.kind === 'readCounter') return { said: 'done', value: counters[operation.counter] ?? 0 }
  if (operation.kind === 'readRegister') {
    return { said: 'done', value: registers[operation.register] ?? ABSENT }
  }
  if (operation.kind === 'readKey') return { said: 'done', value: unique[operation.key] ?? ABSENT }
  const id = operation.kind === 'readRecord' ? recordId(worker, operation.n) : ''
  const found = posts.find((post) => post.id === id)
  if (!found) return { said: 'done', value: ABSENT }
  return isWhole(found, id) ? { said: 'done', value: found.v } : { said: 'torn' }
}

function post(worker: number, n: number, v: number, length: number): Post {
  return { id: recordId(worker, n), ...makeRecord(worker, n, v, length) }
}
