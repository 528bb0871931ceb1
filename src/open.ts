import { resolve } from 'node:path'
import { requireBoolean, requireFunction, requireKnown, requireObject, show } from './arguments.ts'
import { ClosedError, StoreIoError, TransactionError } from './errors.ts'
import {
  DUMP_NAMES,
  dump,
  readStore,
  restore,
  type StoreElsewhere,
  type StoreFile,
} from './features/backup/backup.ts'
import type { FileFormat } from './features/backup/format.ts'
import { journaled, textFormat, unreadText } from './features/backup/json-format.ts'
import { inspectJsonLines, logFormat } from './features/backup/log-format.ts'
import { type Hook, Hooks } from './features/hooks/hooks.ts'
import { openStage, type StageOptions } from './features/stages/stage.ts'
import { type StageCriteria, type StageParts, Stages } from './features/stages/stages.ts'
import { NotedTables } from './features/tables/noted-tables.ts'
import { StoreTable } from './features/tables/table.ts'
import { FileTables, type Tables } from './features/tables/tables.ts'
import { lockInternals, type PsLock } from './lock/lock.ts'
import { type CloseOptions, removes } from './lock/options.ts'
import type { Dumps } from './members.ts'
import { type OpenServerOptions, openServerOptions } from './postgres/server/url.ts'
import { RowStorage } from './postgres/store/row-storage.ts'
import { PgText } from './postgres/store/text-storage.ts'
import { PgTree } from './postgres/store/tree-storage.ts'
import type {
  ImageAdapter,
  LogAdapter,
  LogSession,
  MethodKind,
  Staging,
  TableStorage,
  TreeAdapter,
  TreeFormat,
  TreeMemory,
  TreeSession,
} from './store/adapter.ts'
import { FileStoreLock } from './store/data-file.ts'
import type { Notes } from './store/engine.ts'
import { JsonEngine } from './store/json/engine.ts'
import { JournaledFile } from './store/json/journaled-file.ts'
import { FileStorage } from './store/log/file-storage.ts'
import { LogEngine } from './store/log/log-engine.ts'
import {
  type Durability,
  type LogOptions,
  openLogOptions,
  openOptions,
  type ServerOptions,
  type StoreOptions,
  type TreeOptions,
} from './store/options.ts'
import type { Pipeline } from './store/pipeline.ts'
import type { Snapshot, Source } from './store/snapshot.ts'
import { TextFileStorage } from './store/text/file-storage.ts'
import { TextEngine } from './store/text/text-engine.ts'
import { syncTransactions, type TransactionsOf, transactions } from './store/transaction.ts'

/** Opens a store: an engine on its file, and the members that every locked store gets besides its own. */

const METHODS = ['transaction', 'view', 'rollbackAfter', 'dump', 'restore', 'use', 'close'] as const

/** Those that a store whose calls are synchronous does not have. */
const WAITING_METHODS = ['table', 'stage'] as const

/** The members of one store object; what their types are, the classes of the stores declare. */
export type Members = { readonly lock?: PsLock; readonly stages: object } & {
  readonly [K in (typeof METHODS)[number] | (typeof WAITING_METHODS)[number]]: (...args: never[]) => unknown
}

/** A store that is wired to its file and its lock. */
export interface Opened<Session> {
  readonly session: Session
  /** @param self what the callback of a transaction is given, where memory is in the store itself */
  members(self: object): Members
}

/**
 * Wires a log store to its file, or to the server that it is kept on. The store object itself is used from then on.
 * @param path of the file
 */
export function openLog<S extends object>(
  store: S,
  adapter: LogAdapter<S>,
  path: string | undefined,
  options: LogOptions,
): Opened<LogSession> {
  const opened = options.url === undefined ? openLogOptions(path, options) : openServerOptions('log', options)
  const storage = 'address' in opened ? new RowStorage(opened) : new FileStorage(opened)
  const log = new LogEngine(storage, (session) => adapter.attach(store, session))
  const memory = log.start()
  const coder = async () => {
    await log.prepare()
    return memory.coder
  }
  const format = () => logFormat('log', memory.inspect ?? inspectJsonLines, coder)
  return {
    session: log,
    members(self) {
      const verbs = transactions(adapter.transacting?.(store, log) ?? log, () => self as S)
      const { rows, staging } = adapter
      const declared = {
        rows,
        staging: staging && stagingOf(store, staging),
        isCoded: async () => !!(await coder()),
      }
      return membersOf(opened, log, format, verbs, declared)
    },
  }
}

/** What has changed is known by the store itself, which need not be what the callback of a transaction is given. */
function stagingOf<S>(store: S, staging: Staging<S>): Staging<S> {
  if (staging.kind !== 'documents') return staging
  return { ...staging, changed: (_, run) => staging.changed(store, run) }
}

/** A store whose memory is a tree has blocking calls, too. */
export interface OpenedTree extends Opened<TreeSession> {
  /** As `members`, where the store's calls are synchronous. */
  syncMembers(): Members
}

/**
 * Wires a tree store to its file, or to the server that it is kept on. The store object itself is used from then on.
 * @param path of the file
 */
export function openTree<S extends object>(
  store: S,
  adapter: TreeAdapter<S>,
  path: string | undefined,
  options: TreeOptions,
): OpenedTree {
  const tree = adapter.format(store)
  const { engine, place } =
    options.url === undefined
      ? treeInFile(adapter.memory(store), tree, path, options)
      : treeOnServer(adapter.memory(store), tree, options)
  adapter.attach(store, engine)
  // On a server the store's own way to write is not asked.
  const isUnread = tree.io !== undefined && options.url === undefined
  const format = () => (isUnread ? unreadText(tree.name) : journaled(textFormat(tree.name, tree.parse), tree))
  const tx = (memory: TreeMemory) => adapter.withMemory(store, memory)
  return {
    session: engine,
    members: () => {
      const declared = { rows: adapter.rows, staging: adapter.staging, isCoded: async () => isUnread }
      return membersOf(place, engine, format, transactions(engine, tx), declared)
    },
    syncMembers: () => ({ ...membersOf(place, engine, format), ...syncTransactions(engine.blocking, tx) }),
  }
}

/** An engine, and where its store is. */
interface TreePlace {
  readonly engine: JsonEngine
  readonly place: Place
}

function treeInFile(
  memory: TreeMemory,
  tree: TreeFormat,
  path: string | undefined,
  options: TreeOptions,
): TreePlace {
  const { journal = false } = options
  requireBoolean(journal, 'journal')
  const opened = openOptions(path, options)
  const { lock, timeoutMs, durability } = opened
  if (journal && tree.io) {
    throw new TypeError(
      `journal: the store's own adapter writes ${opened.path}, so there can be no journal beside it`,
    )
  }
  const how = { durable: durability === 'disk', keepsJournal: journal, timeoutMs }
  const storage = new JournaledFile(opened.path, tree, how)
  return { engine: new JsonEngine(storage, new FileStoreLock(lock), memory, tree, lock), place: opened }
}

/** Its text is written there, and not by whatever the store itself would write it with. */
function treeOnServer(memory: TreeMemory, tree: TreeFormat, options: TreeOptions): TreePlace {
  const opened = openServerOptions('tree', options)
  const storage = new PgTree(opened, tree)
  return { engine: new JsonEngine(storage, storage.lock, memory, tree), place: opened }
}

const KINDS: readonly MethodKind[] = ['write', 'read', 'free']

/**
 * Wires a store whose content is one text to its file, or to the server that it is kept on.
 * @param path of the file
 */
export function openText<S extends object>(
  store: S,
  adapter: ImageAdapter<S>,
  path: string | undefined,
  options: StoreOptions & ServerOptions,
): Opened<TextEngine<S>> {
  requireFunction(adapter.load, 'adapter.load')
  requireFunction(adapter.save, 'adapter.save')
  requireObject(adapter.methods, 'adapter.methods')
  for (const [name, kind] of Object.entries(adapter.methods)) {
    if (!KINDS.includes(kind)) {
      throw new TypeError(`adapter.methods.${name} must be one of ${KINDS.join(', ')}, got ${show(kind)}`)
    }
  }
  const opened = options.url === undefined ? openOptions(path, options) : openServerOptions('image', options)
  const storage = 'address' in opened ? new PgText(opened) : new TextFileStorage(opened)
  const text = new TextEngine(store, adapter, storage)
  // What its texts look like is known to the store alone, which is asked in `tryOn`.
  const format = () => textFormat(adapter.name, () => {})
  return {
    session: text,
    members(self) {
      const verbs = transactions(text.transacting, () => self as S)
      return membersOf(opened, text, format, verbs, adapter)
    },
  }
}

/** Where a store is, and how it waits. Without a lock it is on a server. */
interface Place {
  /** The data file, or what is shown of the address on a server. */
  readonly path: string
  readonly lock?: PsLock
  readonly lockPath?: string | undefined
  readonly timeoutMs: number
  readonly durability: Durability
  /** On a server. */
  readonly address?: OpenServerOptions['address']
}

/** What every engine gives for the members of its store; what it leaves out is done as its file format says. */
interface OpenEngine {
  readonly queue: Pipeline
  /** All of the store at one moment, read under the shared lock. @throws StoreIoError where there is no file */
  readonly snapshot?: (() => Promise<Snapshot>) | undefined
  /** Makes memory equal to the file. */
  reload?(): Promise<void>
  /** Where the store is in no file: replaces all of it by the content of one. */
  readonly replace?: ((content: Source) => Promise<void>) | undefined
  readonly notes?: Notes | undefined
  /** Called before a restore with the new content. @throws where the store could not load it */
  tryOn?(content: Source): Promise<void>
  /** Where it has blocking calls besides. @throws TransactionError inside one */
  requireOutside?(what: string): void
  close(): Promise<void>
}

/**
 * What every locked store gets besides its own members.
 * @param format asked when it is needed: few programs load what is behind it
 * @param verbs its transactions; without them there are no tables
 */
function membersOf<S>(
  options: Place,
  engine: OpenEngine,
  format: () => FileFormat,
  verbs?: TransactionsOf<S>,
  { rows: storage, staging, isCoded }: Declared<S> = {},
): Members {
  const { path, lock } = options
  const { queue } = engine
  let hooks: Hooks | undefined
  let tables: Tables<S> | undefined
  let stages: Stages<S> | undefined
  let isClosed = false
  const tablesOf = () => {
    if (!verbs || !storage)
      throw new TypeError(`the adapter of ${path} declares no rows, so there are no tables in it`)
    const parts = { path, queue, storage, transactions: verbs }
    if (lock) tables ??= new FileTables(parts, lock)
    else if (engine.notes) tables ??= new NotedTables(parts, engine.notes)
    else throw new TypeError(`${path}: a store of this kind has no tables on a server`)
    return tables
  }
  const stagesOf = () => {
    if (stages) return stages
    if (!verbs || !storage || !staging)
      throw new TypeError(`the adapter of ${path} does not declare how edits are staged (rows and staging)`)
    if (isClosed) throw new ClosedError(`${path} is closed, and so are its stages.`, { path })
    const parts = { path, staging, rows: storage, transactions: verbs, tables: tablesOf() }
    stages = new Stages({ ...parts, ...stageStorage(options) })
    return stages
  }
  return {
    ...(lock && { lock }),
    ...(verbs as TransactionsOf<S>),
    ...dumps(options, engine, format),
    use(hook: Hook) {
      hooks ??= new Hooks(queue.lock, path)
      queue.observer = hooks
      return hooks.use(hook)
    },
    table: (name: string) => new StoreTable(name, tablesOf()),
    async stage(id: string, options?: StageOptions) {
      const opened = stagesOf()
      if (await isCoded?.()) {
        throw new TypeError(
          `the records of ${path} are written in a form of their own (serialization hooks, an adapter of lowdb's own), perhaps ` +
            'encrypted. What is staged would be in clear text beside them, so there are no stages.',
        )
      }
      return openStage(opened, id, options)
    },
    stages: {
      list: async (criteria?: StageCriteria) => stagesOf().list(criteria),
      stats: async () => stagesOf().stats(),
    },
    async close(options: CloseOptions = {}) {
      removes(options)
      // It would wait for whoever calls it.
      queue.requireOutside('close')
      engine.requireOutside?.('close')
      if (lock) lockInternals.requireNotInside(lock)
      isClosed = true
      try {
        await engine.close()
      } finally {
        tables?.schemas.close()
        await stages?.close(options)
        await lock?.close(options)
      }
    },
  }
}

/** What an adapter declares besides. */
interface Declared<S> {
  readonly rows?: TableStorage<S> | undefined
  readonly staging?: Staging<S> | undefined
  /** Whether what is written is not what others could read. */
  readonly isCoded?: () => Promise<boolean>
}

/** The stages are beside the store: in a file, or a store on the same server. */
function stageStorage({
  path,
  lockPath,
  timeoutMs,
  durability,
  address,
}: Place): Pick<StageParts<unknown>, 'storage' | 'lock'> {
  const how = { timeoutMs, durability }
  if (address) {
    const { secretUrl: url, name } = address
    const opened = openServerOptions('log', { ...how, url, name: `${name}.stages` })
    return { storage: new RowStorage(opened), lock: undefined }
  }
  const own = lockPath === undefined ? undefined : `${lockPath}.stages`
  const opened = openLogOptions(`${path}.stages`, { ...how, lockPath: own })
  return { storage: new FileStorage(opened), lock: opened.lock }
}

const STEP = { isInternal: true }

function dumps({ path, lock, timeoutMs }: Place, engine: OpenEngine, formatOf: () => FileFormat): Dumps {
  const { queue } = engine
  const contentOf = (): StoreFile | StoreElsewhere => {
    const format = formatOf()
    const read = () => queue.push('shared', () => readStore(path, format), { ...STEP, kind: 'transaction' })
    const content = {
      path,
      format,
      read: () => engine.snapshot?.() ?? read(),
      tryOn: async (content: Source) => engine.tryOn?.(content),
    }
    if (lock) return { ...content, lock, timeoutMs }
    if (!engine.replace)
      throw new TypeError(`${path}: a store of this kind cannot be dumped or restored on a server`)
    return { ...content, replace: engine.replace }
  }
  return {
    dump: async (to, options) => {
      requireKnown(options, DUMP_NAMES)
      const target = resolved(to)
      const call = { name: 'dump', args: [to, options] }
      return queue.beside('shared', call, () => dump(contentOf(), target, options))
    },
    restore: (from) => {
      const origin = resolved(from)
      return queue.beside('exclusive', { name: 'restore', args: [from] }, async () => {
        await restore(contentOf(), origin)
        await (engine.reload?.() ?? queue.push('shared', () => {}, STEP))
      })
    },
  }
}

/** Hooks may keep it waiting, and a chdir meanwhile must not make it another file. What is no path is refused later. */
function resolved(path: string): string {
  return typeof path === 'string' && path !== '' ? resolve(path) : path
}

const withoutFile = { path: ':memory:' }

function noTransactions(): never {
  throw new TransactionError('a store in memory only has no transactions: give it a file', withoutFile)
}

async function noDumps(): Promise<never> {
  throw new StoreIoError('a store in memory only has no file that could be dumped or restored', withoutFile)
}

async function noStages(): Promise<never> {
  throw new TransactionError('a store in memory only has no stages: give it a file', withoutFile)
}

/** Of a store without a file: there is no lock, and nothing that brings its memory back. */
const inMemory: Members = {
  ...transactions({ transact: noTransactions, look: noTransactions }, noTransactions),
  dump: noDumps,
  restore: noDumps,
  use: () => {
    throw new TypeError('a store in memory only has no hooks: give it a file')
  },
  table: () => {
    throw new TransactionError('a store in memory only has no tables: give it a file', withoutFile)
  },
  stage: noStages,
  stages: { list: noStages, stats: noStages },
  close: async (options = {}) => void removes(options),
}

export const inMemorySync: Members = {
  ...inMemory,
  ...syncTransactions({ edit: noTransactions, view: noTransactions }, noTransactions),
}

// biome-ignore lint/suspicious/noExplicitAny: TypeScript asks this of the constructor of a mixin
type Class = abstract new (...args: any[]) => object

const given = new WeakMap<object, Members>()

/** Gives a store object of a class made by `withMembers` its members. */
export function giveMembers(store: object, members: Members): void {
  given.set(store, members)
}

/** A class of stores that have the members of a locked store: those that the object was given. */
export function withMembers<B extends Class>(Base: B): B {
  const Mixed = mixed(Base, [...METHODS, ...WAITING_METHODS])
  Object.defineProperty(Mixed.prototype, 'stages', {
    configurable: true,
    get(this: object) {
      return (given.get(this) ?? inMemory).stages
    },
  })
  return Mixed
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
      await (this as unknown as Members).close()
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
