import type { PathLike } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Adapter, type Low, LowSync } from 'lowdb'
import { JSONFile as VanillaJSONFile, JSONFileSync as VanillaJSONFileSync } from 'lowdb/node'
import { requireFunction, requireKnown, requirePath, show } from '../../src/arguments.ts'
import { type OpenedTree, openTree } from '../../src/open.ts'
import type {
  BlockingTreeSession,
  StoredRecord,
  TableStorage,
  TreeAdapter,
  TreeMemory,
  TreeSession,
} from '../../src/store/adapter.ts'
import { cloneTree, getOwn, isObject, patch, type TreeObject } from '../../src/store/json/values.ts'
import { MARKS } from '../../src/store/marks.ts'
import {
  isOnServer,
  type ServerOptions,
  type StoreOptions,
  TREE_NAMES,
  type TreeOptions,
} from '../../src/store/options.ts'
import { JSON_FORMAT } from './format.ts'

/** A file name in any of the forms that `fs` takes. */
function pathOf(filename: PathLike): string {
  return isUrl(filename) ? fileURLToPath(filename) : String(filename)
}

/** A URL of any context. */
function isUrl(value: unknown): value is URL {
  const { href, protocol } = (value ?? {}) as Partial<URL>
  return typeof value === 'object' && typeof href === 'string' && typeof protocol === 'string'
}

/** lowdb's `JSONFile` with a public `path`, which is resolved when it is made. */
export class JSONFile<T> extends VanillaJSONFile<T> {
  readonly path: string
  constructor(filename: PathLike) {
    const path = resolve(requirePath(pathOf(filename), 'path'))
    super(path)
    this.path = path
  }
}

/** lowdb's `JSONFileSync` with a public `path`, which is resolved when it is made. */
export class JSONFileSync<T> extends VanillaJSONFileSync<T> {
  readonly path: string
  constructor(filename: PathLike) {
    const path = resolve(requirePath(pathOf(filename), 'path'))
    super(path)
    this.path = path
  }
}

type AnyLow = Low<unknown> | LowSync<unknown>

// biome-ignore-start lint/suspicious/noExplicitAny: a store of whatever data, which would else be of no other type than itself
/** Either of the two classes. */
export type LowdbAdapter = TreeAdapter<Low<any>, LowReads> & TreeAdapter<LowSync<any>, LowReads>
// biome-ignore-end lint/suspicious/noExplicitAny: as above

/** What only looks at the store. */
export type LowReads = 'data' | 'read'

/** A table is an array of records in `db.data`, under its name. */
const tables: TableStorage<AnyLow> = {
  read: ({ data }, table) => getOwn(rootOf(data), table),
  insert: ({ data }, table, records) => {
    const root = rootOf(data)
    if (!Object.hasOwn(root, table)) root[table] = []
    const all = recordsOf(root, table)
    for (const record of records) all.push(record)
  },
  replace: ({ data }, table, records) => {
    const next = new Map(records.map((record) => [record._id, record]))
    const all = recordsOf(rootOf(data), table)
    for (const [index, { _id }] of all.entries()) all[index] = next.get(_id) ?? (all[index] as StoredRecord)
  },
  remove: ({ data }, table, ids) => {
    const gone = new Set(ids)
    const root = rootOf(data)
    root[table] = recordsOf(root, table).filter(({ _id }) => !gone.has(_id))
  },
  drop: ({ data }, table) => {
    delete rootOf(data)[table]
  },
}

/** `lowdb`: one JSON tree, `db.data`, that its users edit directly. */
const adapter: TreeAdapter<AnyLow, LowReads> = {
  family: 'tree',
  name: 'lowdb',
  memory: ({ data }) => ({
    get: () => data,
    set: (tree) => {
      data = tree
    },
  }),
  format: ({ adapter }) =>
    adapter instanceof JSONFile || adapter instanceof JSONFileSync || adapter instanceof OnServer
      ? JSON_FORMAT
      : { ...JSON_FORMAT, io: adapter },
  rows: tables,
  staging: {
    kind: 'tree',
    read: ({ data }) => data,
    write: (low, tree) => {
      // In place: a journal then gets only what is another now.
      const patched = patch(low.data, tree)
      if (patched !== low.data) low.data = patched
    },
    edits: { update: ({ data }, edit: Edit) => edit(data) },
    looks: {
      read: ({ data }) => {
        const copy = cloneTree(data)
        if (isObject(copy)) delete copy[MARKS]
        return copy
      },
    },
  },
  withMemory: (low, memory) => withCopy(low, memory),
  attach(low, session) {
    followCopy(low, session)
    const calls = low instanceof LowSync ? blockingCalls(session) : waitingCalls(session)
    for (const [name, value] of Object.entries(calls))
      Object.defineProperty(low, name, { value, configurable: true })
  },
}

export const lowdbAdapter: LowdbAdapter = adapter as LowdbAdapter

const waitingCalls = (session: TreeSession) => ({
  read: () => session.read(),
  write: () => session.write(),
  update: async (edit: Edit) => session.update(edit),
})

/** @throws TypeError where the store has none */
const blockingCalls = ({ blocking }: TreeSession) => ({
  read: () => blocking.read(),
  write: () => blocking.write(),
  update: (edit: Edit) => updateSync(blocking, edit),
})

/** `db.data` inside an update or a transaction is what that one works on: code under it need not know. */
function followCopy(low: AnyLow, session: TreeSession): void {
  Object.defineProperty(low, 'data', {
    get: () => session.memory.get(),
    set: (tree: unknown) => session.memory.set(tree),
    enumerable: true,
    configurable: true,
  })
}

/** The store with another `data`. Methods are called on the real one, which has private fields. */
function withCopy<L extends AnyLow>(low: L, memory: TreeMemory): L {
  return new Proxy(low, {
    get(target, key) {
      if (key === 'data') return memory.get()
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' && key !== 'constructor' ? value.bind(target) : value
    },
    set(target, key, value) {
      if (key === 'data') memory.set(value)
      else Reflect.set(target, key, value, target)
      return true
    },
  })
}

export type Edit = (data: unknown) => unknown

export function updateSync(blocking: BlockingTreeSession, edit: Edit): void {
  requireFunction(edit, 'update(fn): fn')
  blocking.edit((memory) => edit(memory.get()), {}, { name: 'update', args: [edit] })
}

/** lowdb's adapter with the path of its file, which the lock needs. */
export type WithPath<A> = A & { readonly path?: string | undefined }

export function isPath(target: unknown): target is string | URL {
  return typeof target === 'string' || isUrl(target)
}

/** A store on a server: its address, and the options that such a store has. */
export interface LowOnServer extends ServerOptions, Pick<StoreOptions, 'timeoutMs' | 'durability'> {
  readonly url: string | URL
}

/** What a store is made of. */
export type LowTarget<A> = string | URL | LowOnServer | WithPath<A>

/** Which target has an address: an adapter of lowdb's may have a `url` of its own. */
function isServer(target: unknown): target is LowOnServer {
  const { url, read } = (target ?? {}) as { url?: unknown; read?: unknown }
  return typeof target === 'object' && !isUrl(target) && url !== undefined && typeof read !== 'function'
}

/**
 * The options of a store on a server, with those that its address was given with; undefined for one in a file, or in memory.
 * @throws TypeError for options that do not go together
 */
export function serverOptions(target: unknown, options: TreeOptions): TreeOptions | undefined {
  if (!isServer(target)) {
    // It is not shown: there may be a password in it.
    if (isPath(target) && /^postgres(ql)?:/i.test(String(target)))
      throw new TypeError('the url of a server is an option: give { url, name } instead of a path')
    isOnServer(options, { name: 'a path or an adapter', value: target })
    return undefined
  }
  const { path, ...given } = target as LowOnServer & { path?: unknown }
  isOnServer(given, { name: 'path', value: path })
  requireKnown(given, TREE_NAMES)
  const all = { ...options, ...given }
  isOnServer(all, { name: 'path', value: path })
  return all
}

/** @throws TypeError for a store on a server */
export function refuseServer(target: unknown, options: TreeOptions): void {
  if (!serverOptions(target, options)) return
  throw new TypeError(
    'a store whose calls are synchronous cannot be on a server, since a network cannot answer at once: use LockedLow, or LockedJSONFilePreset',
  )
}

/** In the place of lowdb's adapter, which nobody asks: the store is read and written by pslock, on a server. */
export class OnServer<T> implements Adapter<T> {
  async read(): Promise<T | null> {
    throw new TypeError('this store is on a server: read it by its own methods')
  }

  async write(): Promise<void> {
    throw new TypeError('this store is on a server: change it by update() or transaction()')
  }
}

export function openLow(
  low: AnyLow,
  InMemory: new () => object,
  options: TreeOptions,
): OpenedTree | undefined {
  const { adapter: own } = low
  if (own instanceof InMemory) return undefined
  const how = { ...adapter, attach: followCopy }
  if (own instanceof OnServer) return openTree(low, how, undefined, options)
  const path: unknown = 'path' in own ? own.path : undefined
  if (typeof path !== 'string' && !isUrl(path)) {
    throw new TypeError(
      `a locked lowdb store must know its file: pass a path, or an adapter with a path property such as the JSONFile of ` +
        `'pslock/lowdb' (lowdb's own hides it). Got ${show(own)}`,
    )
  }
  return openTree(low, how, pathOf(path), options)
}

function rootOf(data: unknown): TreeObject {
  if (isObject(data)) return data
  throw new TypeError(
    `tables and stages need an object as the data of a lowdb store: its default data must be one, got ${show(data)}`,
  )
}

function recordsOf(root: TreeObject, table: string): StoredRecord[] {
  const records = root[table]
  if (Array.isArray(records)) return records as StoredRecord[]
  throw new TypeError(`data.${table} is no array, so it holds no records of a table`)
}
