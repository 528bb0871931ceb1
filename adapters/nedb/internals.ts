import type { EventEmitter } from 'node:events'
import type { StoreCursor } from '../../src/store/adapter.ts'

/**
 * The parts of @seald-io/nedb that the adapter touches, described structurally: they are not in its own types, and a
 * fork with the same parts fits too.
 */
export type Doc = Record<string, unknown>
export type Query = Record<string, unknown>

export interface NedbIndex {
  readonly fieldName: string
  readonly unique: boolean
  readonly sparse: boolean
  insert(docs: Doc | Doc[]): void
  getMatching(value: unknown): Doc[]
  getAll(): Doc[]
  readonly tree: { getNumberOfKeys(): number }
}

export interface IndexOptions {
  fieldName: string
  unique?: boolean
  sparse?: boolean
  expireAfterSeconds?: number
}

export type Task = () => Promise<unknown>

export interface NedbExecutor {
  ready: boolean
  pushAsync(task: Task, forceQueuing?: boolean, mode?: 'exclusive' | 'shared'): Promise<unknown>
  processBuffer(): void
  resetBuffer(): void
}

export interface NedbPersistence {
  readonly modes: { fileMode: number; dirMode: number }
  readonly corruptAlertThreshold: number
  afterSerialization(line: string): Promise<string>
  beforeDeserialization(line: string): Promise<string>
  persistNewStateAsync(docs: Doc[]): Promise<void>
  /** @param ifStale of ours: only where the file has more than what is in memory */
  persistCachedDatabaseAsync(ifStale?: boolean): Promise<void>
  loadDatabaseAsync(): Promise<void>
  dropDatabaseAsync(): Promise<void>
}

export interface NedbCursor extends StoreCursor {
  readonly query: Query
  readonly mapFn?: ((docs: Doc[]) => unknown) | undefined
  readonly _sort: unknown
  readonly _skip: unknown
  _projection: unknown
  _project(docs: Doc[]): Doc[]
  execAsync(): Promise<unknown>
  _execAsync(): Promise<unknown>
}

export interface Nedb extends EventEmitter {
  readonly filename: string | null
  readonly inMemoryOnly: boolean
  readonly timestampData: boolean
  readonly executor: NedbExecutor
  readonly persistence: NedbPersistence
  indexes: Record<string, NedbIndex>
  ttlIndexes: Record<string, number>
  autoload: boolean
  autoloadPromise: Promise<void> | null
  _autocompactionIntervalId: NodeJS.Timeout | null
  getAllData(): Doc[]
  loadDatabaseAsync(): Promise<void>
  setAutocompactionInterval(interval: number): void
  stopAutocompaction(): void
  ensureIndexAsync(options: { fieldName: string | string[] } & Omit<IndexOptions, 'fieldName'>): Promise<void>
  removeIndexAsync(fieldName: string | string[]): Promise<void>
  findAsync(query: Query, projection?: unknown): NedbCursor
  findOneAsync(query: Query, projection?: unknown): NedbCursor
  countAsync(query: Query): NedbCursor
  insertAsync(docs: Doc | Doc[]): Promise<unknown>
  updateAsync(query: Query, update: Doc, options?: object): Promise<unknown>
  removeAsync(query: Query, options?: object): Promise<unknown>
  compactDatafile(callback?: (error: Error | null) => void): void
  compactDatafileAsync(): Promise<void>
  _createNewId(): string
  _insertAsync(docs: Doc | Doc[]): Promise<Doc | Doc[]>
  _removeAsync(query: Query, options: object): Promise<number>
  _updateAsync(query: Query, update: Doc, options: object): Promise<unknown>
  _resetIndexes(docs?: Doc[]): void
  _addToIndexes(doc: Doc): void
  _removeFromIndexes(doc: Doc): void
  _updateIndexes(oldDoc: Doc | { oldDoc: Doc; newDoc: Doc }[], newDoc?: Doc): void
  _getRawCandidates(query: Query): Doc[]
  _getCandidatesAsync(query: Query, dontExpireStaleDocs?: boolean): Promise<Doc[]>
}

export interface NedbModel {
  serialize(doc: unknown): string
  deserialize(line: string): unknown
  /** @throws where a field has a name that NeDB refuses */
  checkObject(doc: unknown): void
  match(doc: Doc, query: Query): boolean
  /** @throws for a modifier that does not fit */
  modify(doc: Doc, update: Doc): Doc
  deepCopy<T>(value: T): T
}

/** An index of NeDB's own class, which the library does not export. */
export function newIndex({ indexes }: Nedb, options: IndexOptions): NedbIndex {
  // No `?.` before the constructor: Bun 1.4 puts both into one expression, which it then refuses.
  const { constructor: Index } = indexes._id as NedbIndex
  return new (Index as new (options: IndexOptions) => NedbIndex)(options)
}

/** The prototype of the library itself, whatever classes were derived from it. */
export function vanillaPrototype(db: Nedb): Nedb {
  let vanilla = db
  for (let above: Nedb | null = db; above !== null; above = Object.getPrototypeOf(above) as Nedb | null) {
    if (Object.hasOwn(above, '_createNewId')) vanilla = above
  }
  return vanilla
}
