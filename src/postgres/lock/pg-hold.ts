import { requireFunction } from '../../arguments.ts'
import {
  ClosedError,
  LockLostError,
  type LockMode,
  LockUpgradeError,
  type PsLockError,
} from '../../errors.ts'
import { AnyHold, channels, outsideHolds, publish, shared } from '../../lock/hold.ts'
import { LocalQueue } from '../../lock/local-queue.ts'
import { NAMED_LOCKS } from '../server/schema.ts'
import type { Address } from '../server/url.ts'
import { leaveLocalLock, localLockOf } from './local-lock.ts'
import { heldFor } from './pg-holders.ts'
import { ANSWER_MS, giveSession, type Session } from './sessions.ts'

/** How often a holder asks whether its connection is still there. With `ANSWER_MS` it knows within 5 s. */
const HEARTBEAT_MS = 2000

/** What the server has granted. */
export interface Grant {
  readonly session: Session
  /** The number of the lock's name. */
  readonly id: string
  readonly token: bigint
}

/** What the callback of `PgLock#exclusive` and `shared` is given. */
export interface PgLockHold {
  /** The lock: its server, its database and its name. */
  readonly path: string
  readonly mode: LockMode
  /**
   * Rises with every hold, also when the server was restarted, has crashed or was replaced by its standby. Send it along with
   * what you write elsewhere, and let that refuse a lower one than it has seen: then nobody who has lost the lock and does not
   * know it yet can do harm. At most 63 bits.
   */
  readonly fencingToken: bigint
  /** Aborts, with a `LockLostError` as its reason, within 5 s after the connection to the server was lost. */
  readonly signal: AbortSignal
}

/** One granted hold: of the server where it is an outermost one, else inside another. */
export class PgHold extends AnyHold implements PgLockHold {
  readonly address: Address
  readonly mode: LockMode
  readonly fencingToken: bigint
  readonly outer: PgHold | undefined
  readonly since: number = performance.now()
  /** Where `acquire()` was called; V8 formats its stack when it is read. */
  readonly acquiredAt: Error | undefined
  /** Where nested holds queue. */
  readonly queue: LocalQueue = new LocalQueue()
  /** Resolves when the server has freed it. */
  freed: Promise<void> | undefined
  readonly #grant: Grant | undefined
  /** Those inside it. No private name, for they may be of another copy of this package; so is what they use of it. */
  readonly nested: Set<PgHold> = new Set()
  readonly #abort = new AbortController()
  #heartbeat: NodeJS.Timeout | undefined

  /**
   * @param from the server's grant, or the hold around this one
   * @param waitedMs how long it took to get it
   */
  constructor(address: Address, mode: LockMode, from: Grant | PgHold, waitedMs: number, acquiredAt?: Error) {
    super()
    this.address = address
    this.mode = mode
    this.acquiredAt = acquiredAt
    if (!('token' in from)) {
      this.outer = from
      this.fencingToken = from.fencingToken
      from.nested.add(this)
      if (from.failure) this.fail(from.failure)
    } else {
      const { session, token } = from
      this.fencingToken = token
      this.#grant = from
      localLockOf(address).holds.set(session.connection.pid, this)
      session.onLost = (error) => this.#lost(error)
      if (!session.connection.isOpen) this.#lost(new Error('the connection was lost'))
      outsideHolds(() => this.#beatLater())
    }
    if (channels.acquire.hasSubscribers) {
      publish('acquire', { path: this.path, mode, waitedMs, nested: this.outer !== undefined })
    }
  }

  get path(): string {
    return this.address.shown
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** What a callback may have of it. */
  get view(): PgLockHold {
    const { path, mode, fencingToken, signal } = this
    return { path, mode, fencingToken, signal }
  }

  /** The lock was lost under it. */
  fail(error: PsLockError): void {
    if (this.failure) return
    this.failure = error
    // Listeners are user code: they run outside of whatever hold the heartbeat was started in.
    outsideHolds(() => this.#abort.abort(error))
    for (const nested of this.nested) nested.fail(error)
  }

  /** Told by the connection. */
  verify(): void {}

  /** Ends it. Resolves when it is free, and all that was accepted inside has ended. */
  async free(): Promise<void> {
    const ended = this.end()
    if (ended) await ended
    await this.freed
  }

  protected giveBack(): void {
    if (this.outer) {
      this.outer.nested.delete(this)
      this.outer.queue.leave()
      this.#tellRelease()
    } else this.freed = this.#unlock(this.#grant as Grant)
  }

  async #unlock({ session, id }: Grant): Promise<void> {
    clearTimeout(this.#heartbeat)
    try {
      const form = this.mode === 'shared' ? 'pg_advisory_unlock_shared' : 'pg_advisory_unlock'
      const text = `select ${form}(${NAMED_LOCKS}, $1::int)::text`
      const [row] = await session.ask({ text, values: [id], name: `pslock-${form}` })
      if (row?.[0] !== 'true') this.#lost(new Error('the server did not know of it any more'))
    } catch (error) {
      // It may have been lost before all was done.
      this.#lost(error)
    } finally {
      const local = localLockOf(this.address)
      local.holds.delete(session.connection.pid)
      // Of what failed without being lost nobody knows what state it is in.
      if (this.failure) session.connection.destroy()
      else giveSession(this.address, session)
      leaveLocalLock(this.address, local)
      this.#tellRelease()
    }
  }

  #tellRelease(): void {
    if (!channels.release.hasSubscribers) return
    const heldMs = performance.now() - this.since
    publish('release', { path: this.path, mode: this.mode, heldMs, nested: this.outer !== undefined })
  }

  #lost(cause: unknown): void {
    const why = (cause as { cause?: { message?: unknown } }).cause?.message ?? (cause as Error).message
    this.fail(
      new LockLostError(
        `the lock ${this.path} was lost while it was held (${why}): the server has freed it, or will in a moment, so somebody ` +
          'else may have held it at the same time. Check what was done, and make what it guards refuse a lower fencingToken.',
        { path: this.path, cause },
      ),
    )
  }

  #beatLater(): void {
    this.#heartbeat = setTimeout(() => this.#beat(), HEARTBEAT_MS).unref()
  }

  async #beat(): Promise<void> {
    if (!this.isOpenOrUsed) return
    try {
      const text = `/* ${heldFor(performance.now() - this.since)} */ select 1`
      await (this.#grant as Grant).session.ask({ text }, ANSWER_MS)
      if (this.isOpenOrUsed) this.#beatLater()
    } catch (error) {
      this.#lost(error)
    }
  }

  /** Whether the server still has it for us. */
  get isOpenOrUsed(): boolean {
    return this.freed === undefined && !this.failure
  }
}

/** The innermost open hold of this lock that the current asynchronous context runs in. */
export function enclosing({ key }: Address): PgHold | undefined {
  for (let frame = shared.context.get(); frame; frame = frame.outer) {
    // Not by its class: it may be another copy's of this package.
    const hold = frame.hold as Partial<PgHold>
    if (hold.fencingToken !== undefined && hold.address?.key === key && hold.isOpen) return hold as PgHold
  }
  return undefined
}

/** @throws LockUpgradeError */
export function requireNoUpgrade(outer: PgHold, mode: LockMode): void {
  if (mode !== 'exclusive' || outer.mode !== 'shared') return
  throw new LockUpgradeError(
    `an exclusive lock of ${outer.path} was asked for inside one's own shared hold. Two such tasks would wait for each ` +
      'other for ever: take the exclusive lock from the start.',
    { path: outer.path },
  )
}

/** Makes what `PgLock#acquire` and `tryAcquire` hand out. */
export let handedOut: (hold: PgHold) => PgHeldLock

/** What `PgLock#acquire` hands out. `exclusive` and `shared` are safer, since they cannot forget to release. */
export class PgHeldLock implements PgLockHold {
  readonly path: string
  readonly mode: LockMode
  readonly fencingToken: bigint
  readonly signal: AbortSignal
  readonly #hold: PgHold
  #released: Promise<void> | undefined

  static {
    handedOut = (hold) => new PgHeldLock(hold)
  }

  private constructor(hold: PgHold) {
    this.#hold = hold
    this.path = hold.path
    this.mode = hold.mode
    this.fencingToken = hold.fencingToken
    this.signal = hold.signal
  }

  /**
   * Runs the callback inside this hold: calls that lock the same name re-enter instead of waiting. A release while the
   * callback runs takes effect when it has ended.
   * @throws ClosedError after `release()`; LockLostError, once `run` has settled, if the lock was lost meanwhile; whatever
   * `run` throws
   */
  async run<T>(run: () => T): Promise<Awaited<T>> {
    requireFunction(run, 'run')
    const hold = this.#hold
    if (!hold.isOpen) {
      const message = `this hold of ${this.path} was released before run() was called`
      throw new ClosedError(message, { path: this.path })
    }
    return hold.during(run, hold.accept())
  }

  /**
   * Releases the lock, and resolves when the server has freed it. Calling it again does nothing more.
   * @throws LockLostError if the lock was lost, so that what was done under it was not protected
   */
  release(): Promise<void> {
    this.#released ??= this.#release()
    return this.#released
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release()
  }

  async #release(): Promise<void> {
    await this.#hold.free()
    this.#hold.requireKept()
  }
}
