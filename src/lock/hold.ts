import { isThenable } from '../arguments.ts'
import { LockIoError, LockLostError, type LockMode, type PsLockError } from '../errors.ts'
import { isHeard, publish } from './events.ts'
import { Room } from './room.ts'
import { type Frame, outsideHolds, shared } from './shared-state.ts'
import type { Site } from './site.ts'

/**
 * One granted hold. Code that runs inside it may re-enter; each re-entry is a hold of its own in this one's room, so
 * that siblings (`Promise.all` of two exclusive calls) exclude each other and only a descendant goes in.
 */
export class Hold {
  readonly site: Site
  readonly mode: LockMode
  readonly outer: Hold | undefined
  readonly since: number = performance.now()
  /** Where `acquire()` was called, for a timeout error of the same process; V8 formats its stack when it is read. */
  readonly acquiredAt: Error | undefined
  /** Which store object changes the file in it, at this moment or before. For the floor above. */
  owner: object | undefined
  /** A store's own: it locks its data file besides, and is told there where the lock file does not protect it. */
  isOfStore = false
  #room: Room | undefined
  #accepted = 0
  #settled = false
  #failure: PsLockError | undefined
  #abort: AbortController | undefined
  readonly #onEnded: (() => void)[] = []

  /** @param waitedMs how long it took to get it */
  constructor(site: Site, mode: LockMode, waitedMs: number, outer?: Hold, acquiredAt?: Error) {
    this.site = site
    this.mode = mode
    this.outer = outer
    this.acquiredAt = acquiredAt
    site.entered(this)
    if (isHeard('acquire')) {
      publish('acquire', { path: site.path, mode, waitedMs, nested: outer !== undefined })
    }
  }

  /** Where nested holds queue. */
  get room(): Room {
    this.#room ??= new Room()
    return this.#room
  }

  /** Whether re-entering is still possible: a timer that fires after the callback settled is a newcomer. */
  get isOpen(): boolean {
    return !this.#settled
  }

  /** Counts something that runs, or waits to run, inside: the lock stays until it is done. */
  accept(): () => void {
    this.#accepted++
    return () => {
      this.#accepted--
      if (this.#settled && this.#accepted === 0) this.#finish()
    }
  }

  /** Aborts when the lock is lost under this hold; the reason is the error. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (!this.#settled) this.site.watch()
    }
    if (this.#failure) this.#abort.abort(this.#failure)
    return this.#abort.signal
  }

  /** The lock was lost under this hold, or could not be given back. */
  fail(error: PsLockError): void {
    if (this.isOfStore) return
    this.#failure ??= error
    // Listeners are user code: they run outside of whatever hold the heartbeat was started in.
    if (this.#abort) outsideHolds(() => this.#abort?.abort(error))
  }

  get isLost(): boolean {
    return this.#failure !== undefined
  }

  /** @throws what went wrong with the lock, together with what the callback has thrown, if it has */
  requireKept(thrown?: unknown): void {
    const failure = this.#failure
    if (!failure) return
    if (thrown === undefined || thrown === failure) throw failure
    const { message, path } = failure
    const cause = new AggregateError([failure.cause, thrown], 'the lock failed, and the callback threw')
    throw failure instanceof LockLostError
      ? new LockLostError(message, { path, cause })
      : new LockIoError(message, { path, cause })
  }

  /**
   * Runs with this hold in the asynchronous context.
   * @throws LockLostError, without running, where the lock is already lost
   */
  run<T>(run: () => T): T {
    this.requireKept()
    const frame: Frame = { hold: this, outer: shared.context.get() }
    return shared.context.run(frame, this, run)
  }

  /** As `run`; a thenable that begins to work only when it is awaited (a query, a cursor) does so inside too. */
  runToEnd<T>(run: () => T): T | Promise<Awaited<T>> {
    const value = this.run(run)
    if (value instanceof Promise || !isThenable(value)) return value
    return this.run(async (): Promise<Awaited<T>> => await value)
  }

  /** Ends the hold; the lock drops as soon as all accepted nested work has ended too. */
  end(): Promise<void> | undefined {
    if (this.#settled) return undefined
    this.#settled = true
    if (this.#accepted === 0) {
      this.#finish()
      return undefined
    }
    return new Promise((resolve) => this.whenEnded(resolve))
  }

  /** Called when the lock has dropped. */
  whenEnded(ended: () => void): void {
    this.#onEnded.push(ended)
  }

  #finish(): void {
    shared.context.leave(this)
    this.site.left(this)
    if (isHeard('release')) {
      const heldMs = performance.now() - this.since
      publish('release', { path: this.site.path, mode: this.mode, heldMs, nested: this.outer !== undefined })
    }
    for (const ended of this.#onEnded) ended()
  }
}
