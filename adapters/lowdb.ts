import type { PathLike } from 'node:fs'
import { type Adapter, Low, LowSync, Memory, MemorySync, type SyncAdapter } from 'lowdb'
import { type OptionNames, optionNames, requireKnown } from '../src/arguments.ts'
import type { Stage, StageOptions } from '../src/features/stages/stage.ts'
import type { LockedMembers, LockedSyncMembers, Reads } from '../src/members.ts'
import { giveMembers, inMemorySync, type OpenedTree, withMembers, withSyncMembers } from '../src/open.ts'
import { type StoreOptions, TREE_NAMES, type TreeOptions } from '../src/store/options.ts'
import {
  type Edit,
  isPath,
  JSONFile,
  JSONFileSync,
  type LowOnServer,
  type LowReads,
  type LowTarget,
  lowdbAdapter,
  OnServer,
  openLow,
  refuseServer,
  serverOptions,
  updateSync,
  type WithPath,
} from './lowdb/adapter.ts'

export type { LowOnServer }
export { JSONFile, JSONFileSync, lowdbAdapter }

const LockableLow = withMembers(Low) as unknown as new <T>(
  adapter: Adapter<T>,
  defaultData: T,
) => Low<T> & LockedMembers<Reads<Low<T>, LowReads>, LockedLow<T>>
const LockableLowSync = withSyncMembers(LowSync) as unknown as new <T>(
  adapter: SyncAdapter<T>,
  defaultData: T,
) => LowSync<T> & LockedSyncMembers<Reads<LowSync<T>, LowReads>, LockedLowSync<T>>

/**
 * Use it instead of `Low`: `new LockedLow(path or adapter, defaultData)`. `data` is as of the last call. `update(edit)`
 * works on the current state of the file and awaits `edit`; if `edit` throws, memory and file stay as they were. A bare
 * `db.data.x = 1; await db.write()` is merged with what others wrote, or rejects with StaleWriteError.
 *
 * With `journal: true` an update costs what it changes, `data` is read-only outside of updates and transactions, and a
 * bare `write()` is a TransactionError.
 *
 * `new LockedLow({ url: 'postgres://…', name: 'settings' }, defaultData)` keeps it in a database of PostgreSQL instead, always
 * as with a journal.
 *
 * Calls reject with the errors of `PsLock#exclusive`, CorruptStoreError and StoreIoError; on a server with
 * StoreUnavailableError.
 * @throws TypeError for an adapter without `path` (use the `JSONFile` of this module, or add the property); with
 * `journal`, for an adapter that writes by itself. `Memory` works as before, without a lock
 */
export class LockedLow<T = unknown> extends LockableLow<T> {
  declare stage: (id: string, options?: StageOptions) => Promise<LowStage<T, this>>
  readonly #opened: OpenedTree | undefined

  constructor(target: LowTarget<Adapter<T>>, defaultData: T, options: TreeOptions = {}) {
    requireKnown(options, TREE_NAMES)
    const server = serverOptions(target, options)
    super(server ? new OnServer<T>() : adapterOf<T>(target), defaultData)
    const opened = openLow(this as Low<unknown>, Memory, server ?? options)
    this.#opened = opened
    if (!opened) return
    giveMembers(this, opened.members(this))
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

  /**
   * Writes what is in the journal into the file, so that the unmodified library sees it, and removes the journal. On a server
   * it writes the text anew, which new processes begin with. Without a journal it does nothing.
   * @throws TransactionError inside an update or a transaction, StoreIoError, the errors of `PsLock#exclusive`
   */
  async checkpoint(): Promise<void> {
    await this.#opened?.session.checkpoint()
  }
}

/** A stage with the methods of lowdb. */
export interface LowStage<T, S = LockedLow<T>> extends Stage<S> {
  /** Edits the present data with the edits so far on top. */
  update(edit: (data: T) => unknown): Promise<unknown>
  /** A copy of the present data with the edits on top. */
  read(): Promise<T>
}

function adapterOf<T>(target: unknown): Adapter<T> {
  return isPath(target) ? new JSONFile<T>(target) : (target as Adapter<T>)
}

/**
 * Use it instead of `LowSync`; see `LockedLow`. It blocks the thread while it waits, for at most `timeoutMs`.
 * `transaction`, `view` and `rollbackAfter` return what the callback returns, which must not be a promise. It has no journal, and
 * cannot be on a server.
 * @throws as `LockedLow`; its calls throw the same errors, and LockDeadlockError if an asynchronous hold of this process is
 * in the way
 */
export class LockedLowSync<T = unknown> extends LockableLowSync<T> {
  readonly #opened: OpenedTree | undefined

  constructor(target: string | URL | WithPath<SyncAdapter<T>>, defaultData: T, options: StoreOptions = {}) {
    // A journal is refused where it is opened, with the reason.
    requireKnown(options, TREE_NAMES)
    refuseServer(target, options)
    super(isPath(target) ? new JSONFileSync<T>(target) : target, defaultData)
    const opened = openLow(this as LowSync<unknown>, MemorySync, options)
    this.#opened = opened
    giveMembers(this, opened?.syncMembers() ?? inMemorySync)
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
}

/** Options of the presets. */
export interface PresetOptions extends StoreOptions {
  /**
   * Keep everything in memory under `NODE_ENV=test`. The presets of lowdb always do so; these do so only if it is true.
   * @default false
   */
  readonly memoryInTest?: boolean | undefined
}

const PRESET_NAMES: OptionNames = optionNames<Pick<PresetOptions, 'memoryInTest'>>(
  { memoryInTest: true },
  TREE_NAMES,
)

/**
 * Use it instead of `JSONFilePreset`: reads the file, or the store on a server, or starts with `defaultData` if there is none.
 * @throws as `LockedLow`
 */
export async function LockedJSONFilePreset<Data>(
  filename: PathLike | LowOnServer,
  defaultData: Data,
  options: PresetOptions & TreeOptions = {},
): Promise<LockedLow<Data>> {
  requireKnown(options, PRESET_NAMES)
  const { memoryInTest, ...own } = options
  const target = inMemory(memoryInTest) ? new Memory<Data>() : presetTarget<Data>(filename, own)
  const db = new LockedLow<Data>(target, defaultData, own)
  await db.read()
  return db
}

/** Use it instead of `JSONFileSyncPreset`. @throws as `LockedLowSync` */
export function LockedJSONFileSyncPreset<Data>(
  filename: PathLike,
  defaultData: Data,
  options: PresetOptions = {},
): LockedLowSync<Data> {
  requireKnown(options, PRESET_NAMES)
  const { memoryInTest, ...own } = options
  refuseServer(filename, own)
  const target = inMemory(memoryInTest) ? new MemorySync<Data>() : new JSONFileSync<Data>(filename)
  const db = new LockedLowSync<Data>(target, defaultData, own)
  db.read()
  return db
}

function presetTarget<T>(filename: PathLike | LowOnServer, options: TreeOptions): LowTarget<Adapter<T>> {
  return serverOptions(filename, options) ? (filename as LowOnServer) : new JSONFile<T>(filename as PathLike)
}

function inMemory(isAsked: boolean | undefined): boolean {
  return isAsked === true && process.env.NODE_ENV === 'test'
}
