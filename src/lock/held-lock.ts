import { requireFunction } from '../arguments.ts'
import { ClosedError, type LockMode } from '../errors.ts'
import type { AnyHold, Hold } from './hold.ts'

/** A hold that lasts until `release()`. It works with `using` and `await using`. */
export abstract class Held {
  /** The lock file. */
  readonly path: string
  readonly #hold: AnyHold
  readonly #what: string

  /** @param what is held, for messages */
  protected constructor(hold: AnyHold, path: string, what: string) {
    this.#hold = hold
    this.#what = what
    this.path = path
  }

  /**
   * Runs the callback inside this hold: calls that lock the same file, or names of the same tree, re-enter instead of
   * waiting. (`acquire` does not put the hold into the caller's context, since it would then also count for code that
   * knows nothing of it.) A release while the callback runs takes effect when it has ended.
   * @throws ClosedError after `release()`; LockLostError, once `run` has settled, if the lock was lost meanwhile; whatever
   * `run` throws
   */
  async run<T>(run: () => T): Promise<Awaited<T>> {
    requireFunction(run, 'run')
    const hold = this.#hold
    if (!hold.isOpen) {
      const message = `this hold of ${this.#what} was released before run() was called`
      throw new ClosedError(message, { path: this.path })
    }
    return hold.during(run, hold.accept())
  }

  /**
   * Releases the lock. Calling it again does nothing.
   * @throws LockLostError if it is known that the lock was lost, so that what was done under it was not protected
   */
  release(): void {
    if (!this.#hold.isOpen) return
    void this.#hold.end()
    this.#hold.requireKept()
  }

  [Symbol.dispose](): void {
    this.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release()
  }
}

/** Makes what `PsLock#acquire`, `tryAcquire` and `acquireSync` hand out. */
export let handedOut: (hold: Hold) => HeldLock

/** What `PsLock#acquire` hands out. `exclusive` and `shared` are safer, since they cannot forget to release. */
export class HeldLock extends Held {
  readonly mode: LockMode
  readonly #hold: Hold

  static {
    handedOut = (hold) => new HeldLock(hold)
  }

  private constructor(hold: Hold) {
    super(hold, hold.entry.path, hold.entry.path)
    this.#hold = hold
    this.mode = hold.mode
  }

  /**
   * Aborts, with a `LockLostError` as its reason, when pslock finds out that the lock was lost: the lock file was removed or
   * replaced (it looks every half second, and at the end), or with the `lockfile` backend another process has the lock.
   */
  get signal(): AbortSignal {
    return this.#hold.signal
  }
}
