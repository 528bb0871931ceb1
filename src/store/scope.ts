import { AsyncResource } from 'node:async_hooks'
import { type LockMode, TransactionError } from '../errors.ts'
import type { Hold } from '../lock/hold.ts'
import { Context } from '../lock/hold.ts'
import { inLoop } from '../lock/local-queue.ts'
import type { Observed } from './operation.ts'

/**
 * The inside of one operation. What is issued in its asynchronous context is part of it: one after the other, each all
 * or nothing by itself (a savepoint), and the operation does not end before they have.
 */
export class Scope {
  readonly mode: LockMode
  /** What hooks are told of it, where there are any. */
  readonly observed: Observed | undefined
  /** When it began, in milliseconds since 1970. */
  readonly #since: number = Date.now()
  /** Whose operation it is: two stores of one process do not join each other. */
  readonly #owner: object
  readonly #outer: Scope | undefined
  #last: Promise<unknown> = Promise.resolve()
  #isOpen = true

  private constructor(owner: object, mode: LockMode, observed: Observed | undefined) {
    this.#owner = owner
    this.mode = mode
    this.observed = observed
    this.#outer = current.get()
  }

  /** The innermost scope of this owner that the caller runs in and that has not ended. */
  static enclosing(owner: object): Scope | undefined {
    let scope = current.get()
    while (scope && !(scope.#owner === owner && scope.#isOpen)) scope = scope.#outer
    return scope
  }

  /** When the outermost scope of this owner began that the caller runs in; outside of all, the present time. */
  static clock(owner: object): number {
    let since: number | undefined
    for (let scope = current.get(); scope; scope = scope.#outer) {
      if (scope.#owner === owner && scope.#isOpen) since = scope.#since
    }
    return since ?? Date.now()
  }

  /** Runs with a scope of its own; ends when everything that was issued inside has ended too. */
  static async run<T>(owner: object, mode: LockMode, run: () => T, observed?: Observed): Promise<Awaited<T>> {
    const scope = new Scope(owner, mode, observed)
    try {
      // Cursors are thenables, and run when they are awaited: that must be inside too.
      return await current.run(scope, scope, async () => run())
    } finally {
      // Also what nobody waited for: it was issued inside.
      for (let last: unknown; last !== scope.#last; ) {
        last = scope.#last
        await last
      }
      // A timer that was started inside and fires from now on is a newcomer.
      scope.#isOpen = false
      current.leave(scope)
    }
  }

  /** Runs outside every scope: hooks must not join what they are told of. */
  static outside<T>(run: () => T): T {
    return current.outside(run)
  }

  /** Runs after what was issued here before. */
  issue<T>(run: () => T): Promise<Awaited<T>> {
    const done = inLoop(this.#last, run)
    this.#last = done.catch(() => {})
    return done
  }
}

const current = new Context<Scope>()

/** The context in which this module was loaded: inside no hold, no operation and no edit. */
const outside = new AsyncResource('pslock')

/**
 * Runs outside everything that the caller runs in: what serves several callers at once, or calls the user's listeners,
 * is part of nobody's transaction.
 */
export function outsideAll<T>(run: () => T): T {
  return outside.runInAsyncScope(run)
}

/** The user's own code: it runs outside every hold, and what it throws is its own business, not the operation's. */
export function callListener(run: () => void): void {
  try {
    outsideAll(run)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/**
 * For a write inside `inner`: the operation of another store object around it, which ends after the write, could not see
 * what that wrote.
 * @throws TransactionError
 */
export function requireOwn(inner: Hold, owner: object, path: string): void {
  for (let hold: Hold | undefined = inner; hold; hold = hold.outer) {
    if ((hold.owner ?? owner) === owner) continue
    throw new TransactionError(
      `another store object of this process is in the middle of the operation that this write (under ${path}) was issued ` +
        'in: use one store object for a file there',
      { path },
    )
  }
}
