import { requireFunction } from '../arguments.ts'
import { ClosedError, type LockMode } from '../errors.ts'
import { type Hold, verify } from './hold.ts'

/** Makes what `PsLock#acquire`, `tryAcquire` and `acquireSync` hand out. */
export let handedOut: (hold: Hold) => HeldLock

/**
 * A hold that lasts until `release()`. It works with `using` and `await using`. `PsLock#exclusive` and `shared` are safer,
 * since they cannot forget to release.
 */
export class HeldLock {
  readonly mode: LockMode
  readonly path: string
  readonly #hold: Hold

  static {
    handedOut = (hold) => new HeldLock(hold)
  }

  private constructor(hold: Hold) {
    this.#hold = hold
    this.mode = hold.mode
    this.path = hold.entry.path
  }

  /**
   * Aborts, with a `LockLostError` as its reason, when pslock finds out that the lock was lost: the lock file was removed or
   * replaced (it looks every half second, and at the end), or with the `lockfile` backend another process has the lock.
   */
  get signal(): AbortSignal {
    return this.#hold.signal
  }

  /**
   * Runs the callback inside this hold: calls that lock the same file re-enter instead of waiting. (`acquire` does not put
   * the hold into the caller's context, since it would then also count for code that knows nothing of it.) A release
   * while the callback runs takes effect when it has ended.
   * @throws ClosedError after `release()`; LockLostError, once `run` has settled, if the lock was lost meanwhile; whatever
   * `run` throws
   */
  async run<T>(run: () => T): Promise<Awaited<T>> {
    requireFunction(run, 'run')
    if (!this.#hold.isOpen) {
      throw new ClosedError(`this hold of ${this.path} was released before run() was called`, {
        path: this.path,
      })
    }
    const done = this.#hold.accept()
    let thrown: unknown
    try {
      return await this.#hold.runToEnd(run)
    } catch (error) {
      thrown = error
      throw error
    } finally {
      verify(this.#hold.entry)
      done()
      this.#hold.requireKept(thrown)
    }
  }

  /**
   * Releases the lock. Calling it again does nothing.
   * @throws LockLostError if the lock was lost meanwhile, so that what was done under it was not protected
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
