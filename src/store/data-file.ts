import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { asError, CorruptStoreError, errnoOf, LockLostError, type LockMode, StoreIoError } from '../errors.ts'
import { enclosing, enter, Hold, queueUp } from '../lock/hold.ts'
import { lockInternals, type PsLock } from '../lock/lock.ts'
import { isReadOnlyFolder } from '../lock/lock-file.ts'
import { type AcquireOptions, joins } from '../lock/options.ts'
import { NamedFile, type PathStat } from '../os/file-stat.ts'
import { closeLocked, Descriptor } from '../os/flock.ts'
import { openFile, willPass } from '../os/open-files.ts'
import { noWritePermission, storeFailure } from '../os/replace.ts'
import { type FileCalls, runSteps, type Steps, WAITING } from '../os/steps.ts'
import type { Operation } from './operation.ts'
import type { Asked, StoreLock } from './store-lock.ts'

/**
 * The data file of a store, held open.
 *
 * "Is it still the file I know?" is asked of the *held* descriptor: as long as it is open its inode number cannot be
 * given to another file (bare numbers came back in 10 of 20 replacements). Between two operations it may be closed (see
 * open-files.ts). What is known of the file stays good then if the one that is opened next is provably the same
 * (`NamedFile`) and either unchanged or, where others append to it, longer; the end of what is known is compared then, as
 * ever. Where that is not certain it is another file.
 *
 * Under an exclusive lock the data file itself is locked too: a deleted lock file, a hard link or a bind mount give two
 * lock files for one data file, and this is where that shows.
 */
export class DataFile {
  readonly path: string
  readonly #appends: boolean
  /** Opened, closed and locked in here only. */
  readonly descriptor: Descriptor
  readonly #named: NamedFile
  #isInUse = false
  #readOnly = false
  /** It was opened for reading only, since writing was not permitted: what the system said to that. */
  #refused: unknown
  /** Changes whenever another file is open than before: what was known of the old one means nothing. Set in here only. */
  generation = 0

  /** @param mayClose asked whether it may be closed between two operations */
  constructor(path: string, appends: boolean, mayClose: () => boolean = () => true) {
    this.path = path
    this.#named = new NamedFile(path)
    this.#appends = appends
    this.descriptor = new Descriptor({
      mayClose: () => !this.#isInUse && mayClose(),
      closing: () => this.#closing(),
      closeFailed: (error) => this.#closeFailed(error),
    })
  }

  get isOpen(): boolean {
    return this.descriptor.fd !== undefined
  }

  /** Whether there was one at the last look. */
  get exists(): boolean {
    return this.isOpen || this.#named.isClosed
  }

  /** The open descriptor. Only while `isOpen`. */
  get fd(): number {
    return this.descriptor.fd as number
  }

  /**
   * Opens the file that the path names now, if it is not the one that is open; undefined where there is none. It stays open
   * until `unlock`.
   * @param withTime see `NamedFile.look`
   * @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError
   */
  look(mode: LockMode, withTime = true): PathStat | undefined {
    // The permission to write may have come back meanwhile.
    if (this.#refused !== undefined && mode === 'exclusive' && writeRefusal(this.path) === undefined)
      this.close()
    const descriptor = this.descriptor
    if (!this.#isInUse) descriptor.used()
    this.#isInUse = true
    for (;;) {
      if (descriptor.fd === undefined) this.#open()
      const isOpen = descriptor.fd !== undefined
      if (isOpen && mode === 'exclusive') this.#lock()
      let found: PathStat | undefined
      try {
        found = this.#named.stat(withTime)
      } catch (error) {
        throw storeFailure(this.path, 'look at', error)
      }
      if (found && isOpen && found.isOpenHere) {
        this.#readOnly = (found.mode & 0o222) === 0
        return found
      }
      this.close()
      if (!found) return undefined
    }
  }

  /** Creates the file, empty. Only under the exclusive lock, when there is none. */
  create(mode: number): void {
    try {
      const { O_RDWR, O_APPEND, O_CREAT, O_EXCL } = constants
      this.adopt(openFile(this.path, O_RDWR | O_APPEND | O_CREAT | O_EXCL, mode), false)
    } catch (error) {
      throw storeFailure(this.path, 'create', error)
    }
    this.#lock()
  }

  /** This descriptor is the file now. */
  adopt(fd: number, locked: boolean): PathStat {
    let found: PathStat
    try {
      found = this.#stat(() => this.#named.opened(fd))
      if ((found.mode & constants.S_IFMT) !== constants.S_IFREG) {
        throw new CorruptStoreError(`${this.path} is not a regular file and cannot be a data file`, {
          path: this.path,
        })
      }
    } catch (error) {
      closeLocked(fd, this.path)
      throw error
    }
    const { since } = this.#named
    this.descriptor.replace(fd, locked ? this.path : undefined)
    this.#readOnly = false
    this.#refused = undefined
    if (since !== 'unchanged' && !(this.#appends && since === 'longer')) this.generation++
    return found
  }

  /** A mode without any write permission is respected, also where a rename, or root, could get past it. */
  requireWritable(): void {
    if (!this.isOpen) return
    if (this.#readOnly) throw storeFailure(this.path, 'write', noWritePermission(this.path))
    if (this.#refused !== undefined) throw storeFailure(this.path, 'write', this.#refused)
  }

  /** Opens what was closed between two operations, if it is there still. @throws as `look` */
  reopen(): void {
    if (this.isOpen || !this.exists) return
    this.look('shared')
    this.#isInUse = false
  }

  /** It stays open, unless it is replaced or closed by `close`, until what this returns is called. */
  keepOpen(): () => void {
    return this.descriptor.keepOpen()
  }

  /**
   * After a look in mode 'shared': runs while no writer of ours is at work in the file. Each keeps it locked (flock) from its
   * look to its last write, and waits for a moment where it cannot; where one holds the lock and waits for something else, it
   * has not.
   * @returns undefined where one is at work, or where that cannot be told
   */
  async besideNoWriter<T>(run: () => Promise<T>): Promise<T | undefined> {
    try {
      if (!this.descriptor.tryFlock('shared', this.path)) return undefined
    } catch {
      // Who takes the lock instead is told what it is.
      return undefined
    }
    try {
      return await run()
    } finally {
      this.descriptor.unlock()
    }
  }

  /** The end of what began with `look`: the last act under the lock, and of who only looks. */
  unlock(): void {
    this.#isInUse = false
    this.descriptor.unlock()
  }

  close(): void {
    this.#refused = undefined
    this.#named.forget()
    try {
      this.descriptor.close()
    } catch (error) {
      throw storeFailure(this.path, 'close', error)
    }
  }

  #closing(): void {
    try {
      this.#named.closing(this.fd)
    } catch {
      // Then it is another file that is opened next.
      this.#named.forget()
    }
  }

  /** A network file system may say only now that something could not be written. */
  #closeFailed(cause: unknown): void {
    this.#named.forget()
    process.emitWarning(
      `${storeFailure(this.path, 'close', cause).message} What was written last may be lost.`,
      {
        type: 'PsLockWarning',
        code: 'PSLOCK_CLOSE',
      },
    )
  }

  #lock(): void {
    if (this.descriptor.isLocked) return
    if (!this.descriptor.tryFlock('exclusive', this.path)) {
      throw new LockLostError(
        `${this.path} is being written by a process that does not use our lock file: the lock file was deleted or ` +
          'differs (another lockPath, a hard link, a bind mount). Use the same path everywhere and leave the lock file.',
        { path: this.path },
      )
    }
  }

  #stat<T>(look: () => T): T {
    try {
      return look()
    } catch (error) {
      throw storeFailure(this.path, 'look at', error)
    }
  }

  #open(): void {
    // O_NONBLOCK: to open a FIFO for reading would block the thread until somebody writes into it.
    const { O_RDWR, O_RDONLY, O_APPEND, O_NONBLOCK } = constants
    try {
      this.adopt(openFile(this.path, (this.#appends ? O_RDWR | O_APPEND : O_RDONLY) | O_NONBLOCK), false)
    } catch (error) {
      const code = errnoOf(error) ?? ''
      if (code === 'ENOENT') return
      // A read-only file can be read; a write to it fails with what the system says.
      if (this.#appends && ['EACCES', 'EROFS', 'EPERM'].includes(code)) {
        this.#openToRead(error)
        return
      }
      throw storeFailure(this.path, 'open', error)
    }
  }

  #openToRead(refused: unknown): void {
    try {
      this.adopt(openFile(this.path, constants.O_RDONLY | constants.O_NONBLOCK), false)
      this.#refused = refused
    } catch (error) {
      // Removed since the first try.
      if (errnoOf(error) !== 'ENOENT') throw storeFailure(this.path, 'open', error)
    }
  }
}

/**
 * Why the lock of a store cannot be taken to write: where no lock file can be made, and the data cannot be written either,
 * the latter, for a lock file in another place would not help.
 */
function lockFailure(path: string, error: unknown): unknown {
  const refusal = isReadOnlyFolder(error) ? writeRefusal(path) : undefined
  if (refusal === undefined) return error
  const advice = 'Reading works all the same, without a lock file: use view() where a transaction only reads.'
  return new StoreIoError(`${storeFailure(path, 'write', refusal).message} ${advice}`, {
    path,
    cause: refusal,
  })
}

/** As `lock.exclusive`, to write the data. @throws also StoreIoError where that cannot be written, and no lock file made */
export function exclusiveToWrite<T>(path: string, lock: PsLock, run: () => T): Promise<Awaited<T>> {
  return enterToWrite(path, (held) =>
    lock.exclusive(() => {
      held()
      return run()
    }),
  )
}

/** The same for whatever takes the lock, blocking or not. @param enter calls `held` when it has it */
export function enterToWrite<T>(path: string, enter: (held: () => void) => T): T {
  let isHeld = false
  const steps = function* (): Steps<T> {
    try {
      return yield enter(() => {
        isHeld = true
      })
    } catch (error) {
      throw isHeld ? error : lockFailure(path, error)
    }
  }
  return runSteps(steps()) as T
}

/** Whether it failed because the system does not permit to open for writing, or to make, the data or the lock file. */
export function isNotPermitted(error: unknown): boolean {
  if (isReadOnlyFolder(error)) return true
  if (!(error instanceof StoreIoError)) return false
  // What fails later, when it is read, written or synced, is no matter of permission.
  const { syscall = '' } = (error.cause ?? {}) as NodeJS.ErrnoException
  return (
    ['open', 'access'].includes(syscall) && ['EACCES', 'EROFS', 'EPERM'].includes(errnoOf(error.cause) ?? '')
  )
}

/** What the system says to writing a file, or to making it where there is none; undefined where it permits that. */
function writeRefusal(path: string): unknown {
  try {
    accessSync(path, constants.W_OK)
    return undefined
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') return error
  }
  try {
    accessSync(dirname(path), constants.W_OK)
    return undefined
  } catch (error) {
    return error
  }
}

/** So long is waited for a descriptor, under the lock, where other files of ours are in use. */
const SHORTAGE_MS = 1_000

/**
 * Two lock files for one data file may be a passing state: somebody deleted the first while its holder was still
 * writing. So may be a shortage of descriptors. Tries again until then, and reports it at the end.
 */
export async function untilUnsplit<T>(timeoutMs: number, look: () => T): Promise<Awaited<T>> {
  const steps = function* (): Steps<Awaited<T>> {
    return yield look()
  }
  return runSteps(retrying(timeoutMs, steps, WAITING))
}

/** The same, blocking or not. */
export function* retrying<T>(timeoutMs: number, look: () => Steps<T>, calls: FileCalls): Steps<T> {
  for (const start = performance.now(); ; ) {
    try {
      return yield* look()
    } catch (error) {
      const waitedMs = performance.now() - start
      const mayPass =
        error instanceof LockLostError
          ? waitedMs < timeoutMs
          : willPass(error) && waitedMs < Math.min(timeoutMs, SHORTAGE_MS)
      if (!mayPass) throw error
      // Random, so that no two stay in step.
      yield calls.pause(2 + 8 * Math.random())
    }
  }
}

/** What reading failed with, typed: the system's errors are about the file, all others about what is in it. */
export function readFailure(store: string, path: string, cause: unknown): Error {
  const failure = storeFailure(path, 'read', cause)
  if (failure === cause || (cause as { syscall?: unknown } | null | undefined)?.syscall !== undefined)
    return failure
  return new CorruptStoreError(
    `${path} is not a ${store} file: ${asError(cause).message}. It was left as it is; ` +
      'mend or remove it.',
    { path, cause },
  )
}

/** What one read(2) of Node.js gives at most. */
const MOST_AT_ONCE_BYTES = 2 ** 31 - 1

/** For what is always read as a whole. @throws StoreIoError where it is too large for that */
export function requireReadable(path: string, bytes: number, mostBytes: number = MOST_AT_ONCE_BYTES): void {
  if (bytes <= mostBytes) return
  throw new StoreIoError(
    `cannot read ${path}: it has ${Math.round(bytes / 2 ** 20)} MB, and at most ${Math.round(mostBytes / 2 ** 20)} MB are ` +
      'read. It was left as it is; it is damaged, or none of ours: put it aside.',
    { path },
  )
}

/** The lock of a store in a file: that of its lock file. */
export class FileStoreLock implements StoreLock {
  readonly isClosing: () => boolean
  readonly #lock: PsLock

  constructor(lock: PsLock) {
    this.#lock = lock
    this.isClosing = lockInternals.isClosing.bind(undefined, lock)
  }

  get path(): string {
    return this.#lock.path
  }

  asked(mode: LockMode, options: AcquireOptions = {}): Asked {
    const { entry, wait } = lockInternals.entry(this.#lock, mode, options)
    return { wait, outer: joins(options) ? enclosing(entry) : undefined }
  }

  enterNow(mode: LockMode, head?: Operation): Hold | undefined {
    try {
      const { entry, wait } = lockInternals.entry(this.#lock, mode, head)
      return entry.queue.tryEnter(mode, wait.sliceMs) ? ofStore(new Hold(entry, mode, 0)) : undefined
    } catch {
      // It is met again there.
      return undefined
    }
  }

  /**
   * As `StoreLock#enter`. A reader may go without where no lock file can be made in this folder.
   * @throws the errors of `PsLock#exclusive`; StoreIoError where the data cannot be written either
   */
  async enter(
    mode: LockMode,
    head: Operation,
    giveUp?: AbortSignal,
    waitedBeforeMs: number = head.waitedMs,
  ): Promise<Hold | undefined> {
    const { timeoutMs, signal } = head
    const { entry, wait } = lockInternals.entry(this.#lock, mode, {
      timeoutMs,
      signal: giveUp && signal ? either(signal, giveUp) : (giveUp ?? signal),
    })
    let waitedMs = 0
    try {
      if (head.ask || !entry.queue.tryEnter(mode, wait.sliceMs)) {
        const left = Math.max(1, wait.timeoutMs - waitedBeforeMs)
        const patient = wait.timeoutMs === 0 ? wait : { ...wait, timeoutMs: left, attempt: head.ask }
        waitedMs = await queueUp(entry, entry.queue, mode, patient)
      }
    } catch (error) {
      if (mode === 'shared' && isReadOnlyFolder(error)) return undefined
      throw mode === 'exclusive' ? lockFailure(lockInternals.guarded(this.#lock), error) : error
    }
    return head.isDone ? undefined : ofStore(new Hold(entry, mode, waitedMs))
  }

  within<T>(
    outer: Hold,
    mode: LockMode,
    options: AcquireOptions,
    run: (hold: Hold) => T,
  ): Promise<Awaited<T>> {
    const { entry, wait } = lockInternals.entry(this.#lock, mode, options)
    return enter(entry, outer, mode, wait, (hold) => run(ofStore(hold)))
  }
}

/** A hold of a store's, see `Hold.isOfStore`. */
function ofStore(hold: Hold): Hold {
  hold.isOfStore = true
  return hold
}

/** As `AbortSignal.any`, which refuses signals of other libraries. */
function either(one: AbortSignal, other: AbortSignal): AbortSignal {
  const both = new AbortController()
  for (const signal of [one, other]) {
    if (signal.aborted) both.abort(signal.reason)
    signal.addEventListener('abort', () => both.abort(signal.reason), { once: true, signal: both.signal })
  }
  return both.signal
}
