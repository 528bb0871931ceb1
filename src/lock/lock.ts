import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  durationMs,
  isThenable,
  type LockPath,
  requireFunction,
  requireKnown,
  requirePath,
  requireSignal,
} from '../arguments.ts'
import {
  ClosedError,
  errnoOf,
  type LockHolder,
  type LockMode,
  LockUnsupportedError,
  PsLockError,
} from '../errors.ts'
import { type Name, NameStat } from '../os/file-stat.ts'
import type { PathLock } from '../os/flock.ts'
import { turn } from '../os/steps.ts'
import { type HeldLock, handedOut } from './held-lock.ts'
import { channels, enclosing, enter, Hold, queueUp, queueUpBlocking, queueWithin, Uses } from './hold.ts'
import { type LocalQueue, mustTurn } from './local-queue.ts'
import { canonicalPath, LockFile, openFailure, requireOneName } from './lock-file.ts'
import { removeLockFile } from './lock-removal.ts'
import {
  ACQUIRE_NAMES,
  type AcquireOptions,
  type CloseOptions,
  DEFAULTS,
  HAND_OUT_NAMES,
  joins,
  PS_LOCK_NAMES,
  type PsLockOptions,
  removes,
  type WaitOptions,
} from './options.ts'
import { type Backend, backendOf, LockEntry, timeoutError } from './registry.ts'

const LOCK_SUFFIX = '.lock'

/** Forgotten locks give their file descriptors back; a hold keeps its lock alive, so none is ever released here. */
const forgotten = new FinalizationRegistry<LockEntry>((entry) => entry.release())

/** What the floors above ask of a lock. These are no members of it: those are what users are promised. */
export interface LockInternals {
  /** A lock whose file has this very path, which must be a real one but for its last part. */
  at(lockPath: string, guards: string): PsLock
  /** For operations in holds of the caller's own: how this lock would wait. */
  entry(lock: PsLock, mode: LockMode, options?: AcquireOptions): { entry: LockEntry; wait: WaitOptions }
  /** The blocking call of a store, see `Hold.isOfStore`. */
  duringSync(lock: PsLock, mode: LockMode, run: () => void, options: AcquireOptions): void
  /** The file that is guarded. */
  guarded(lock: PsLock): string
  /** @throws LockDeadlockError where the caller runs inside a hold of this lock */
  requireNotInside(lock: PsLock): void
  /** Whether `close()` was called. */
  isClosing(lock: PsLock): boolean
  /**
   * Takes the lock for a call of a store's that ends before it returns, so that it needs no hold. `leave` of what this
   * returns gives it back.
   * @param ask see `Brief`
   * @returns false where it must wait; undefined where the caller runs in a hold of this lock, or somebody is told of every hold
   * @throws what opening the lock file throws
   */
  tryEnter(lock: PsLock, mode: LockMode, ask?: () => boolean): LocalQueue | false | undefined
  /** The same in `WaitOptions.attempt`. @param ask see `Arbiter.tryAgain` */
  tryAgain(lock: PsLock, ask?: (turnFd: number) => boolean): LocalQueue | false | undefined
  /** The lock file, where it is open and this process may lock it by its descriptor. */
  openFile(lock: PsLock): PathLock | undefined
}

export let lockInternals: LockInternals

/**
 * A lock on one file between processes, worker threads and the tasks of one process. It is flock(2) on a lock file beside
 * the file; the kernel frees it when its holder dies, and never before.
 *
 * At any moment there is at most one exclusive holder, or any number of shared holders. Waits are finite and first come,
 * first served. It promises nothing between machines (NFS, SMB) and nothing against code that does not lock.
 */
export class PsLock {
  readonly #timeoutMs: number
  readonly #sliceMs: number
  readonly #guards: string
  /** Whether links are not followed to the lock file. */
  #isExact = false
  readonly #name: NameStat
  readonly #lockPath: string | undefined
  readonly #backend: Backend
  #entry: LockEntry | undefined
  /** Whether the name led to the lock file through symbolic links. */
  #isAlias = false
  readonly #uses = new Uses()

  static {
    lockInternals = {
      at(lockPath, guards) {
        const lock = new PsLock(guards, { lockPath })
        lock.#isExact = true
        return lock
      },
      entry(lock, mode, options) {
        const entry = lock.#open()
        return { entry, wait: lock.#wait(entry, mode, options) }
      },
      duringSync: (lock, mode, run, options) => lock.#runSync(mode, run, options, true),
      guarded: (lock) => lock.#guards,
      requireNotInside: (lock) => lock.#requireNotInside(),
      isClosing: (lock) => lock.#uses.closing !== undefined,
      tryEnter(lock, mode, ask) {
        const entry = lock.#open()
        const isHeard = channels.acquire.hasSubscribers || channels.release.hasSubscribers
        if (isHeard || enclosing(entry)) return undefined
        return entry.queue.tryEnter(mode, lock.#sliceMs, { ask }) && entry.queue
      },
      tryAgain(lock, ask) {
        const queue = lock.#entry?.queue
        const isHeard = channels.acquire.hasSubscribers || channels.release.hasSubscribers
        if (isHeard || !queue || lock.#uses.closing !== undefined) return undefined
        return queue.tryAgain(lock.#sliceMs, ask) && queue
      },
      openFile(lock) {
        const file = lock.#entry?.file
        return file instanceof LockFile && file.fd !== undefined ? file : undefined
      },
    }
  }

  /**
   * Opens nothing yet.
   * @param path the file to guard, as a text, a `file:` URL or bytes. It need not exist. A path that ends in `.lock` is the
   * lock file itself
   * @throws TypeError for a wrong path, duration or backend, and for an unknown option
   */
  constructor(path: LockPath, options: PsLockOptions = {}) {
    requireKnown(options, PS_LOCK_NAMES)
    requireNoServer(path)
    // Now: a later chdir must not make it another file.
    this.#guards = resolve(requirePath(path, 'path'))
    this.#name = new NameStat(this.#guards)
    this.#timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', DEFAULTS.timeoutMs)
    this.#sliceMs = durationMs(options.sliceMs, 'sliceMs', DEFAULTS.sliceMs)
    this.#lockPath =
      options.lockPath === undefined ? undefined : resolve(requirePath(options.lockPath, 'lockPath'))
    this.#backend = backendOf(options)
  }

  /** The lock file: the real path of the guarded file (symbolic links followed), plus `.lock`. */
  get path(): string {
    return this.#entry?.path ?? this.#resolve().lock
  }

  /**
   * Runs the callback while nobody else holds the lock. Calls on the same file inside it re-enter. The lock is free again
   * before the promise resolves.
   * @returns the value of the callback
   * @throws LockTimeoutError, LockUpgradeError inside one's own `shared`, LockIoError, LockUnsupportedError, ClosedError,
   * the reason of the signal, and whatever `run` throws. LockLostError, once `run` has settled, if the lock file was
   * removed or replaced meanwhile, or the `lockfile` backend lost the lock; its `cause` is what `run` has thrown
   */
  exclusive<T>(run: () => T, options?: AcquireOptions): Promise<Awaited<T>> {
    return this.#run('exclusive', run, options)
  }

  /** As `exclusive`, but any number of shared holders may run at the same time. */
  shared<T>(run: () => T, options?: AcquireOptions): Promise<Awaited<T>> {
    return this.#run('shared', run, options)
  }

  /**
   * Takes the lock and returns the hold, which must be released. It does not re-enter: inside one's own hold it waits for
   * that hold. Use `held.run` for this.
   * @throws as `exclusive`
   */
  async acquire(options: AcquireOptions & { mode?: LockMode | undefined } = {}): Promise<HeldLock> {
    const acquiredAt = new Error('acquired here')
    const { mode, entry } = this.#openToHandOut(options)
    const wait = this.#wait(entry, mode, options)
    if (mustTurn()) await this.#uses.during(() => turn(options.signal))
    const waitedMs = entry.queue.tryEnter(mode, this.#sliceMs)
      ? 0
      : await this.#uses.during(() => queueUp(entry, entry.queue, mode, wait))
    return this.#handOut(new Hold(entry, mode, waitedMs, undefined, acquiredAt))
  }

  /** Takes the lock if it is free now. @returns undefined if it is not free */
  tryAcquire(options: { mode?: LockMode | undefined } = {}): HeldLock | undefined {
    const { mode, entry } = this.#openToHandOut(options)
    return entry.queue.force(mode) ? this.#handOut(new Hold(entry, mode, 0)) : undefined
  }

  /**
   * As `exclusive`, but blocks the thread, so nothing else in this thread runs meanwhile. For code that must be
   * synchronous. `run` must not return a promise.
   * @throws as `exclusive`; LockDeadlockError if an asynchronous hold of this process is in the way; TypeError if `run`
   * returns a promise
   */
  exclusiveSync<T>(run: () => T, options?: AcquireOptions): T {
    return this.#runSync('exclusive', run, options)
  }

  /** As `exclusiveSync`, but any number of shared holders may run at the same time. */
  sharedSync<T>(run: () => T, options?: AcquireOptions): T {
    return this.#runSync('shared', run, options)
  }

  /** As `acquire`, but blocks the thread. @throws as `exclusiveSync` */
  acquireSync(options: AcquireOptions & { mode?: LockMode | undefined } = {}): HeldLock {
    const { mode, entry } = this.#openToHandOut(options)
    const waitedMs = this.#enterSync(entry, entry.queue, mode, options)
    return this.#handOut(new Hold(entry, mode, waitedMs))
  }

  /**
   * Who holds this lock and who waits for it, in order. Of each other process only its first waiter is listed. What is
   * unknown is undefined, never guessed: since when another process has held the lock is known only once somebody waits.
   */
  holders(): LockHolder[] {
    return this.#open().holders()
  }

  /**
   * Refuses further use of this object, and resolves when its holds have ended and its file is closed. Other `PsLock`s on
   * the same path are not affected. It need not be called: an idle lock does not keep the process alive.
   * @throws LockDeadlockError inside one's own hold, for whose end it would wait. With `remove`, LockIoError if the lock
   * file cannot be removed; the lock is closed all the same
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const remove = removes(options)
    this.#requireNotInside()
    const { path } = this
    await this.#uses.close(() => this.#leave())
    // A lock folder is gone as soon as nobody holds it.
    if (remove && this.#backend.kind === 'flock') removeLockFile(path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** All arguments are looked at here, and only here; most calls have no options. */
  async #run<T>(mode: LockMode, run: () => T, options?: AcquireOptions): Promise<Awaited<T>> {
    if (typeof run !== 'function') requireFunction(run, 'run')
    if (options !== undefined) requireKnown(options, ACQUIRE_NAMES)
    const entry = this.#openNamed()
    const wait = this.#wait(entry, mode, options)
    const outer = options === undefined || joins(options) ? enclosing(entry) : undefined
    return await enter(entry, outer, mode, wait, run, this.#uses)
  }

  #runSync<T>(mode: LockMode, run: () => T, options: AcquireOptions = {}, isOfStore = false): T {
    requireFunction(run, 'run')
    requireKnown(options, ACQUIRE_NAMES)
    const entry = isOfStore ? this.#open() : this.#openNamed()
    const outer = joins(options) ? enclosing(entry) : undefined
    const waitedMs = this.#enterSync(entry, queueWithin(outer, entry, mode), mode, options)
    const hold = new Hold(entry, mode, waitedMs, outer)
    hold.isOfStore = isOfStore
    this.#uses.count++
    let result: T
    let thrown: unknown
    try {
      result = hold.run(run)
    } catch (error) {
      thrown = error
      throw error
    } finally {
      void hold.end()
      this.#uses.end()
      hold.requireKept(thrown)
    }
    if (isThenable(result)) {
      Promise.resolve(result).catch(() => {})
      throw new TypeError(
        'run must not return a promise in the Sync forms, since the lock ends when it returns: use exclusive()',
      )
    }
    return result
  }

  #enterSync(entry: LockEntry, queue: LocalQueue, mode: LockMode, options: AcquireOptions): number {
    const wait = this.#wait(entry, mode, options)
    return queue.tryEnter(mode, this.#sliceMs) ? 0 : queueUpBlocking(entry, queue, mode, wait)
  }

  #wait(entry: LockEntry, mode: LockMode, options?: AcquireOptions): WaitOptions {
    let timeoutMs = this.#timeoutMs
    const signal = options?.signal
    if (options !== undefined) {
      requireSignal(signal)
      if (signal?.aborted) throw signal.reason
      timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', timeoutMs)
    }
    const onTimeout = (waitedMs: number) => timeoutError(entry, mode, waitedMs)
    return { timeoutMs, sliceMs: this.#sliceMs, signal, onTimeout }
  }

  #openToHandOut(options: { mode?: LockMode | undefined }): { mode: LockMode; entry: LockEntry } {
    requireKnown(options, HAND_OUT_NAMES)
    const { mode = 'exclusive' } = options
    if (mode !== 'exclusive' && mode !== 'shared')
      throw new TypeError(`mode must be 'exclusive' or 'shared', got ${String(mode)}`)
    return { mode, entry: this.#openNamed() }
  }

  #handOut(hold: Hold): HeldLock {
    this.#uses.count++
    hold.whenEnded(() => this.#uses.end())
    const held = handedOut(hold)
    if (hold.failure) held.release()
    return held
  }

  #requireNotInside(): void {
    const entry = this.#entry
    if (entry) this.#uses.requireNotInside(entry.path, () => enclosing(entry) !== undefined)
  }

  #open(): LockEntry {
    if (this.#uses.closing)
      throw new ClosedError(`this lock of ${this.#guards} was closed`, { path: this.#guards })
    if (!this.#entry) {
      const { lock, guards } = this.#resolve()
      this.#entry = LockEntry.open(lock, guards, this.#backend)
      forgotten.register(this, this.#entry, this)
    }
    return this.#entry
  }

  /**
   * As `#open`, for a lock that nothing but its name protects: the name is resolved again whenever the lock is idle,
   * since an editor's atomic save replaces a symbolic link by a file, and a file with two names has two lock files.
   * @throws LockIoError, LockUnsupportedError
   */
  #openNamed(): LockEntry {
    const entry = this.#entry
    if (this.#uses.closing || (entry && (entry.queue.inside > 0 || entry.queue.waiting.length > 0)))
      return this.#open()
    try {
      const named = this.#name.stat()
      if (!entry || (named && (named.isLink || named.links !== 1)) || this.#isAlias) this.#resolveAgain(named)
    } catch (cause) {
      throw this.#nameFailure(cause)
    }
    return this.#entry ?? this.#open()
  }

  /** The name may lead to another file than before, or to one that has other names too. */
  #resolveAgain(named: Name | undefined): void {
    const entry = this.#entry
    if (this.#lockPath === undefined && !this.#guards.endsWith(LOCK_SUFFIX)) {
      const target = named?.isLink ? statSync(this.#guards, { throwIfNoEntry: false }) : undefined
      const names = target?.isFile() ? target.nlink : named?.isFile ? named.links : 0
      if (names > 0) requireOneName(this.#guards, names, entry === undefined)
    }
    if (entry && (named?.isLink || this.#isAlias) && this.#resolve().lock !== entry.path) this.#leave()
  }

  #nameFailure(cause: unknown): Error {
    if (cause instanceof PsLockError) return cause
    if (errnoOf(cause) !== 'ELOOP') return openFailure(this.path, cause)
    const message = `cannot lock ${this.#guards}: its name leads through a loop of symbolic links. Remove one of them.`
    return new LockUnsupportedError(message, { path: this.#guards, cause })
  }

  #leave(): void {
    const entry = this.#entry
    if (!entry) return
    this.#entry = undefined
    forgotten.unregister(this)
    entry.release()
  }

  #resolve(): { lock: string; guards: string | undefined } {
    if (this.#lockPath !== undefined) {
      const lock = this.#isExact ? this.#lockPath : canonicalPath(this.#lockPath)
      this.#isAlias = lock !== this.#lockPath
      return { lock, guards: canonicalPath(this.#guards) }
    }
    const guards = canonicalPath(this.#guards)
    this.#isAlias = guards !== this.#guards
    return guards.endsWith(LOCK_SUFFIX)
      ? { lock: guards, guards: undefined }
      : { lock: `${guards}${LOCK_SUFFIX}`, guards }
  }
}

/** The path is not shown: there may be a password in it. @throws TypeError */
function requireNoServer(path: unknown): void {
  const text = path instanceof URL ? `${path.protocol}//` : path
  if (typeof text !== 'string' || !/^postgres(ql)?:\/\//i.test(text)) return
  throw new TypeError(
    'path must be that of a file, got the url of a PostgreSQL server: for a lock there use PgLock, whose calls are all asynchronous',
  )
}
