import { basename } from 'node:path'
import { durationMs, type OptionNames, optionNames, requireOneOf, requirePath, show } from '../arguments.ts'
import { PsLock } from '../lock/lock.ts'
import { canonicalPath } from '../lock/lock-file.ts'
import { DEFAULTS } from '../lock/options.ts'

/** What a resolved promise promises: see `StoreOptions#durability`. */
export type Durability = 'process' | 'disk'

/** Options of every locked store. */
export interface StoreOptions {
  /**
   * Longest wait for the lock, in milliseconds; then a call rejects with LockTimeoutError. 0 does not wait, `Infinity`
   * waits for ever.
   * @default 30_000
   */
  readonly timeoutMs?: number | undefined
  /**
   * `process`: every process sees a resolved operation, and it survives the crash of any process. `disk`: it also survives
   * power loss. The file is synced before the promise resolves, once for all operations that were queued together.
   * @default 'process'
   */
  readonly durability?: Durability | undefined
  /**
   * The lock file, if it cannot be beside the data. Every process must use the same one.
   * @default `<real path of the data file>.lock`
   */
  readonly lockPath?: string | undefined
  /**
   * For how long this process may go on before it lets waiting processes go first, in milliseconds.
   * @default 4
   */
  readonly sliceMs?: number | undefined
}

const STORE_NAMES = optionNames<StoreOptions>({
  timeoutMs: true,
  durability: true,
  lockPath: true,
  sliceMs: true,
})

/** Options of a store that is kept in a database of PostgreSQL instead of a file. */
export interface ServerOptions {
  /**
   * The database, as `postgres://user:password@host:port/database`, with whatever options the package `pg` takes in it.
   * @default undefined: the store is in a file
   */
  readonly url?: string | URL | undefined
  /** The name of the store in the database. It can also be given at the end of the url: `postgres://…/database#name`. */
  readonly name?: string | undefined
  /**
   * For so long after it was read a store is shown without asking the server, in milliseconds: what others have written in that
   * time may be missing. What changes something always works on the present state.
   * @default 0
   */
  readonly staleMs?: number | undefined
}

const SERVER_NAMES = optionNames<ServerOptions>({ url: true, name: true, staleMs: true })

/** Of a store in a file or on a server, of whatever kind. */
export const PLACE_NAMES: OptionNames = new Set([...STORE_NAMES, ...SERVER_NAMES])

/** Those that are about files alone. */
const FILE_ONLY = ['lockPath', 'sliceMs', 'compaction', 'journal'] as const

/**
 * Whether these options are of a store on a server.
 * @throws TypeError for those that do not go together
 */
export function isOnServer(
  options: ServerOptions & { readonly [K in (typeof FILE_ONLY)[number]]?: unknown },
  file: { readonly name: string; readonly value: unknown },
): boolean {
  if (options.url === undefined) {
    for (const name of ['name', 'staleMs'] as const)
      if (options[name] !== undefined)
        throw new TypeError(`${name} is for a store on a server: give a url with it`)
    return false
  }
  if (file.value !== undefined && file.value !== null)
    throw new TypeError(`a store is in a file or on a server: give ${file.name} or url, not both`)
  for (const name of FILE_ONLY)
    if (options[name] !== undefined)
      throw new TypeError(`${name} is for a store in a file: leave it out with a url`)
  return true
}

/** Options of stores whose file is a log of lines (NeDB). It grows until it is compacted. */
export interface LogOptions extends StoreOptions, ServerOptions {
  /**
   * `auto`: one process rewrites the file when as many of its bytes are stale as are live and it has at least a mebibyte.
   * No answer waits for it. `manual`: the file is rewritten only if the program asks for it (`compactDatafile`,
   * `loadDatabase`, or the timer of `setAutocompactionInterval`, which does nothing if nothing is stale).
   * @default 'auto'
   */
  readonly compaction?: 'auto' | 'manual' | undefined
}

export const LOG_NAMES: OptionNames = optionNames<Pick<LogOptions, 'compaction'>>(
  { compaction: true },
  PLACE_NAMES,
)

/** Options of stores whose memory is one JSON tree (lowdb). */
export interface TreeOptions extends StoreOptions, ServerOptions {
  /**
   * Changes are appended to `<file>.journal`, so an update costs what it changes, not what the file holds. The file itself is
   * written when the journal has outgrown it, on `close()`, and by `checkpoint()`. Until then the unmodified library sees
   * the file as it was. Data can be changed only in `update()` and `transaction()`. A store on a server is always kept like this.
   * @default false
   */
  readonly journal?: boolean | undefined
}

export const TREE_NAMES: OptionNames = optionNames<Pick<TreeOptions, 'journal'>>(
  { journal: true },
  PLACE_NAMES,
)

/** The checked options, with the lock they ask for. */
export interface OpenOptions {
  /** The real path of the data file. */
  readonly path: string
  readonly lock: PsLock
  /** The lock file, where it was given. */
  readonly lockPath: string | undefined
  readonly timeoutMs: number
  readonly durability: Durability
}

export interface OpenLogOptions extends OpenOptions {
  readonly compaction: 'auto' | 'manual'
}

/** @throws TypeError that shows the wrong value */
export function openLogOptions(path: string | undefined, options: LogOptions): OpenLogOptions {
  const { compaction = 'auto' } = options
  requireOneOf(compaction, 'compaction', ['auto', 'manual'])
  return { ...openOptions(path, options), compaction }
}

/** @throws TypeError that shows the wrong value */
export function openOptions(path: string | undefined, options: StoreOptions): OpenOptions {
  const { durability = 'process', timeoutMs, lockPath, sliceMs } = options
  const real = canonicalPath(requirePath(path, 'path'))
  requireStoreName(real, lockPath)
  requireOneOf(durability, 'durability', ['process', 'disk'])
  return {
    path: real,
    lock: new PsLock(real, { timeoutMs, sliceMs, lockPath: lockPath ?? undefined }),
    lockPath: lockPath ?? undefined,
    timeoutMs: durationMs(timeoutMs, 'timeoutMs', DEFAULTS.timeoutMs),
    durability,
  }
}

/** NAME_MAX of every usual file system, less what the longest name beside it has more: `.<name>.journal.<8 digits>.pslock.tmp`. */
const MOST_NAME_BYTES = 255 - 29

/** Now, and not at the first write or crash: no later one could be kept, or told from a lock that is lost. */
function requireStoreName(path: string, lockPath: string | undefined): void {
  const bytes = Buffer.byteLength(basename(path))
  if (bytes > MOST_NAME_BYTES) {
    throw new TypeError(
      `the name of the file of a store has at most ${MOST_NAME_BYTES} bytes, since longer names are needed beside it; ` +
        `choose a shorter one: ${show(path)} has ${bytes}`,
    )
  }
  const isLock =
    lockPath === undefined || lockPath === null
      ? path.endsWith('.lock')
      : canonicalPath(requirePath(lockPath, 'lockPath')) === path
  if (isLock) {
    throw new TypeError(
      `${show(path)} would be the file of a store and its lock file in one: choose another name, or another lockPath`,
    )
  }
}
