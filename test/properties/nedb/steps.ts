import { source } from '../runs.ts'

export type Doc = Record<string, unknown>
export type Query = Record<string, unknown>
export interface IndexWish {
  readonly fieldName: string | string[]
  readonly unique?: boolean
  readonly sparse?: boolean
}

/** One call on a store, as plain data: a worker, the model and a script can all perform it. */
export type Call =
  | readonly ['insert', Doc | Doc[]]
  | readonly ['update', Query, Doc, { multi?: boolean; upsert?: boolean; returnUpdatedDocs?: boolean }]
  | readonly ['remove', Query, { multi?: boolean }]
  | readonly ['find', Query]
  | readonly ['sorted', Query, Record<string, 1 | -1>]
  | readonly ['count', Query]
  | readonly ['ensureIndex', IndexWish]
  | readonly ['removeIndex', string]
  | readonly ['compact']

/** What can also be asked of a store as a whole. */
export type Step =
  | Call
  | readonly ['transaction', readonly Step[], 'commit' | 'throw']
  | readonly ['view', readonly Call[]]
  | readonly ['together', readonly Step[]]
  | readonly ['look']
  | readonly ['load']
  | readonly ['reopen']
  | readonly ['dump']
  | readonly ['restore']

/** It runs when it is executed: an `await` alone would do that a turn later, behind what was issued after it. */
interface Cursor {
  sort(by: object): Cursor
  execAsync(): Promise<unknown>
}

/** NeDB's methods that the calls are of. */
export interface Calls {
  insertAsync(docs: unknown): Promise<unknown>
  updateAsync(query: Query, update: Doc, options: object): Promise<unknown>
  removeAsync(query: Query, options: object): Promise<unknown>
  findAsync(query: Query): Cursor
  countAsync(query: Query): Cursor
  ensureIndexAsync(options: IndexWish): Promise<unknown>
  removeIndexAsync(name: string): Promise<unknown>
  compactDatafileAsync(): Promise<unknown>
}

/** A store, or the model of one. */
export interface Store {
  readonly calls: Calls
  /** All that is in memory. To look at it settles what was put off. */
  readonly state: unknown
  transaction(run: () => Promise<void>): Promise<void>
  view(run: () => Promise<void>): Promise<void>
  load(): Promise<void>
  reopen(): Promise<void>
  dump(): Promise<void>
  restore(): Promise<void>
  /** Starts all of them in one tick; the model, one after the other. */
  together<T>(starts: readonly (() => Promise<T>)[]): Promise<T[]>
}

/** What came of a step; errors by kind, since the words are the store's own. */
export type Outcome = { readonly ok: unknown } | { readonly error: 'unique' | 'refused' }

class Undone extends Error {}

/** Performs a step; what it is refused is an outcome too. */
export async function perform(store: Store, step: Step): Promise<Outcome> {
  try {
    return { ok: await result(store, step) }
  } catch (error) {
    const { errorType, code } = error as { errorType?: string; code?: string }
    // Trouble with the lock or the file is never an outcome of a call.
    if (code?.startsWith('PSLOCK_')) throw error
    return { error: errorType === 'uniqueViolated' ? 'unique' : 'refused' }
  }
}

async function result(store: Store, step: Step): Promise<unknown> {
  switch (step[0]) {
    case 'transaction':
      return inTransaction(store, step[1], step[2])
    case 'view': {
      let outcomes: Outcome[] = []
      await store.view(async () => {
        outcomes = await inTurn(store, step[1])
      })
      return outcomes
    }
    case 'together':
      return store.together(step[1].map((each) => () => perform(store, each)))
    case 'look':
      return store.state
    case 'load':
      return store.load()
    case 'reopen':
      return store.reopen()
    case 'dump':
      return store.dump()
    case 'restore':
      return store.restore()
    default:
      return called(store.calls, step)
  }
}

async function called(calls: Calls, call: Call): Promise<unknown> {
  switch (call[0]) {
    case 'insert':
      return anyOrder(await calls.insertAsync(call[1]))
    case 'update':
      return anyOrder(await calls.updateAsync(call[1], call[2], call[3]))
    case 'remove':
      return calls.removeAsync(call[1], call[2])
    case 'find':
      return anyOrder(await calls.findAsync(call[1]).execAsync())
    case 'sorted':
      return calls.findAsync(call[1]).sort(call[2]).execAsync()
    case 'count':
      return calls.countAsync(call[1]).execAsync()
    case 'ensureIndex':
      return calls.ensureIndexAsync(call[1])
    case 'removeIndex':
      return calls.removeIndexAsync(call[1])
    case 'compact':
      return void (await calls.compactDatafileAsync())
  }
}

async function inTransaction(store: Store, steps: readonly Step[], end: 'commit' | 'throw') {
  let outcomes: Outcome[] = []
  try {
    await store.transaction(async () => {
      outcomes = await inTurn(store, steps)
      if (end === 'throw') throw new Undone()
    })
  } catch (error) {
    if (!(error instanceof Undone)) throw error
  }
  return outcomes
}

async function inTurn(store: Store, steps: readonly Step[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (const step of steps) outcomes.push(await perform(store, step))
  return outcomes
}

/** Documents have no order but the one they are sorted in. */
function anyOrder(value: unknown): unknown {
  if (Array.isArray(value)) return byId(value as Doc[])
  const { affectedDocuments, ...others } = (value ?? {}) as Record<string, unknown>
  if (!Array.isArray(affectedDocuments)) return value
  return { ...others, affectedDocuments: byId(affectedDocuments as Doc[]) }
}

export function byId<T extends Doc>(docs: readonly T[]): T[] {
  const key = ({ _id }: Doc) => `${typeof _id} ${String(_id)}`
  return [...docs].sort((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** The step as a statement. */
export function statement(step: Step, db = 'db', indent = ''): string {
  const [name, ...args] = step
  const block = (steps: readonly Step[], last = '') =>
    [...steps.map((each) => statement(each, db, `${indent}  `)), last].filter(Boolean).join('\n')
  switch (name) {
    case 'transaction': {
      const [steps, end] = args as [readonly Step[], string]
      const last = end === 'throw' ? `${indent}  throw new Error('undone')` : ''
      return `${indent}await ${db}.transaction(async () => {\n${block(steps, last)}\n${indent}}).catch(console.log)`
    }
    case 'view':
      return `${indent}await ${db}.view(async () => {\n${block(args[0] as readonly Call[])}\n${indent}})`
    case 'together': {
      const calls = (args[0] as readonly Step[]).map(
        (each) => `${indent}  (async () => {\n${block([each])}\n${indent}  })(),`,
      )
      return `${indent}await Promise.all([\n${calls.join('\n')}\n${indent}])`
    }
    case 'look':
      return `${indent}console.log(${db}.getAllData())`
    case 'load':
      return `${indent}await ${db}.loadDatabaseAsync()`
    case 'reopen':
      return `${indent}await ${db}.close(); ${db} = open()`
    case 'dump':
      return `${indent}await ${db}.dump(path + '.dump', { overwrite: true })`
    case 'restore':
      return `${indent}await ${db}.restore(path + '.dump'); await ${db}.close(); ${db} = open()`
    case 'compact':
      return `${indent}await ${db}.compactDatafileAsync()`
    case 'sorted':
      return `${indent}console.log(await ${db}.findAsync(${source(args[0])}).sort(${source(args[1])}))`
    default:
      return `${indent}console.log(await ${db}.${name}Async(${args.map(source).join(', ')}).catch(String))`
  }
}
