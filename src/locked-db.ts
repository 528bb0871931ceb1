import { requireFunction, requireKnown, requireObject, requirePath, show } from './arguments.ts'
import { type BackupSource, type Dumps, dumps, withoutFile } from './features/backup/dumps.ts'
import type { FileFormat } from './features/backup/file-format.ts'
import { journaled } from './features/backup/journal-format.ts'
import { inspectJsonLines, logFormat } from './features/backup/log-format.ts'
import { textFormat, unreadText } from './features/backup/text-format.ts'
import type { Hook } from './features/hooks/hook.ts'
import { Hooks } from './features/hooks/hooks.ts'
import { noTables, type StoreTables, storeTables } from './features/tables/tables.ts'
import { lockInternals, type PsLock } from './lock/lock.ts'
import { canonicalPath } from './lock/lock-file.ts'
import { type CloseOptions, removes } from './lock/options.ts'
import type { Lockable, LockedMembers, Reads } from './members.ts'
import type {
  Adapter,
  Call,
  ImageAdapter,
  LogAdapter,
  LogSession,
  MethodKind,
  Methods,
  TableStorage,
  TreeAdapter,
  TreeSession,
} from './store/adapter.ts'
import { JsonEngine } from './store/json/engine.ts'
import { LogEngine } from './store/log/log-engine.ts'
import {
  LOG_NAMES,
  type LogOptions,
  type OpenOptions,
  openLogOptions,
  openOptions,
  STORE_NAMES,
  type StoreOptions,
  TREE_NAMES,
  type TreeOptions,
} from './store/options.ts'
import { TextEngine } from './store/text/text-engine.ts'
import {
  memoryOnly,
  memoryOnlySync,
  syncTransactions,
  type TransactionsOf,
  transactions,
} from './store/transaction.ts'

export interface LockedDbOptions<A> extends StoreOptions {
  /** Describes the store: `lowdbAdapter`, `nedbAdapter`, `nedbPromisesAdapter`, or one of your own. */
  readonly adapter: A
  /** The data file. */
  readonly path: string
}

/** A store all of whose methods return promises. */
export type Promised<S> = {
  [K in keyof S]: S[K] extends (...args: infer P) => infer R ? (...args: P) => Promise<Awaited<R>> : S[K]
}

/** A store under its lock. @typeParam R the names of the members that it has in a view; all by default */
export type LockedDb<S extends object, R extends PropertyKey = PropertyKey> = Omit<S, keyof LockedMembers> &
  LockedMembers<Reads<Omit<S, keyof LockedMembers>, R>>

/** The names of the methods that are not known to write. */
type Readers<M extends Methods> = { [K in keyof M]: M[K] extends 'write' ? never : K }[keyof M]

interface LockedDbClass {
  /** The methods of an image store return promises from now on, since they wait for the lock. */
  new <S extends object, M extends Methods>(
    store: S,
    options: LockedDbOptions<ImageAdapter<S, M>>,
  ): LockedDb<Promised<S>, Readers<M>>
  new <S extends object, R extends PropertyKey>(
    store: S,
    options: LockedDbOptions<TreeAdapter<S, R>> & TreeOptions,
  ): LockedDb<S, R>
  new <S extends object, R extends PropertyKey>(
    store: S,
    options: LockedDbOptions<LogAdapter<S, R>> & LogOptions,
  ): LockedDb<S, R>
}

/** A store that is wired to its file and its lock. */
export interface Opened<S, Session> {
  readonly session: Session
  readonly members: OpenedMembers
  readonly tables: StoreTables<S>
}

/** Wires a log store to its file. The store object itself is used from then on. */
export function openLog<S extends object>(
  store: S,
  adapter: LogAdapter<S>,
  path: string,
  options: LogOptions,
): Opened<S, LogSession> {
  const real = canonicalPath(requirePath(path, 'path'))
  const opened = openLogOptions(real, options)
  const log = new LogEngine(real, opened, (session) => adapter.attach(store, session))
  const memory = log.start()
  const coder = async () => {
    await log.prepare()
    return memory.coder
  }
  const fileFormat = () => logFormat('log', memory.inspect ?? inspectJsonLines, coder)
  return { session: log, ...parts(real, opened, log, fileFormat, adapter.rows) }
}

/** Wires a tree store to its file. The store object itself is used from then on. */
export function openTree<S extends object>(
  store: S,
  adapter: TreeAdapter<S>,
  path: string,
  options: TreeOptions,
): Opened<S, TreeSession> {
  const real = canonicalPath(requirePath(path, 'path'))
  const { journal = false } = options
  if (typeof journal !== 'boolean') throw new TypeError(`journal must be a boolean, got ${show(journal)}`)
  const format = adapter.format(store)
  if (journal && format.io) {
    throw new TypeError(
      `journal: the store's own adapter writes ${real}, so there can be no journal beside it`,
    )
  }
  const opened = openOptions(real, options)
  const tree = new JsonEngine(real, opened, adapter.memory(store), format, journal)
  adapter.attach(store, tree)
  const fileFormat = () =>
    format.io ? unreadText(format.name) : journaled(textFormat(format.name, format.parse), format)
  return { session: tree, ...parts(real, opened, tree, fileFormat, adapter.rows) }
}

const KINDS: readonly MethodKind[] = ['write', 'read', 'free']

function openImage<S extends object>(
  store: S,
  adapter: ImageAdapter<S>,
  path: string,
  options: StoreOptions,
): object {
  requireFunction(adapter.load, 'adapter.load')
  requireFunction(adapter.save, 'adapter.save')
  requireObject(adapter.methods, 'adapter.methods')
  for (const [name, kind] of Object.entries(adapter.methods)) {
    if (!KINDS.includes(kind)) {
      throw new TypeError(`adapter.methods.${name} must be one of ${KINDS.join(', ')}, got ${show(kind)}`)
    }
  }
  const real = canonicalPath(requirePath(path, 'path'))
  const opened = openOptions(real, options)
  const image = new TextEngine(store, adapter, real, opened)
  // What its texts look like is known to the store alone, which is asked in `tryOn`.
  const fileFormat = () => textFormat(adapter.name, () => {})
  const doors = (proxy: object) => transactions(image.doors, () => proxy)
  return lockedProxy(store, { ...parts(real, opened, image, fileFormat, adapter.rows), doors }, (name) => {
    const kind = adapter.methods[name] ?? 'write'
    if (kind === 'free') return undefined
    return (run, call) => image.perform(kind === 'read' ? 'shared' : 'exclusive', run, call)
  })
}

function logProxy<S extends object>(
  store: S,
  adapter: LogAdapter<S>,
  { session, ...opened }: Opened<S, LogSession>,
): object {
  const kind = adapter.transacting?.(store, session) ?? session
  return lockedProxy(store, { ...opened, doors: (proxy) => transactions(kind, () => proxy) })
}

function treeProxy<S extends object>(
  store: S,
  adapter: TreeAdapter<S>,
  { session, ...opened }: Opened<S, TreeSession>,
): object {
  const doors = () => transactions(session, (memory) => adapter.withMemory(store, memory))
  return lockedProxy(store, { ...opened, doors })
}

interface Store extends BackupSource {
  /** Where it has blocking calls besides. @throws TransactionError inside one */
  requireOutside?(what: string): void
  close(): Promise<void>
}

function parts<S>(
  path: string,
  options: OpenOptions,
  store: Store,
  format: () => FileFormat,
  rows: TableStorage<S> | undefined,
): Omit<Opened<S, never>, 'session'> {
  const { lock } = options
  const tables = storeTables({ path, lock, queue: store.queue }, rows)
  let hooks: Hooks | undefined
  const members = {
    lock,
    ...dumps(path, options, store, format),
    use: (hook: Hook) => {
      hooks ??= new Hooks(lock, path)
      store.queue.observer = hooks
      return hooks.use(hook)
    },
    close: async (options: CloseOptions = {}) => {
      removes(options)
      // It would wait for whoever calls it.
      store.queue.requireOutside('close')
      store.requireOutside?.('close')
      lockInternals.requireNotInside(lock)
      try {
        await store.close()
      } finally {
        tables.close()
        await lock.close(options)
      }
    },
  }
  return { members, tables }
}

function open(store: object, given: LockedDbOptions<Adapter<object>>): object {
  requireObject(store, 'store')
  requireObject(given, 'options')
  const { adapter, path, ...options } = given
  switch (adapter?.family) {
    case 'log':
      requireKnown(options, LOG_NAMES)
      return logProxy(store, adapter, openLog(store, adapter, path, options))
    case 'tree':
      requireKnown(options, TREE_NAMES)
      return treeProxy(store, adapter, openTree(store, adapter, path, options))
    case 'image':
      requireKnown(options, STORE_NAMES)
      return openImage(store, adapter, path, options)
    default:
      throw new TypeError(`adapter must be a store adapter (an object with a family), got ${show(adapter)}`)
  }
}

/**
 * Any store under its lock. `new LockedDb(store, { adapter, path })` is the store with every method under the lock, and with
 * the members of `LockedMembers`. Each call works on the current state of the file, and is in the file entirely or not at
 * all. Use it instead of `store`: calls on `store` itself are not protected.
 *
 * Methods reject with the errors of `PsLock#exclusive`, CorruptStoreError, StoreIoError and the errors of the store.
 * @throws TypeError for wrong options
 */
export const LockedDb: LockedDbClass = function LockedDb(
  store: object,
  options: LockedDbOptions<Adapter<object>>,
): object {
  return open(store, options)
} as unknown as LockedDbClass

/** Those that a store has however its transactions are called. */
export interface OpenedMembers extends Dumps {
  readonly lock: PsLock
  use(hook: Hook): () => void
  close(options?: CloseOptions): Promise<void>
}

/** The members of one store object; what its methods are, the classes of the stores declare. */
export interface Members extends Omit<OpenedMembers, 'lock'> {
  readonly lock?: PsLock
  readonly transaction: unknown
  readonly view: unknown
  readonly rollbackAfter: unknown
  readonly table?: unknown
}

/** All of them, where its transactions are `doors`. */
export function allMembers<S>(
  members: OpenedMembers,
  tables: StoreTables<S>,
  doors: TransactionsOf<S>,
): Members {
  return { ...members, ...doors, table: (name: string) => tables(name, doors) }
}

/** Of a store without a file: there is no lock, and nothing that brings its memory back. */
const inMemory: Members = {
  ...transactions(memoryOnly, () => undefined),
  ...withoutFile,
  use: () => {
    throw new TypeError('a store in memory only has no hooks: give it a file')
  },
  table: noTables,
  close: async (options: CloseOptions = {}) => void removes(options),
}

export const inMemorySync: Members = { ...inMemory, ...syncTransactions(memoryOnlySync, () => undefined) }

const METHODS = ['transaction', 'view', 'rollbackAfter', 'dump', 'restore', 'use', 'close'] as const

// biome-ignore lint/suspicious/noExplicitAny: TypeScript asks this of the constructor of a mixin
type Class = abstract new (...args: any[]) => object

const given = new WeakMap<object, Members>()

/** Gives a store object of a class made by `withMembers` its members. */
export function giveMembers(store: object, members: Members): void {
  given.set(store, members)
}

/** A class of stores that have the members of a locked store: those that the object was given. */
export function withMembers<B extends Class>(Base: B): B {
  return mixed(Base, [...METHODS, 'table'])
}

/** As `withMembers`, for stores whose calls are synchronous. */
export function withSyncMembers<B extends Class>(Base: B): B {
  return mixed(Base, METHODS)
}

function mixed<B extends Class>(Base: B, methods: readonly (keyof Members)[]): B {
  abstract class WithMembers extends Base {
    get lock(): PsLock | undefined {
      return given.get(this)?.lock
    }

    // Its own `close`, which may be that of a subclass.
    async [Symbol.asyncDispose](): Promise<void> {
      await (this as unknown as Lockable).close()
    }
  }
  for (const name of methods) {
    Object.defineProperty(WithMembers.prototype, name, {
      configurable: true,
      writable: true,
      value(this: object, ...args: unknown[]) {
        const { [name]: method } = given.get(this) ?? inMemory
        return Reflect.apply(method as (...args: unknown[]) => unknown, undefined, args)
      },
    })
  }
  return WithMembers
}

/** What the proxy of a store adds to it. */
export interface Added {
  readonly members: OpenedMembers
  readonly tables: StoreTables<never>
  /** Its transactions, in which the callback is given `tx(proxy)`. */
  doors(proxy: object): TransactionsOf<object>
}

/** How calls of one method are run; undefined: as they are, without the lock. */
export type Locking = (name: string) => ((run: () => unknown, call: Call) => Promise<unknown>) | undefined

/**
 * The store with `lock` and `close` added and, where `locking` is given, its methods run under the lock. Members are
 * read from, and methods called on, the *real* store: a plain Proxy breaks classes with `#private` fields.
 */
function lockedProxy(store: object, { members, tables, doors }: Added, locking?: Locking): object {
  const added: Record<PropertyKey, unknown> = {
    [Symbol.asyncDispose]: members.close,
  }
  const methods = new Map<PropertyKey, unknown>()
  const proxy: object = new Proxy(store, {
    get(target, key) {
      if (Object.hasOwn(added, key)) return added[key]
      const value: unknown = Reflect.get(target, key, target)
      if (typeof value !== 'function' || key === 'constructor') return value
      // The same function each time, so that `db.find === db.find`.
      const known = methods.get(key) as { of: unknown; wrapped: unknown } | undefined
      if (known?.of === value) return known.wrapped
      const run = typeof key === 'string' ? locking?.(key) : undefined
      // A method that returns its store, for chaining, must not hand out a way past the lock.
      const guarded = (result: unknown) => (result === target ? proxy : result)
      const call = (args: unknown[]): unknown => Reflect.apply(value, target, args)
      const wrapped = run
        ? (...args: unknown[]) => run(() => call(args), { name: String(key), args }).then(guarded)
        : (...args: unknown[]) => guarded(call(args))
      methods.set(key, { of: value, wrapped })
      return wrapped
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
    has: (target, key) => Object.hasOwn(added, key) || Reflect.has(target, key),
  })
  Object.assign(added, allMembers(members, tables, doors(proxy) as TransactionsOf<never>))
  return proxy
}
