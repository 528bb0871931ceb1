import { requireKnown } from '../lock/option-names.ts'
import {
  type CloseOptions,
  removes,
  requireFunction,
  requireObject,
  requirePath,
  show,
} from '../lock/options.ts'
import { lockInternals, type PsLock } from '../lock/ps-lock.ts'
import { canonicalPath } from '../os/lock-file.ts'
import type {
  Adapter,
  ImageAdapter,
  LogAdapter,
  LogSession,
  MethodKind,
  Methods,
  TreeAdapter,
  TreeSession,
} from './adapter.ts'
import type { Copyable } from './dump/copyable.ts'
import { dumps } from './dump/dumps.ts'
import type { Hook } from './hooks/hook.ts'
import { ImageStore } from './image/image-store.ts'
import { JournalStore } from './journal/journal-store.ts'
import { LogStore } from './log/log-store.ts'
import type { LockedMembers, OpenedMembers } from './members.ts'
import {
  LOG_NAMES,
  type LogOptions,
  openLogOptions,
  openOptions,
  STORE_NAMES,
  type StoreOptions,
  TREE_NAMES,
  type TreeOptions,
} from './options.ts'
import { lockedProxy } from './proxy.ts'
import type { OperationQueue } from './queue/operation-queue.ts'
import type { Reads } from './read-only.ts'
import type { TableRows } from './table/rows.ts'
import { type StoreTables, storeTables } from './table/tables.ts'
import { transactions } from './transaction.ts'
import { TreeStore } from './tree/tree-store.ts'

export interface LockedDbOptions<A> extends StoreOptions {
  /** What the store is: `lowdbAdapter`, `nedbAdapter`, `nedbPromisesAdapter`, or one of your own. */
  readonly adapter: A
  /** The data file. */
  readonly path: string
}

/** A store all of whose methods return promises. */
export type Promised<S> = {
  [K in keyof S]: S[K] extends (...args: infer P) => infer R ? (...args: P) => Promise<Awaited<R>> : S[K]
}

/** A store under its lock. @typeParam R the members that it has in a view: by default all */
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
  const log = new LogStore(real, opened, (session) => adapter.attach(store, session))
  log.start()
  return { session: log, ...parts(real, opened.lock, log, adapter.rows) }
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
  const tree = new (journal ? JournalStore : TreeStore)(real, opened, adapter.memory(store), format)
  adapter.attach(store, tree)
  return { session: tree, ...parts(real, opened.lock, tree, adapter.rows) }
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
  const image = new ImageStore(store, adapter, real, opened)
  const doors = (proxy: object) => transactions(image.doors, () => proxy)
  return lockedProxy(store, { ...parts(real, opened.lock, image, adapter.rows), doors }, (name) => {
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

interface Store {
  readonly queue: OperationQueue
  /** Where it has blocking calls besides. @throws TransactionError inside one */
  requireOutside?(what: string): void
  readonly copyable: Copyable
  close(): Promise<void>
}

function parts<S>(
  path: string,
  lock: PsLock,
  store: Store,
  rows: TableRows<S> | undefined,
): Omit<Opened<S, never>, 'session'> {
  const tables = storeTables({ path, lock, queue: store.queue }, rows)
  const members = {
    lock,
    ...dumps(store.copyable),
    use: (hook: Hook) => store.queue.hooks.use(hook),
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
 * Any store, under its lock: `new LockedDb(store, { adapter, path })` is the store, with every method locked, fresh and
 * all or nothing, plus `lock` and `close()`. Use it instead of `store`; what goes past it is not protected.
 * @throws TypeError for wrong options; methods reject with the errors of `PsLock#exclusive`, CorruptStoreError and
 * StoreIoError besides the store's own
 */
export const LockedDb: LockedDbClass = function LockedDb(
  store: object,
  options: LockedDbOptions<Adapter<object>>,
): object {
  return open(store, options)
} as unknown as LockedDbClass
