import type { PathLike } from 'node:fs'
import { type Adapter, Low, LowSync, Memory, MemorySync, type SyncAdapter } from 'lowdb'
import type {
  BlockingTreeSession,
  TreeAdapter,
  TreeFormat,
  TreeMemory,
  TreeSession,
} from '../src/db/adapter.ts'
import { type LockedMembers, openTree } from '../src/db/locked-db.ts'
import type { StoreOptions } from '../src/db/options.ts'
import {
  memoryOnly,
  memoryOnlySync,
  type SyncTransactionsOf,
  syncTransactions,
  type TransactionOptions,
  type TransactionsOf,
  transactions,
} from '../src/db/transaction.ts'
import { type AcquireOptions, requireFunction, show } from '../src/lock/options.ts'
import type { PsLock } from '../src/lock/ps-lock.ts'
import { JSONFile, JSONFileSync, pathOf } from './lowdb/json-file.ts'

export { JSONFile, JSONFileSync }

type OpenedLow = ReturnType<typeof openTree>
type AnyLow = Low<unknown> | LowSync<unknown>

const JSON_FORMAT: TreeFormat = {
  name: 'JSON',
  parse: (text) => JSON.parse(text) as unknown,
  // As lowdb writes it.
  stringify: (tree) => JSON.stringify(tree, null, 2),
}

/** `lowdb`: one JSON tree, `db.data`, that its users edit directly. */
export const lowdbAdapter: TreeAdapter<AnyLow> = {
  family: 'tree',
  name: 'lowdb',
  memory: ({ data }) => ({
    get: () => data,
    set: (tree) => {
      data = tree
    },
  }),
  format: ({ adapter }) =>
    adapter instanceof JSONFile || adapter instanceof JSONFileSync
      ? JSON_FORMAT
      : { ...JSON_FORMAT, io: adapter },
  withMemory: (low, memory) => onDraft(low, memory),
  attach(low, session) {
    followDraft(low, session)
    const calls = low instanceof LowSync ? syncCalls(session) : asyncCalls(session)
    for (const [name, value] of Object.entries(calls))
      Object.defineProperty(low, name, { value, configurable: true })
  },
}

/** `db.data` inside an update or a transaction is what that one works on: code under it need not know. */
function followDraft(low: AnyLow, session: TreeSession): void {
  Object.defineProperty(low, 'data', {
    get: () => session.memory.get(),
    set: (tree: unknown) => session.memory.set(tree),
    enumerable: true,
    configurable: true,
  })
}

/** The store with another `data`. Methods are called on the real one, which has private fields. */
function onDraft<L extends AnyLow>(low: L, memory: TreeMemory): L {
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

type Edit = (data: unknown) => unknown

function asyncCalls(session: TreeSession): Pick<Low<unknown>, 'read' | 'write' | 'update'> {
  return {
    read: () => session.read(),
    write: () => session.write(),
    update: async (edit: Edit) => session.update(edit),
  }
}

function syncCalls({ blocking }: TreeSession): Pick<LowSync<unknown>, 'read' | 'write' | 'update'> {
  return {
    read: () => blocking.read(),
    write: () => blocking.write(),
    update: (edit: Edit) => updateSync(blocking, edit),
  }
}

function updateSync(blocking: BlockingTreeSession, edit: Edit): void {
  requireFunction(edit, 'update(fn): fn')
  blocking.edit((memory) => edit(memory.get()), {})
}

/** lowdb's adapter with the path of its file, which the lock needs. */
type WithPath<A> = A & { readonly path?: string | undefined }

/**
 * Swap it for `Low`: `new LockedLow(path or adapter, defaultData)`. `update(fn)` works on the file's present state and
 * awaits `fn`; a throw leaves memory and file untouched. A bare `db.data.x = 1; await db.write()` merges with what
 * others wrote, or throws StaleWriteError.
 * @throws TypeError for an adapter without `path` (use the `JSONFile` of this module, or add the property); `Memory`
 * works as before
 */
export class LockedLow<T = unknown> extends Low<T> implements LockedMembers {
  readonly lock!: PsLock
  readonly #opened: OpenedLow | undefined

  constructor(target: string | URL | WithPath<Adapter<T>>, defaultData: T, options: StoreOptions = {}) {
    super(isPath(target) ? new JSONFile<T>(target) : target, defaultData)
    this.#opened = openLow(this as Low<unknown>, Memory, options)
    if (this.#opened) this.lock = this.#opened.lock
  }

  override async read(): Promise<void> {
    return this.#opened ? this.#opened.session.read() : super.read()
  }

  override async write(): Promise<void> {
    return this.#opened ? this.#opened.session.write() : super.write()
  }

  override async update(edit: (data: T) => unknown): Promise<void> {
    return this.#opened ? this.#opened.session.update(edit as Edit) : super.update(edit)
  }

  transaction<R>(run: (tx: this) => R, options?: TransactionOptions): Promise<Awaited<R>> {
    return this.#doors.transaction(run, options)
  }

  view<R>(run: (tx: this) => R, options?: AcquireOptions): Promise<Awaited<R>> {
    return this.#doors.view(run, options)
  }

  rollbackAfter<R>(run: (tx: this) => R, options?: AcquireOptions): Promise<Awaited<R>> {
    return this.#doors.rollbackAfter(run, options)
  }

  get #doors(): TransactionsOf<this> {
    return transactions(
      this.#opened?.session ?? memoryOnly,
      (memory) => onDraft(this as Low<unknown>, memory) as this,
    )
  }

  async close(): Promise<void> {
    await this.#opened?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/**
 * Swap it for `LowSync`; see `LockedLow`. It blocks the thread while it waits, for `timeoutMs` at most. `transaction`,
 * `view` and `rollbackAfter` are as those of `LockedLow`, but return at once what the callback returns, which must not be
 * a promise.
 */
export class LockedLowSync<T = unknown> extends LowSync<T> {
  readonly lock!: PsLock
  readonly #opened: OpenedLow | undefined

  constructor(target: string | URL | WithPath<SyncAdapter<T>>, defaultData: T, options: StoreOptions = {}) {
    super(isPath(target) ? new JSONFileSync<T>(target) : target, defaultData)
    this.#opened = openLow(this as LowSync<unknown>, MemorySync, options)
    if (this.#opened) this.lock = this.#opened.lock
  }

  override read(): void {
    if (this.#opened) this.#opened.session.blocking.read()
    else super.read()
  }

  override write(): void {
    if (this.#opened) this.#opened.session.blocking.write()
    else super.write()
  }

  override update(edit: (data: T) => unknown): void {
    if (this.#opened) updateSync(this.#opened.session.blocking, edit as Edit)
    else super.update(edit)
  }

  transaction<R>(run: (tx: this) => R, options?: AcquireOptions): R {
    return this.#doors.transaction(run, options)
  }

  view<R>(run: (tx: this) => R, options?: AcquireOptions): R {
    return this.#doors.view(run, options)
  }

  rollbackAfter<R>(run: (tx: this) => R, options?: AcquireOptions): R {
    return this.#doors.rollbackAfter(run, options)
  }

  get #doors(): SyncTransactionsOf<this> {
    return syncTransactions(
      this.#opened?.session.blocking ?? memoryOnlySync,
      (memory) => onDraft(this as LowSync<unknown>, memory) as this,
    )
  }

  async close(): Promise<void> {
    await this.#opened?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** What the presets take besides. */
export interface PresetOptions extends StoreOptions {
  /**
   * Under `NODE_ENV=test` lowdb's presets silently keep everything in memory. Here only where this asks for it.
   * @default false
   */
  readonly memoryInTest?: boolean | undefined
}

/** Swap it for `JSONFilePreset`: opens and reads the file, or starts from `defaultData`. */
export async function LockedJSONFilePreset<Data>(
  filename: PathLike,
  defaultData: Data,
  options: PresetOptions = {},
): Promise<LockedLow<Data>> {
  const target = inMemory(options) ? new Memory<Data>() : new JSONFile<Data>(filename)
  const db = new LockedLow<Data>(target, defaultData, options)
  await db.read()
  return db
}

/** Swap it for `JSONFileSyncPreset`. */
export function LockedJSONFileSyncPreset<Data>(
  filename: PathLike,
  defaultData: Data,
  options: PresetOptions = {},
): LockedLowSync<Data> {
  const target = inMemory(options) ? new MemorySync<Data>() : new JSONFileSync<Data>(filename)
  const db = new LockedLowSync<Data>(target, defaultData, options)
  db.read()
  return db
}

function inMemory(options: PresetOptions): boolean {
  return options.memoryInTest === true && process.env.NODE_ENV === 'test'
}

function isPath(target: unknown): target is string | URL {
  return typeof target === 'string' || target instanceof URL
}

function openLow(low: AnyLow, InMemory: new () => object, options: StoreOptions): OpenedLow | undefined {
  const { adapter } = low
  if (adapter instanceof InMemory) return undefined
  const path: unknown = 'path' in adapter ? adapter.path : undefined
  if (typeof path !== 'string' && !(path instanceof URL)) {
    throw new TypeError(
      `a locked lowdb store must know its file: pass a path, or an adapter with a path property such as the JSONFile of ` +
        `'pslock/lowdb' (lowdb's own hides it). Got ${show(adapter)}`,
    )
  }
  return openTree(low, { ...lowdbAdapter, attach: followDraft }, pathOf(path), options)
}
