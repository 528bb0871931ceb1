import type { Nedb } from '../../../adapters/nedb/internals.ts'
import { attached } from '../../../adapters/nedb/locked.ts'
import { Vanilla } from '../../fixtures/nedb-tools.ts'
import { byId, type Calls, type Doc, type IndexWish, type Store } from './steps.ts'

interface Index {
  readonly fieldName: string
  readonly unique: boolean
  readonly sparse: boolean
}

/** What of a NeDB store can be seen in memory. */
export interface Inside {
  getAllData(): Doc[]
  readonly indexes: Record<string, Index & { getAll(): Doc[] }>
}

/** All documents and indexes of a store. */
export interface State {
  readonly docs: Doc[]
  readonly indexes: IndexWish[]
  /** By index, the ids of the documents that are in it: an empty array, for one, is in none. */
  readonly indexed?: Record<string, unknown[]>
}

export function stateOf(db: Inside): State {
  // A locked store puts nothing off any more once somebody has looked at its indexes: this look is not to count.
  const { inner = db } = attached.get(db as unknown as Nedb) ?? {}
  const indexes = Object.values(inner.indexes)
    .filter(({ fieldName }) => fieldName !== '_id')
    .map(({ fieldName, unique, sparse }) => ({ fieldName, unique, sparse }))
    .sort((a, b) => (a.fieldName < b.fieldName ? -1 : 1))
  // It settles what is known, but not yet in the indexes.
  const docs = byId(structuredClone(db.getAllData()))
  const indexed = Object.fromEntries(
    indexes.map(({ fieldName }) => [
      fieldName,
      byId([...new Set(inner.indexes[fieldName]?.getAll())] as Doc[]).map(({ _id }) => _id),
    ]),
  )
  return { docs, indexes, indexed }
}

/**
 * The unmodified library, in memory and in one process, where it keeps its promises, with the few things that it has
 * not: transactions, views, dumps. All of them by copying everything.
 */
export class Model implements Store {
  #db!: Calls & Inside & { loadDatabaseAsync(): Promise<void> }
  #dumped: State | undefined

  static async from(state: State): Promise<Model> {
    const model = new Model()
    await model.become(state)
    return model
  }

  get calls(): Calls {
    return this.#db
  }

  get state(): State {
    return stateOf(this.#db)
  }

  async become({ docs, indexes }: State): Promise<void> {
    this.#db = new Vanilla({ inMemoryOnly: true } as never) as never
    await this.#db.loadDatabaseAsync()
    await this.#db.insertAsync(docs)
    for (const { fieldName, ...options } of indexes) {
      await this.#db.ensureIndexAsync({ fieldName: String(fieldName).split(','), ...options })
    }
  }

  async transaction(run: () => Promise<void>): Promise<void> {
    const { state } = this
    try {
      await run()
    } catch (error) {
      await this.become(state)
      throw error
    }
  }

  view(run: () => Promise<void>): Promise<void> {
    return run()
  }

  async load(): Promise<void> {}
  async reopen(): Promise<void> {}

  async together<T>(starts: readonly (() => Promise<T>)[]): Promise<T[]> {
    const results: T[] = []
    for (const start of starts) results.push(await start())
    return results
  }

  async dump(): Promise<void> {
    this.#dumped = this.state
  }

  async restore(): Promise<void> {
    if (this.#dumped) await this.become(this.#dumped)
  }
}
