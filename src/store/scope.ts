import { AsyncResource } from 'node:async_hooks'
import { isThenable } from '../arguments.ts'
import { type LockMode, TransactionError } from '../errors.ts'
import { shared } from '../lock/hold.ts'
import { mustTurn } from '../lock/local-queue.ts'
import { turned } from '../os/steps.ts'
import type { Observed } from './operation.ts'
import type { StoreHold } from './store-lock.ts'

/**
 * The inside of one operation, or of one edit. What is issued in its asynchronous context is part of it: one after the
 * other, each all or nothing by itself (a savepoint), and it does not end before they have.
 */
export class Scope {
  readonly mode: LockMode
  /** What hooks know of it, where there are any. */
  readonly observed: Observed | undefined
  /** When it began, in milliseconds since 1970. */
  readonly #since: number = Date.now()
  /** Whose operation it is: two stores of one process do not join each other. */
  readonly #owner: object
  /** Ends when all that was issued so far has ended. */
  #last: Promise<unknown> | undefined
  #isOpen = true

  constructor(owner: object, mode: LockMode, observed?: Observed) {
    this.#owner = owner
    this.mode = mode
    this.observed = observed
  }

  /** The innermost scope of this owner that the caller runs in and that has not ended. */
  static enclosing(owner: object): Scope | undefined {
    for (let frame = shared.context.get(); frame; frame = frame.outer) {
      const { hold } = frame
      if (hold instanceof Scope && hold.#owner === owner && hold.#isOpen) return hold
    }
    return undefined
  }

  /** When the outermost scope of this owner began that the caller runs in; outside of all, the present time. */
  static clock(owner: object): number {
    let since: number | undefined
    for (let frame = shared.context.get(); frame; frame = frame.outer) {
      const { hold } = frame
      if (hold instanceof Scope && hold.#owner === owner && hold.#isOpen) since = hold.#since
    }
    return since ?? Date.now()
  }

  /**
   * Runs inside; ends when everything that was issued inside has ended too.
   * @param hold in which it is
   */
  async run<T>(run: () => T, hold?: StoreHold): Promise<Awaited<T>> {
    const around = shared.context.get()
    const frame = { hold: this, outer: hold ? { hold, outer: around } : around }
    try {
      return await shared.context.run(frame, this, () => {
        const value = run()
        // Cursors are thenables, and run when they are awaited: that must be inside too.
        return value === undefined || value instanceof Promise || !isThenable(value)
          ? value
          : (async () => await value)()
      })
    } finally {
      // Also what nobody waited for: it was issued inside.
      for (let last: unknown; last !== this.#last; ) {
        last = this.#last
        await last
      }
      // A timer that was started inside and fires from now on is a newcomer.
      this.#isOpen = false
      shared.context.leave(this)
    }
  }

  /** Runs after what was issued here before. */
  issue<T>(run: () => T): Promise<Awaited<T>> {
    const done = inLoop(this.#last ?? Promise.resolve(), run)
    this.#last = done.catch(() => {})
    return done
  }
}

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
export function requireOwn(inner: StoreHold, owner: object, path: string): void {
  for (let hold: StoreHold | undefined = inner; hold; hold = hold.outer) {
    if ((hold.owner ?? owner) === owner) continue
    throw new TransactionError(
      `another store object of this process is in the middle of the operation that this write (under ${path}) was issued ` +
        'in: use one store object for a file there',
      { path },
    )
  }
}

/** Runs it after `before`, and after a turn of the event loop where it must turn. */
function inLoop<T>(before: Promise<unknown>, run: () => T): Promise<Awaited<T>> {
  return before.then(() => (mustTurn() ? turned().then(run) : run())) as Promise<Awaited<T>>
}
