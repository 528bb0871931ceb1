import {
  isThenable,
  nearestName,
  type OptionNames,
  optionNames,
  requireFunction,
  requireObject,
  show,
} from '../../arguments.ts'
import { LockDeadlockError, type LockMode } from '../../errors.ts'
import { outsideHolds } from '../../lock/hold.ts'
import type { AcquireOptions } from '../../lock/options.ts'
import type { Issued, Observer } from '../../store/operation.ts'
import { Scope } from '../../store/scope.ts'
import type { Asked, StoreLock } from '../../store/store-lock.ts'

/** An operation that is about to run, as a hook sees it. */
export interface HookEvent extends AcquireOptions {
  /**
   * The store's own name of the operation, without `Async` or `Sync`: `insert`, `update`, `find`, `write`,
   * `compactDatafile`, `transaction`, `view`. `insertMany` is reported as `insert`. Undefined for what the store does
   * without a method of its own, such as work that was given to NeDB's executor directly.
   */
  readonly name: string | undefined
  /** The arguments; empty for `transaction` and `view`. They are not copied: do not change them. */
  readonly args: readonly unknown[]
  /** `exclusive`: the operation may write. `shared`: it only reads. */
  readonly mode: LockMode
  /** Whether it is inside a transaction, another operation or a hold of one's own, so that the lock is already held. */
  readonly nested: boolean
  /** The transaction or operation that it belongs to, with which it is written or undone. */
  readonly partOf: HookEvent | undefined
  /** Whether the call blocks the thread (`LockedLowSync`): nothing can be awaited. */
  readonly blocking: boolean
  /** The data file. */
  readonly path: string
  /** The lock file. */
  readonly lockPath: string
}

/** An operation that has ended, as a hook sees it. */
export interface HookOutcome extends HookEvent {
  /** The time from when every hook had let it through to its end, in milliseconds, with the wait for the lock. */
  readonly durationMs: number
  /** Whether it has changed the file; false if it failed or was undone. */
  readonly changed: boolean
  /** What it threw; for a part of a transaction that was undone, what the transaction threw. Undefined: it succeeded. */
  readonly error: unknown
}

/**
 * Code that is called for every operation of a store object, also for those that nobody called (NeDB's compaction by a
 * timer). Hooks are called in the order in which they were added, and outside every hold of their caller.
 */
export interface Hook {
  /**
   * Called when the operation is issued, before it waits for the lock. If it throws or rejects, the operation is refused
   * with that error. A promise is awaited; operations that were issued later keep their place behind this one. With
   * `nested` the lock is held meanwhile, so be quick. With `blocking` a promise is a TypeError. The same store cannot be
   * used inside (LockDeadlockError).
   */
  before?(event: HookEvent): unknown
  /**
   * Called when the operation has ended and the lock is free again, before its caller continues. For a part of a
   * transaction, or of another operation, it is called when that has ended. A promise is not awaited. An error that it
   * throws is an uncaught exception, and the operation has succeeded all the same. It is not called if this hook, or one
   * before it, has refused the operation.
   */
  after?(outcome: HookOutcome): unknown
}

const HOOK_NAMES: OptionNames = optionNames<Hook>({ before: true, after: true })

const locks = new WeakMap<HookEvent, StoreLock>()

/** The lock of the store that an event is of. */
export function lockOf(event: HookEvent): StoreLock | undefined {
  return locks.get(event)
}

/** The hooks of one store object. What its methods are called for is said in `Observer`. */
export class Hooks implements Observer {
  readonly #lock: StoreLock
  readonly #path: string
  #hooks: readonly Hook[] = []
  /** Where operations wait for those that were issued before them, by what they are issued in. */
  readonly #lines = new WeakMap<object, Promise<unknown>>()
  /** The blocking call that runs now. */
  #blocking: HookCall | undefined
  #isAsking = false
  readonly #arriving = new Set<Promise<unknown>>()

  /** @param path the data file */
  constructor(lock: StoreLock, path: string) {
    this.#lock = lock
    this.#path = path
  }

  observes({ isInternal = false }: Issued): boolean {
    return this.#hooks.length > 0 && !isInternal
  }

  /**
   * From now on the hook is called for every operation. @returns what takes it out again
   * @throws TypeError for what is no hook
   */
  use(hook: Hook): () => void {
    requireObject(hook, 'hook')
    for (const name of ['before', 'after'] as const) {
      if (hook[name] !== undefined) requireFunction(hook[name], `hook.${name}`)
    }
    requireNotMistyped(hook)
    // An entry of its own: the same hook may be used twice, and each is taken out by itself.
    const entry: Hook = {
      before: (event) => hook.before?.(event),
      after: (outcome) => hook.after?.(outcome),
    }
    this.#hooks = [...this.#hooks, entry]
    return () => {
      this.#hooks = this.#hooks.filter((other) => other !== entry)
    }
  }

  async idle(): Promise<void> {
    while (this.#arriving.size > 0) await Promise.allSettled(this.#arriving)
  }

  /** All `before` are called at once, so that a flood is seen as one. */
  async inOrder<T>(
    mode: LockMode,
    issued: Issued,
    { outer, wait }: Asked,
    start: (hookCall: HookCall) => Promise<T>,
  ): Promise<T> {
    const place = outer ?? this
    const ahead = this.#lines.get(place)
    if (issued.timeoutMs === 0 && ahead) throw wait.onTimeout(0)
    // It was issued inside that hold, and stays inside it, however long the hooks take.
    const done = outer?.accept()
    const hookCall = new HookCall(this.#event(mode, issued, { nested: outer !== undefined }))
    const started = Promise.all([this.#ask(hookCall), ahead]).then(() => {
      hookCall.begin()
      // In an object: it has its place now, and its end is not waited for.
      return { ended: start(hookCall) }
    })
    // Who is refused at once does not let those behind overtake those ahead.
    const line = Promise.allSettled([ahead, started])
    this.#lines.set(place, line)
    const ended = started.then((at) => at.ended)
    this.#arriving.add(ended)
    void line.then(() => {
      if (this.#lines.get(place) === line) this.#lines.delete(place)
    })
    try {
      return await reporting(hookCall, undefined, () => ended)
    } finally {
      this.#arriving.delete(ended)
      done?.()
    }
  }

  async part<T>(
    outer: HookCall | undefined,
    mode: LockMode,
    issued: Issued,
    run: (hookCall: HookCall) => Promise<T>,
  ): Promise<T> {
    const hookCall = new HookCall(this.#event(mode, issued, { nested: true, partOf: outer?.event }))
    return reporting(hookCall, outer, async () => {
      await this.#ask(hookCall)
      hookCall.begin()
      return run(hookCall)
    })
  }

  blocking<T>(mode: LockMode, issued: Issued, run: () => T, state: () => unknown): T {
    if (!this.observes(issued)) return run()
    if (this.#isAsking) throw this.#askedWithin()
    const nested = this.#lock.asked(mode).outer !== undefined
    const outer = this.#blocking
    const hookCall = new HookCall(this.#event(mode, issued, { nested, partOf: outer?.event, blocking: true }))
    try {
      this.#askBlocking(hookCall)
      hookCall.begin()
      this.#blocking = hookCall
      const value = hookCall.watchSync(run, state)
      hookCall.end()
      return value
    } catch (error) {
      hookCall.end({ error })
      throw error
    } finally {
      this.#blocking = outer
      if (outer) outer.add(hookCall)
      else hookCall.report()
    }
  }

  requireNotAsking(): void {
    if (Scope.enclosing(this)) throw this.#askedWithin()
  }

  #event(
    mode: LockMode,
    { call, kind, timeoutMs, signal }: Issued,
    at: Pick<HookEvent, 'nested'> & Partial<Pick<HookEvent, 'partOf' | 'blocking'>>,
  ): HookEvent {
    const name = call?.name ?? (kind === 'view' ? 'view' : kind && 'transaction')
    const where = { path: this.#path, lockPath: this.#lock.path }
    const args = call?.args ?? []
    const event = { name, args, mode, partOf: undefined, blocking: false, ...at, ...where, timeoutMs, signal }
    locks.set(event, this.#lock)
    return event
  }

  async #ask(hookCall: HookCall): Promise<void> {
    for (const hook of this.#hooks) {
      const scope = new Scope(this, hookCall.event.mode)
      await outsideHolds(() => scope.run(() => hook.before?.(hookCall.event)))
      hookCall.hooks.push(hook)
    }
  }

  #askBlocking(hookCall: HookCall): void {
    this.#isAsking = true
    try {
      for (const hook of this.#hooks) {
        const asked = outsideHolds(() => hook.before?.(hookCall.event))
        if (isThenable(asked)) {
          asked.then(undefined, () => {})
          throw new TypeError(
            `a before hook must not return a promise where the call blocks the thread (event.blocking): ${hookCall.event.path}`,
          )
        }
        hookCall.hooks.push(hook)
      }
    } finally {
      this.#isAsking = false
    }
  }

  #askedWithin(): LockDeadlockError {
    return new LockDeadlockError(
      `a before hook has used the store that it watches (${this.#path}), which would wait for the hook itself. Use it in ` +
        '`after`, or use another store.',
      { path: this.#path },
    )
  }
}

/** A hook may have members of its own, but not a function that is nearly called `before`: it would never be called. */
function requireNotMistyped(hook: Hook): void {
  for (const [name, value] of Object.entries(hook)) {
    if (typeof value !== 'function' || HOOK_NAMES.has(name)) continue
    const meant = nearestName(name, HOOK_NAMES)
    if (meant && hook[meant as keyof Hook] === undefined)
      throw new TypeError(`unknown member ${show(name)} of a hook: did you mean "${meant}"?`)
  }
}

/** Runs an operation and tells what became of it, at once or when the operation has ended of which it is a part. */
async function reporting<T>(
  hookCall: HookCall,
  outer: HookCall | undefined,
  run: () => Promise<T>,
): Promise<T> {
  try {
    const value = await run()
    hookCall.end()
    return value
  } catch (error) {
    hookCall.end({ error })
    throw error
  } finally {
    if (outer) outer.add(hookCall)
    else hookCall.report()
  }
}

/** One operation that hooks are called for, with those that are part of it. */
class HookCall {
  readonly event: HookEvent
  /** Those that have let it through. */
  readonly hooks: Hook[] = []
  readonly #parts: HookCall[] = []
  #since = performance.now()
  #durationMs = 0
  #changed = false
  #failure: { readonly error: unknown } | undefined

  constructor(event: HookEvent) {
    this.event = event
  }

  /** Every hook has let it through. */
  begin(): void {
    this.#since = performance.now()
  }

  /** Runs the operation itself. @param state differs afterwards if it has changed something */
  async watch<T>(run: () => T, state: () => unknown): Promise<Awaited<T>> {
    const before = state()
    const value = await run()
    this.#changed = state() !== before
    return value
  }

  watchSync<T>(run: () => T, state: () => unknown): T {
    const before = state()
    const value = run()
    this.#changed = state() !== before
    return value
  }

  end(failure?: { readonly error: unknown }): void {
    this.#durationMs = performance.now() - this.#since
    this.#failure = failure
  }

  /** A part of it has ended. Whether that counts is known only when this one has. */
  add(part: HookCall): void {
    this.#parts.push(part)
  }

  /** Tells what became of it: first of its parts, in the order in which they ended. @param undone why it does not count */
  report(undone?: { readonly error: unknown }): void {
    const failure = this.#failure ?? undone
    for (const part of this.#parts) part.report(failure)
    const outcome = {
      ...this.event,
      durationMs: this.#durationMs,
      changed: this.#changed && failure === undefined,
      error: failure?.error,
    }
    for (const hook of this.hooks) callAfter(() => hook.after?.(outcome))
  }
}

/** The user's own code: what it throws is its own business, not the operation's. */
function callAfter(run: () => unknown): void {
  const asUncaught = (error: unknown) =>
    queueMicrotask(() => {
      throw error
    })
  try {
    const done = outsideHolds(run)
    if (isThenable(done)) done.then(undefined, asUncaught)
  } catch (error) {
    asUncaught(error)
  }
}
