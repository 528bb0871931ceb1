/**
 * Every error of pslock. Codes do not change between major versions; messages may.
 * Wrong arguments are plain `TypeError`s that show the received value: correct the call, do not catch them.
 */

/** How a lock is held: `exclusive` by one, `shared` by any number at once. */
export type LockMode = 'exclusive' | 'shared'

/** Somebody who holds or waits for a lock. What is unknown is `undefined`, never guessed. */
export interface LockHolder {
  /** Process id, as this process sees it; undefined if the holder is in another pid namespace. */
  readonly pid: number | undefined
  /** Command line, read from the live process. It is never written to disk, since it may contain secrets. */
  readonly command: string | undefined
  readonly mode: LockMode
  /** For how many milliseconds it has held or waited; undefined for a hold of another process until somebody waits. */
  readonly sinceMs: number | undefined
  readonly state: 'holding' | 'waiting'
  /** True if its process is known to be stopped (Ctrl-Z, SIGSTOP, a debugger). */
  readonly stopped?: true | undefined
  /** For a hold of this very process made by `acquire()`: the stack of that call. */
  readonly acquiredAt?: string | undefined
}

/** Somebody who holds or waits for a `PgLock`. What is unknown is `undefined`, never guessed. */
export interface PgLockHolder extends LockHolder {
  /** The machine that it runs on; `pid` and `command` (the name of the program's file) mean something there. */
  readonly host: string | undefined
}

/**
 * How a name of a `LockTree` is held. `exclusive` and `shared` cover everything below it. The intent modes say that
 * something below is held in that way; pslock takes them on the names above by itself. `shared-intent-exclusive` reads
 * the whole and edits some of it. (X, S, IX, IS and SIX in J. Gray's "Granularity of locks", 1975.)
 */
export type TreeLockMode = LockMode | 'intent-shared' | 'intent-exclusive' | 'shared-intent-exclusive'

/** Somebody who holds or waits for a name of a `LockTree`. */
export interface TreeLockHolder extends Omit<LockHolder, 'mode'> {
  /** What is held, such as `app/orders`; the names above it are held in the intent mode. */
  readonly name: string
  readonly mode: TreeLockMode
  /** What the holder said that it is for. */
  readonly reason: string | undefined
}

/**
 * Text that others may have written (a command line, a reason, a path, what is in a file) as one line that does nothing to
 * a terminal or a log: control characters and line ends become a blank; characters that nobody sees, or that turn the
 * direction of writing (Unicode's general category Cf), and half surrogate pairs are shown as `\u202e`.
 */
export function harmless(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').replace(/[\p{Cf}\p{Cs}]/gu, escaped)
}

function escaped(character: string): string {
  const number = (character.codePointAt(0) as number).toString(16)
  return number.length > 4 ? `\\u{${number}}` : `\\u${number.padStart(4, '0')}`
}

/** What every pslock error carries besides its message. */
export interface PsLockErrorDetails {
  readonly path: string
  readonly cause?: unknown
}

/**
 * The base class of all errors of pslock. `code` is stable, `path` names the file. The message has no control characters
 * and can be shown on a terminal; the other properties are unchanged.
 */
export class PsLockError extends Error {
  /** For the compiler only: it takes whatever is an instance of this class for one of the union. */
  declare static readonly [Symbol.hasInstance]: <C>(
    this: C,
    value: unknown,
  ) => value is typeof PsLockError extends C ? AnyPsLockError : InstanceOf<C>
  readonly code: PsLockErrorCode
  readonly path: string
  /** @param lines of our own, such as a stack, to go below the message */
  constructor(code: PsLockErrorCode, message: string, details: PsLockErrorDetails, lines = '') {
    super(harmless(message) + lines, details.cause === undefined ? undefined : { cause: details.cause })
    Object.defineProperty(this, 'name', {
      value: new.target.name,
      enumerable: false,
      configurable: true,
      writable: true,
    })
    this.code = code
    this.path = details.path
  }
}

type InstanceOf<C> = C extends { readonly prototype: infer I } ? I : never

/**
 * Any error of pslock. After `error instanceof PsLockError` a `switch` over `error.code` narrows it to the class of each
 * code, with its own properties.
 */
export type AnyPsLockError =
  | ClosedError
  | ConflictError
  | CorruptStoreError
  | LockDeadlockError
  | LockIoError
  | LockLostError
  | LockTimeoutError
  | LockUnsupportedError
  | LockUpgradeError
  | SchemaError
  | StaleWriteError
  | StoreIoError
  | StoreUnavailableError
  | ThrottledError
  | TransactionError

/** The codes of all errors of pslock. */
export type PsLockErrorCode = AnyPsLockError['code']

/** The lock was not free within `timeoutMs`. Nothing was run and nothing was changed. `waitedMs` is in milliseconds. */
export class LockTimeoutError extends PsLockError {
  declare readonly code: 'PSLOCK_TIMEOUT'
  readonly mode: TreeLockMode
  readonly waitedMs: number
  readonly holders: readonly (LockHolder | TreeLockHolder)[]
  constructor(
    message: string,
    details: PsLockErrorDetails & {
      mode: TreeLockMode
      waitedMs: number
      holders: readonly (LockHolder | TreeLockHolder)[]
    },
  ) {
    const own = details.holders.find(({ acquiredAt }) => acquiredAt !== undefined)
    const where = own ? `\nAcquired in this very process:\n${own.acquiredAt}` : ''
    super('PSLOCK_TIMEOUT', message, details, where)
    this.mode = details.mode
    this.waitedMs = details.waitedMs
    this.holders = details.holders
  }
}

/**
 * `exclusive` inside one's own `shared`: two such tasks would wait for each other for ever. In a `LockTree`: an outer hold
 * would have to become stronger, and another holder prevents that.
 */
export class LockUpgradeError extends PsLockError {
  declare readonly code: 'PSLOCK_UPGRADE'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_UPGRADE', message, details)
  }
}

/** This file system, platform, installation or kind of file cannot be locked safely. */
export class LockUnsupportedError extends PsLockError {
  declare readonly code: 'PSLOCK_UNSUPPORTED'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_UNSUPPORTED', message, details)
  }
}

/**
 * The call would wait for ever. A blocking call would wait for a hold of its own process, which cannot end while the call
 * blocks. `close()` inside a hold would wait for the end of that hold. Or an ancestor, `pslock run`, holds the lock until
 * this process ends, and cannot share its hold on this system.
 */
export class LockDeadlockError extends PsLockError {
  declare readonly code: 'PSLOCK_DEADLOCK'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_DEADLOCK', message, details)
  }
}

/**
 * The lock did not protect what ran under it. The lock file was removed or replaced while it was held (that of a
 * `LockTree`: also emptied). Or another lock file guards the same data (a different `lockPath`). Or the `lockfile` backend
 * lost its lock to another process.
 */
export class LockLostError extends PsLockError {
  declare readonly code: 'PSLOCK_LOST'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_LOST', message, details)
  }
}

/** A system call on the lock file failed; `cause` is the error of the system. */
export class LockIoError extends PsLockError {
  declare readonly code: 'PSLOCK_IO'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_IO', message, details)
  }
}

/** The object was used after `close()`, or the hold after `release()`. */
export class ClosedError extends PsLockError {
  declare readonly code: 'PSLOCK_CLOSED'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_CLOSED', message, details)
  }
}

/**
 * The local changes and those of another process cannot both be kept. Nothing was written and nothing is lost. The local
 * changes may be those of a journal whose file was replaced without it; then the journal is kept aside.
 */
export class StaleWriteError extends PsLockError {
  declare readonly code: 'PSLOCK_STALE_WRITE'
  /** Where both sides changed something, for example `posts[id=7].title`. */
  readonly paths: readonly string[]
  /** The state both sides started from, the local one, and the one in the file. */
  readonly base: unknown
  readonly mine: unknown
  readonly theirs: unknown
  constructor(
    message: string,
    details: PsLockErrorDetails & { paths: readonly string[]; base: unknown; mine: unknown; theirs: unknown },
  ) {
    super('PSLOCK_STALE_WRITE', message, details)
    this.paths = details.paths
    this.base = details.base
    this.mine = details.mine
    this.theirs = details.theirs
  }
}

/** A value that a stage has changed, and others since: see `Stage#commit`. What is not there is undefined. */
export interface StageConflict {
  /** The record that it is in: the `_id` of a document, or the `id` or `_id` of an element of a list; undefined where it is in none. */
  readonly id: string | number | undefined
  /** Where it is, such as `price`, or `posts[id=7].title`; empty for a whole document. */
  readonly path: string
  /** As it was when it was first changed here. */
  readonly base: unknown
  readonly mine: unknown
  readonly theirs: unknown
}

/** Somebody else has changed what this change was based on. Nothing was written: read the current state and try again. */
export class ConflictError extends PsLockError {
  declare readonly code: 'PSLOCK_CONFLICT'
  /** For a record of a table: the version that the change was based on. */
  readonly expected: number | undefined
  /** For a record of a table: its current version; undefined if the record no longer exists. */
  readonly found: number | undefined
  /** For the commit of a stage: what others have changed, too. */
  readonly conflicts: readonly StageConflict[]
  constructor(
    message: string,
    details: PsLockErrorDetails & {
      expected?: number | undefined
      found?: number | undefined
      conflicts?: readonly StageConflict[]
    },
  ) {
    super('PSLOCK_CONFLICT', message, details)
    this.conflicts = details.conflicts ?? []
    this.expected = details.expected
    this.found = details.found
  }
}

/** What does not agree with the schema of a table. What does not apply is undefined. */
export interface SchemaErrorDetails extends PsLockErrorDetails {
  readonly table: string
  readonly field?: string | undefined
  /** What was expected: a type, as `create` names it. */
  readonly expected?: string | undefined
  /** What was given instead. */
  readonly value?: unknown
}

/** A table or field does not exist or exists already, or a value has the wrong type. Nothing was changed. */
export class SchemaError extends PsLockError {
  declare readonly code: 'PSLOCK_SCHEMA'
  readonly table: string
  readonly field: string | undefined
  readonly expected: string | undefined
  readonly value: unknown
  constructor(message: string, details: SchemaErrorDetails) {
    super('PSLOCK_SCHEMA', message, details)
    this.table = details.table
    this.field = details.field
    this.expected = details.expected
    this.value = details.value
  }
}

/**
 * The call is not possible inside a transaction or a view; or, with a journal, not outside an update or a transaction; or
 * the store is in memory only and has no transactions.
 */
export class TransactionError extends PsLockError {
  declare readonly code: 'PSLOCK_TRANSACTION'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_TRANSACTION', message, details)
  }
}

/** Too many writes: this one was refused, and nothing was run. */
export class ThrottledError extends PsLockError {
  declare readonly code: 'PSLOCK_THROTTLED'
  /** In how many milliseconds it would be allowed, if nobody else writes until then. */
  readonly retryAfterMs: number
  constructor(message: string, details: PsLockErrorDetails & { retryAfterMs: number }) {
    super('PSLOCK_THROTTLED', message, details)
    this.retryAfterMs = details.retryAfterMs
  }
}

/** The data file is damaged, or not in the format of this store. It is left as it is. */
export class CorruptStoreError extends PsLockError {
  declare readonly code: 'PSLOCK_CORRUPT'
  /** The first place where it shows, if there is one: the line, counted from 1, and the byte, counted from 0. */
  declare readonly line?: number
  declare readonly byte?: number
  constructor(message: string, details: PsLockErrorDetails & { line?: number; byte?: number }) {
    super('PSLOCK_CORRUPT', message, details)
    const { line, byte } = details
    if (line !== undefined && byte !== undefined) Object.assign(this, { line, byte })
  }
}

/** Reading or writing the data file failed. Memory equals the file. `cause` is the error of the system. */
export class StoreIoError extends PsLockError {
  declare readonly code: 'PSLOCK_STORE_IO'
  constructor(message: string, details: PsLockErrorDetails) {
    super('PSLOCK_STORE_IO', message, details)
  }
}

/**
 * The server of a store or a lock cannot be reached, or does not let us in. It was tried again until `timeoutMs` where that
 * could help. Memory equals what was known last. `cause` is the error of the system, or of the server.
 */
export class StoreUnavailableError extends PsLockError {
  declare readonly code: 'PSLOCK_UNAVAILABLE'
  /** Whether the change may be in the store all the same: the connection was lost before the server said so. */
  readonly isOutcomeUnknown: boolean
  constructor(message: string, details: PsLockErrorDetails & { isOutcomeUnknown?: boolean }) {
    super('PSLOCK_UNAVAILABLE', message, details)
    this.isOutcomeUnknown = details.isOutcomeUnknown ?? false
  }
}

/**
 * The system's error code of anything thrown, or undefined. Not by `instanceof`: under Jest and others that run tests in a
 * context of their own (`node:vm`), the errors of node:fs are of another `Error` than ours.
 */
export function errnoOf(error: unknown): string | undefined {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown }
  return typeof code === 'string' && typeof message === 'string' ? code : undefined
}

/** An error as the system's calls throw it. */
export function systemError(code: string, what: string, syscall?: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), syscall === undefined ? { code } : { code, syscall })
}

/** What `run` returns, or undefined where it throws: for what may be missing, or not be looked at. */
export function orUndefined<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch {
    return undefined
  }
}

/** Anything thrown as an error, of whichever context it is. */
export function asError(thrown: unknown): Error {
  const message = (thrown as { message?: unknown } | null | undefined)?.message
  return typeof message === 'string' ? (thrown as Error) : new Error(String(thrown))
}
