import { AsyncLocalStorage } from 'node:async_hooks'
import { type Channel, channel } from 'node:diagnostics_channel'
import { isThenable } from '../arguments.ts'
import { debug, isDebugging } from '../debug.ts'
import {
  LockDeadlockError,
  LockIoError,
  LockLostError,
  type LockMode,
  LockTimeoutError,
  LockUpgradeError,
  type PsLockError,
} from '../errors.ts'
import { runBlocking, runSteps, type Steps, turn } from '../os/steps.ts'
import { LocalQueue, mustTurn } from './local-queue.ts'
import type { WaitOptions } from './options.ts'
import type { LockEntry } from './registry.ts'

/**
 * What the current asynchronous context runs in, if anything.
 *
 * Until Node 24 an AsyncLocalStorage that was used once makes every promise of the process three times as dear, for good
 * (Node 20: 0.09 and 0.27 us each). So there is one for holds and operations of every kind, and those who make many
 * promises can have it switched off while nobody is inside: what a context knew then has ended.
 */
class Context<T> {
  readonly #storage = new AsyncLocalStorage<T | undefined>()
  readonly #insiders = new Set<object>()
  #isOn = false

  /** Switches it off where nobody is inside. @returns whether somebody is */
  rest(): boolean {
    if (this.#isOn && this.#insiders.size === 0) {
      this.#isOn = false
      this.#storage.disable()
    }
    return this.#isOn
  }

  get(): T | undefined {
    return this.#isOn ? this.#storage.getStore() : undefined
  }

  /**
   * Runs inside `value`.
   * @param insider who is inside from now on, until it says `leave`
   */
  run<R>(value: T, insider: object, run: () => R): R {
    this.#insiders.add(insider)
    this.#isOn = true
    return this.#storage.run(value, run)
  }

  /** Runs inside nothing. */
  outside<R>(run: () => R): R {
    return this.get() === undefined ? run() : this.#storage.run(undefined, run)
  }

  leave(insider: object): void {
    this.#insiders.delete(insider)
  }
}

/** One entry of the chain of what the current asynchronous context runs in, innermost first. */
export interface Frame {
  /** A `Hold`, or a hold or an operation of a floor above. */
  readonly hold: object
  readonly outer: Frame | undefined
}

interface SharedState {
  /** Every lock file this process has open, by its canonical path. */
  readonly entries: Map<string, LockEntry>
  readonly context: Context<Frame>
}

/**
 * Two copies of pslock in one process (two versions in node_modules, a bundle beside a package) must share one queue
 * and one context, or the second copy would wait for the first for ever. The number is that of this contract.
 */
const KEY = Symbol.for('pslock/1')

const globals = globalThis as typeof globalThis & { [KEY]?: SharedState }

globals[KEY] ??= { entries: new Map(), context: new Context<Frame>() }

export const shared: SharedState = globals[KEY]

/** Runs outside every hold: listeners, hooks and callbacks must not inherit one that is not theirs. */
export function outsideHolds<T>(run: () => T): T {
  return shared.context.outside(run)
}

/**
 * The message on the channels `pslock:wait`, `pslock:acquire`, `pslock:release`, `pslock:timeout` and `pslock:abort` of
 * `node:diagnostics_channel`, for metrics, traces and logs. Without a subscriber they cost nothing.
 */
export interface LockEvent {
  /** The lock file. */
  readonly path: string
  readonly mode: LockMode
  /** For acquire, timeout and abort: how long it waited, in milliseconds; 0 if the lock was free. */
  readonly waitedMs?: number
  /** For release: how long it was held, in milliseconds. */
  readonly heldMs?: number
  /** Whether it is (or would be) a hold inside a hold of the same lock. */
  readonly nested: boolean
}

export type EventKind = 'wait' | 'acquire' | 'release' | 'timeout' | 'abort'

export const channels: Record<EventKind, Channel> = {
  wait: channel('pslock:wait'),
  acquire: channel('pslock:acquire'),
  release: channel('pslock:release'),
  timeout: channel('pslock:timeout'),
  abort: channel('pslock:abort'),
}

if (isDebugging) {
  for (const [kind, events] of Object.entries(channels)) {
    events.subscribe((event) => {
      const { path, ...facts } = event as LockEvent
      debug(kind, path, facts)
    })
  }
}

/** Tells the listeners. They run outside every hold, and what they throw is reported as uncaught, not thrown here. */
export function publish(kind: EventKind, event: LockEvent): void {
  outsideHolds(() => channels[kind].publish(event))
}

/** What goes on in a lock object: `close()` refuses more of it and waits for its end. */
export class Uses {
  /** Whoever counts one up calls `end` later. */
  count = 0
  closing: Promise<void> | undefined
  #idle: (() => void) | undefined

  end(): void {
    this.count--
    if (this.count === 0) this.#idle?.()
  }

  async during<T>(run: () => T | Promise<T>): Promise<T> {
    this.count++
    try {
      return await run()
    } finally {
      this.end()
    }
  }

  /**
   * @param isInside whether the caller runs inside a hold of this object
   * @throws LockDeadlockError where it does, and would wait for itself
   */
  requireNotInside(path: string, isInside: () => boolean): void {
    if (this.closing || this.count === 0 || !isInside()) return
    throw new LockDeadlockError(
      `close() was called inside a hold of ${path}, and would wait for that hold to end. Call it outside.`,
      { path },
    )
  }

  /** Calls `last` and resolves when nothing goes on any more. */
  close(last: () => void = () => {}): Promise<void> {
    this.closing ??= this.#close(last)
    return this.closing
  }

  async #close(last: () => void): Promise<void> {
    if (this.count > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    last()
  }
}

/**
 * A hold of whatever kind: what runs inside it keeps it. It ends when its own callback has settled, and all that was
 * accepted inside.
 */
export abstract class AnyHold {
  /** What went wrong with the lock under it. */
  failure: PsLockError | undefined
  #accepted = 0
  #settled = false
  readonly #onEnded: (() => void)[] = []

  /** Whether re-entering is still possible: a timer that fires after the callback settled is a newcomer. */
  get isOpen(): boolean {
    return !this.#settled
  }

  /** Counts something that runs, or waits to run, inside: everything stays held until it is done. */
  accept(): () => void {
    this.#accepted++
    return () => {
      this.#accepted--
      if (this.#settled && this.#accepted === 0) this.#finish()
    }
  }

  /** @throws what went wrong with the lock, together with what the callback has thrown, if it has */
  requireKept(thrown?: unknown): void {
    const { failure } = this
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
    if (this.failure) this.requireKept()
    const frame: Frame = { hold: this, outer: shared.context.get() }
    return shared.context.run(frame, this, run)
  }

  /** As `run`; a thenable that begins to work only when it is awaited (a query, a cursor) does so inside too. */
  runToEnd<T>(run: () => T): T | Promise<Awaited<T>> {
    const value = this.run(run)
    if (value === undefined || value instanceof Promise || !isThenable(value)) return value
    return this.run(async (): Promise<Awaited<T>> => await value)
  }

  /** Runs to the end and calls `finish`. @throws as `requireKept`, else what `run` throws */
  async during<T>(run: () => T, finish: () => unknown): Promise<Awaited<T>> {
    let thrown: unknown
    try {
      return await this.runToEnd(run)
    } catch (error) {
      thrown = error
      throw error
    } finally {
      this.verify()
      await finish()
      this.requireKept(thrown)
    }
  }

  /** Ends the hold, as soon as all accepted work has ended too. */
  end(): Promise<void> | undefined {
    if (this.#settled) return undefined
    this.#settled = true
    if (this.#accepted > 0) return new Promise((resolve) => this.whenEnded(resolve))
    this.#finish()
    return undefined
  }

  /** Called when what was held is free. */
  whenEnded(ended: () => void): void {
    this.#onEnded.push(ended)
  }

  #finish(): void {
    shared.context.leave(this)
    this.giveBack()
    for (const ended of this.#onEnded) ended()
  }

  /** Looks whether the lock is still held; where it is not, `failure` says so. */
  abstract verify(): void

  protected abstract giveBack(): void
}

/**
 * One granted hold. Code that runs inside it may re-enter; each re-entry is a hold of its own in this one's queue, so
 * that siblings (`Promise.all` of two exclusive calls) exclude each other and only a descendant goes in.
 */
export class Hold extends AnyHold {
  readonly entry: LockEntry
  readonly mode: LockMode
  readonly outer: Hold | undefined
  readonly since: number = performance.now()
  /** Where `acquire()` was called, for a timeout error of the same process; V8 formats its stack when it is read. */
  readonly acquiredAt: Error | undefined
  /** Which store object changes the file in it, at this moment or before. For the floor above. */
  owner: object | undefined
  /** A store's own: it locks its data file besides, and is told there where the lock file does not protect it. */
  isOfStore = false
  #queue: LocalQueue | undefined
  #abort: AbortController | undefined

  /** @param waitedMs how long it took to get it */
  constructor(entry: LockEntry, mode: LockMode, waitedMs: number, outer?: Hold, acquiredAt?: Error) {
    super()
    this.entry = entry
    this.mode = mode
    this.outer = outer
    this.acquiredAt = acquiredAt
    entry.holds.add(this)
    // Readers share one lock: who joins those that have lost it has none.
    if (entry.file.failure) this.fail(entry.file.failure)
    if (!entry.noteTimer) entry.noteLater()
    if (channels.acquire.hasSubscribers) {
      publish('acquire', { path: entry.path, mode, waitedMs, nested: outer !== undefined })
    }
  }

  /** Where nested holds queue. */
  get queue(): LocalQueue {
    this.#queue ??= new LocalQueue()
    return this.#queue
  }

  /** Aborts when the lock is lost under this hold; the reason is the error. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (this.isOpen) this.entry.watch()
    }
    if (this.failure) this.#abort.abort(this.failure)
    return this.#abort.signal
  }

  /** The lock was lost under this hold, or could not be given back. */
  fail(error: PsLockError): void {
    if (this.isOfStore) return
    this.failure ??= error
    // Listeners are user code: they run outside of whatever hold the heartbeat was started in.
    if (this.#abort) outsideHolds(() => this.#abort?.abort(error))
  }

  verify(): void {
    verify(this.entry)
  }

  protected giveBack(): void {
    const { entry, mode, outer } = this
    // What is beside a store's own lock of its data file loses nothing, see DataFile.
    if (!this.isOfStore) verify(entry)
    if (entry.isNoted && entry.holds.size === 1) entry.eraseNote()
    ;(outer?.queue ?? entry.queue).leave()
    // Not before: what fails while the lock is given back is the failure of this hold.
    entry.holds.delete(this)
    if (entry.holds.size === 0 && (entry.users === 0 || entry.watching)) entry.rest()
    if (channels.release.hasSubscribers) {
      publish('release', {
        path: entry.path,
        mode,
        heldMs: performance.now() - this.since,
        nested: outer !== undefined,
      })
    }
  }
}

/**
 * Looks whether the lock is still held; where it is not, every hold is told. A flock that is held stays held, but of a
 * file that the path has left: a tmp cleaner, `git clean` or an `rm` has removed it, and others lock another one.
 */
export function verify({ path, file, holds }: LockEntry): void {
  if (file.verify) file.verify()
  else if (file.fd !== undefined && file.isCurrent === false) {
    const error = new LockLostError(
      `${path} was removed or replaced while it was held, so somebody else may have held the lock at the same time: ` +
        'what was done under it was not protected. Look at the data, find out who removes lock files, or put this one ' +
        'elsewhere with the lockPath option.',
      { path },
    )
    for (const hold of holds) hold.fail(error)
  }
}

/** The innermost hold of this lock file that the current asynchronous context runs in and that is still open. */
export function enclosing(entry: LockEntry): Hold | undefined {
  for (let frame = shared.context.get(); frame; frame = frame.outer) {
    // Not by its class: it may be another copy's of this package.
    const hold = frame.hold as Partial<Hold>
    if (hold.entry === entry && hold.isOpen) return hold as Hold
  }
  return undefined
}

/** Where to queue: inside the enclosing hold, or at the lock itself. */
export function queueWithin(outer: Hold | undefined, entry: LockEntry, mode: LockMode): LocalQueue {
  if (!outer) return entry.queue
  if (mode === 'exclusive' && outer.mode === 'shared') {
    throw new LockUpgradeError(
      `an exclusive lock of ${entry.path} was asked for inside one's own shared hold. Two such tasks would wait for ` +
        'each other for ever: take the exclusive lock from the start.',
      { path: entry.path },
    )
  }
  return outer.queue
}

/**
 * Waits in the local queue.
 * @returns how long, in milliseconds
 * @throws what the wait throws
 */
export function queueUp(
  entry: LockEntry,
  queue: LocalQueue,
  mode: LockMode,
  wait: WaitOptions,
): number | Promise<number> {
  return runSteps(waiting(entry, queue, mode, wait, () => queue.enter(mode, wait)))
}

/**
 * Waits in the local queue and blocks the thread.
 * @returns how long, in milliseconds
 * @throws what the wait throws, and LockDeadlockError
 */
export function queueUpBlocking(
  entry: LockEntry,
  queue: LocalQueue,
  mode: LockMode,
  wait: WaitOptions,
): number {
  if (!queue.admits(mode)) {
    throw new LockDeadlockError(
      `a blocking ${mode} lock of ${entry.path} would wait for a hold of this very process, which cannot end while the ` +
        'call blocks. Use the asynchronous form, or make the call inside that hold.',
      { path: entry.path },
    )
  }
  return runBlocking(waiting(entry, queue, mode, wait, () => queue.enterBlocking(mode, wait)))
}

/** One wait: `enter` waits, and the listeners are told of it. */
function* waiting(
  { path, queue: whole }: LockEntry,
  queue: LocalQueue,
  mode: LockMode,
  { signal }: WaitOptions,
  enter: () => unknown,
): Steps<number> {
  const since = performance.now()
  const event: LockEvent = { path, mode, nested: queue !== whole }
  if (channels.wait.hasSubscribers) publish('wait', event)
  try {
    yield enter()
  } catch (error) {
    const kind = error instanceof LockTimeoutError ? 'timeout' : signal?.aborted ? 'abort' : undefined
    if (kind && channels[kind].hasSubscribers)
      publish(kind, { ...event, waitedMs: performance.now() - since })
    throw error
  }
  return performance.now() - since
}

/**
 * Takes the lock, inside `outer` if there is one, and runs with it. The hold ends before the promise settles.
 * @throws what the wait throws, LockUpgradeError, LockLostError once `run` has settled, and whatever `run` throws
 */
export async function enter<T>(
  entry: LockEntry,
  outer: Hold | undefined,
  mode: LockMode,
  wait: WaitOptions,
  run: (hold: Hold) => T,
  uses?: Uses,
): Promise<Awaited<T>> {
  const queue = queueWithin(outer, entry, mode)
  // What waits inside a hold counts as part of it from now on: the hold must not end under it.
  const done = outer?.accept()
  if (uses) uses.count++
  try {
    if (mustTurn()) await turn(wait.signal)
    const waitedMs = queue.tryEnter(mode, wait.sliceMs) ? 0 : await queueUp(entry, queue, mode, wait)
    const hold = new Hold(entry, mode, waitedMs, outer)
    let thrown: unknown
    try {
      // The user's own code runs in the context of the hold.
      return await (uses ? hold.runToEnd(run as () => T) : run(hold))
    } catch (error) {
      thrown = error
      throw error
    } finally {
      const ended = hold.end()
      if (ended) await ended
      if (hold.failure) hold.requireKept(thrown)
    }
  } finally {
    done?.()
    uses?.end()
  }
}
