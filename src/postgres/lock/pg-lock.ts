import {
  durationMs,
  type OptionNames,
  optionNames,
  requireFunction,
  requireKnown,
  requireOneOf,
  requireSignal,
} from '../../arguments.ts'
import { ClosedError, type LockMode, type PgLockHolder } from '../../errors.ts'
import { Uses } from '../../lock/hold.ts'
import { ACQUIRE_NAMES, type AcquireOptions, DEFAULTS, HAND_OUT_NAMES, joins } from '../../lock/options.ts'
import { Address } from '../server/url.ts'
import { holders, type PgWait, takeLock, takeNested, tryLock } from './acquisition.ts'
import { enclosing, handedOut, type PgHeldLock, type PgHold, type PgLockHold } from './pg-hold.ts'
import { leaveSessions, useSessions } from './sessions.ts'

export interface PgLockOptions {
  /**
   * The name of the lock in its database: at most 200 characters.
   * @default the part of the url behind `#`
   */
  readonly name?: string | undefined
  /**
   * Longest wait of every acquisition, in milliseconds; `Infinity` waits for ever. It is also tried for so long to reach a
   * server that is away.
   * @default 30_000
   */
  readonly timeoutMs?: number | undefined
}

const PG_LOCK_NAMES: OptionNames = optionNames<PgLockOptions>({ name: true, timeoutMs: true })

/**
 * A lock on a name in a database of PostgreSQL, between the processes of several machines, worker threads and the tasks of one
 * process. It is an advisory lock of a session: the server frees it when the connection of its holder ends, within 15 s also where
 * the holder's machine or network is gone. A holder that is stopped keeps it. It needs the package `pg`.
 *
 * At any moment there is at most one exclusive holder, or any number of shared holders. Waits are finite, and first come, first
 * served between the processes.
 *
 * A network can be cut, and a server can fail: then a holder has lost the lock before it knows. It is told within 5 s by `signal`,
 * and at the end by a `LockLostError`. Where that is not enough, use the `fencingToken`. The lock must not go through a
 * connection pooler.
 */
export class PgLock {
  readonly #address: Address
  readonly #timeoutMs: number
  readonly #uses = new Uses()
  #isUsed = false
  #closed: Promise<void> | undefined

  /**
   * Connects to nothing yet.
   * @param url `postgres://user:password@host:port/database#name`, with the options that `pg` takes
   * @throws TypeError for a wrong url, name or duration, and for an unknown option
   */
  constructor(url: string | URL, options: PgLockOptions = {}) {
    requireKnown(options, PG_LOCK_NAMES)
    this.#address = Address.of(url, options.name)
    this.#timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', DEFAULTS.timeoutMs)
  }

  /** The server, the database and the name, without user and password: `postgres://db.example.com/app#jobs` */
  get path(): string {
    return this.#address.shown
  }

  /**
   * Runs the callback while nobody else holds the lock. Calls on the same lock inside it re-enter. The lock is free again
   * before the promise resolves.
   * @param run is given the hold, for its `fencingToken` and its `signal`
   * @returns the value of the callback
   * @throws LockTimeoutError, StoreUnavailableError, LockUpgradeError inside one's own `shared`, LockUnsupportedError,
   * ClosedError, the reason of the signal, and whatever `run` throws. LockLostError, once `run` has settled, if the connection
   * to the server was lost meanwhile; its `cause` has what `run` has thrown
   */
  exclusive<T>(run: (hold: PgLockHold) => T, options?: AcquireOptions): Promise<Awaited<T>> {
    return this.#run('exclusive', run, options)
  }

  /** As `exclusive`, but any number of shared holders may run at the same time. */
  shared<T>(run: (hold: PgLockHold) => T, options?: AcquireOptions): Promise<Awaited<T>> {
    return this.#run('shared', run, options)
  }

  /**
   * Takes the lock and returns the hold, which must be released. It does not re-enter: inside one's own hold it waits for
   * that hold. Use `held.run` for this.
   * @throws as `exclusive`
   */
  async acquire(options: AcquireOptions & { mode?: LockMode | undefined } = {}): Promise<PgHeldLock> {
    const acquiredAt = new Error('acquired here')
    const mode = this.#modeOf(options)
    const wait = this.#wait(options)
    return this.#uses.during(async () =>
      this.#handOut(await takeLock(this.#address, mode, { ...wait, acquiredAt })),
    )
  }

  /**
   * Takes the lock if it is free now. It waits for nothing but the server's answer.
   * @returns undefined if it is not free
   * @throws StoreUnavailableError, LockUnsupportedError, ClosedError
   */
  async tryAcquire(options: { mode?: LockMode | undefined } = {}): Promise<PgHeldLock | undefined> {
    const mode = this.#modeOf(options)
    this.#open()
    return this.#uses.during(async () => {
      const hold = await tryLock(this.#address, mode)
      return hold && this.#handOut(hold)
    })
  }

  /**
   * Who holds this lock and who waits for it, in order, on whichever machine. Of each other process only its first waiter is
   * listed. What is unknown is undefined, never guessed.
   * @throws StoreUnavailableError, LockUnsupportedError, ClosedError
   */
  async holders(): Promise<PgLockHolder[]> {
    this.#open()
    return this.#uses.during(() => holders(this.#address, this.#timeoutMs))
  }

  /**
   * Refuses further use of this object, and resolves when its holds have ended and its connections are closed. Other
   * `PgLock`s are not affected. It need not be called: an idle lock does not keep the process alive.
   * @throws LockDeadlockError inside one's own hold, for whose end it would wait
   */
  async close(): Promise<void> {
    this.#uses.requireNotInside(this.path, () => enclosing(this.#address) !== undefined)
    this.#closed ??= this.#uses.close().then(() => (this.#isUsed ? leaveSessions(this.#address) : undefined))
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #run<T>(
    mode: LockMode,
    run: (hold: PgLockHold) => T,
    options: AcquireOptions = {},
  ): Promise<Awaited<T>> {
    requireFunction(run, 'run')
    requireKnown(options, ACQUIRE_NAMES)
    const wait = this.#wait(options)
    const outer = joins(options) ? enclosing(this.#address) : undefined
    // What waits inside a hold counts as part of it from now on: the hold must not end under it.
    const done = outer?.accept()
    return this.#uses.during(async (): Promise<Awaited<T>> => {
      try {
        const hold = await (outer ? takeNested(outer, mode, wait) : takeLock(this.#address, mode, wait))
        return await hold.during(
          () => run(hold.view),
          () => hold.free(),
        )
      } finally {
        done?.()
      }
    })
  }

  #modeOf(options: { mode?: LockMode | undefined }): LockMode {
    requireKnown(options, HAND_OUT_NAMES)
    const { mode = 'exclusive' } = options
    requireOneOf(mode, 'mode', ['exclusive', 'shared'])
    return mode
  }

  #wait({ timeoutMs, signal }: AcquireOptions): PgWait {
    requireSignal(signal)
    const wait = { timeoutMs: durationMs(timeoutMs, 'timeoutMs', this.#timeoutMs), signal }
    this.#open()
    if (signal?.aborted) throw signal.reason
    return wait
  }

  async #handOut(hold: PgHold): Promise<PgHeldLock> {
    this.#uses.count++
    hold.whenEnded(() => hold.freed?.then(() => this.#uses.end()))
    const held = handedOut(hold)
    if (hold.failure) await held.release()
    return held
  }

  #open(): void {
    if (this.#uses.closing) throw new ClosedError(`this lock of ${this.path} was closed`, { path: this.path })
    if (this.#isUsed) return
    this.#isUsed = true
    useSessions(this.#address)
  }
}
