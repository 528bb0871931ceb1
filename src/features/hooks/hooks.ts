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
import type { Hold } from '../../lock/hold.ts'
import { enclosing, outsideHolds } from '../../lock/hold.ts'
import type { WaitOptions } from '../../lock/local-queue.ts'
import { lockInternals, type PsLock } from '../../lock/lock.ts'
import type { Issued, Observer } from '../../store/operation.ts'
import { Scope } from '../../store/scope.ts'
import type { Hook, HookEvent } from './hook.ts'
import { Told } from './told.ts'

const HOOK_NAMES: OptionNames = optionNames<Hook>({ before: true, after: true })

/** The hooks of one store object. */
export class Hooks implements Observer {
  readonly #lock: PsLock
  readonly #path: string
  #hooks: readonly Hook[] = []
  /** Where operations wait for those that were issued before them, by what they are issued in. */
  readonly #lines = new WeakMap<object, Promise<unknown>>()
  /** The blocking call that runs now. */
  #blocking: Told | undefined
  #isAsking = false
  readonly #arriving = new Set<Promise<unknown>>()

  /** @param path the data file */
  constructor(lock: PsLock, path: string) {
    this.#lock = lock
    this.#path = path
  }

  observes({ isInternal = false }: Issued): boolean {
    return this.#hooks.length > 0 && !isInternal
  }

  /**
   * From now on the hook is told of every operation. @returns what takes it out again
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

  /** Resolves when everything issued so far has passed its hooks and what it does then has settled. */
  async idle(): Promise<void> {
    while (this.#arriving.size > 0) await Promise.allSettled(this.#arriving)
  }

  /**
   * Runs an operation after its hooks and in the order of issue; all `before` are called at once, so that a flood is
   * seen as one.
   * @param outer the user's own hold in which it was issued
   * @param start must have queued the operation when it returns
   */
  async inOrder<T>(
    mode: LockMode,
    issued: Issued,
    { outer, wait }: { outer: Hold | undefined; wait: WaitOptions },
    start: (told: Told) => Promise<T>,
  ): Promise<T> {
    const place = outer ?? this
    const ahead = this.#lines.get(place)
    if (issued.timeoutMs === 0 && ahead) throw wait.onTimeout(0)
    // It was issued inside that hold, and stays inside it, however long the hooks take.
    const done = outer?.accept()
    const told = new Told(this.#event(mode, issued, { nested: outer !== undefined }))
    const started = Promise.all([this.#ask(told), ahead]).then(() => {
      told.begin()
      // In an object: it has its place now, and its end is not waited for.
      return { ended: start(told) }
    })
    // Who is refused at once does not let those behind pass those ahead.
    const line = Promise.allSettled([ahead, started])
    this.#lines.set(place, line)
    const ended = started.then((at) => at.ended)
    this.#arriving.add(ended)
    void line.then(() => {
      if (this.#lines.get(place) === line) this.#lines.delete(place)
    })
    try {
      return await reporting(told, undefined, () => ended)
    } finally {
      this.#arriving.delete(ended)
      done?.()
    }
  }

  /**
   * Runs a part of an operation that runs already.
   * @param outer that operation, if hooks were told of it
   */
  async part<T>(
    outer: Told | undefined,
    mode: LockMode,
    issued: Issued,
    run: (told: Told) => Promise<T>,
  ): Promise<T> {
    const told = new Told(this.#event(mode, issued, { nested: true, partOf: outer?.event }))
    return reporting(told, outer, async () => {
      await this.#ask(told)
      told.begin()
      return run(told)
    })
  }

  /** Runs a blocking operation, which takes the lock by itself. @param state see `Told` */
  blocking<T>(mode: LockMode, issued: Issued, run: () => T, state: () => unknown): T {
    if (!this.observes(issued)) return run()
    if (this.#isAsking) throw this.#askedWithin()
    const { entry } = lockInternals.entry(this.#lock, mode)
    const nested = enclosing(entry) !== undefined
    const outer = this.#blocking
    const told = new Told(this.#event(mode, issued, { nested, partOf: outer?.event, blocking: true }))
    try {
      this.#askBlocking(told)
      told.begin()
      this.#blocking = told
      const value = told.watchSync(run, state)
      told.end()
      return value
    } catch (error) {
      told.end({ error })
      throw error
    } finally {
      this.#blocking = outer
      if (outer) outer.add(told)
      else told.report()
    }
  }

  /** @throws LockDeadlockError in a `before` of these hooks */
  requireNotAsking(): void {
    if (Scope.enclosing(this)) throw this.#askedWithin()
  }

  #event(
    mode: LockMode,
    { call, kind, timeoutMs, signal }: Issued,
    {
      nested,
      partOf,
      blocking = false,
    }: { nested: boolean; partOf?: HookEvent | undefined; blocking?: boolean },
  ): HookEvent {
    const name = call?.name ?? (kind === 'view' ? 'view' : kind && 'transaction')
    const { path: lockPath } = this.#lock
    const args = call?.args ?? []
    const where = { path: this.#path, lockPath }
    return { name, args, mode, nested, partOf, blocking, ...where, timeoutMs, signal }
  }

  async #ask(told: Told): Promise<void> {
    for (const hook of this.#hooks) {
      const ask = () => Scope.run(this, told.event.mode, () => hook.before?.(told.event))
      await outsideHolds(() => Scope.outside(ask))
      told.hooks.push(hook)
    }
  }

  #askBlocking(told: Told): void {
    this.#isAsking = true
    try {
      for (const hook of this.#hooks) {
        const asked = outsideHolds(() => Scope.outside(() => hook.before?.(told.event)))
        if (isThenable(asked)) {
          asked.then(undefined, () => {})
          throw new TypeError(
            `a before hook must not return a promise where the call blocks the thread (event.blocking): ${told.event.path}`,
          )
        }
        told.hooks.push(hook)
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
async function reporting<T>(told: Told, outer: Told | undefined, run: () => Promise<T>): Promise<T> {
  try {
    const value = await run()
    told.end()
    return value
  } catch (error) {
    told.end({ error })
    throw error
  } finally {
    if (outer) outer.add(told)
    else told.report()
  }
}
