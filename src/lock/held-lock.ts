import { requireFunction } from '../arguments.ts'
import { ClosedError, type LockMode } from '../errors.ts'
import type { Hold } from './hold.ts'

/** Makes what `PsLock#acquire`, `tryAcquire` and `acquireSync` hand out. */
export let handedOut: (hold: Hold) => HeldLock

/**
 * A lock that is held until `release()`; the lock's callback forms are safer, they cannot forget.
 * Works with `using` and `await using`.
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
   * Aborts, with a `LockLostError` as its reason, when it is known that the lock was lost: somebody has removed or replaced
   * the lock file (looked for every half second, and at the end), or with the `lockfile` backend somebody else has it.
   */
  get signal(): AbortSignal {
    return this.#hold.signal
  }

  /**
   * Runs inside this hold: calls that lock the same file re-enter instead of waiting. (`acquire` itself does not put
   * the hold into the caller's context, since that would leak it into code that knows nothing of it.) A release while
   * it runs takes effect when it has ended.
   * @throws ClosedError after `release()`, LockLostError once `run` has settled, where the lock was lost meanwhile
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
      this.#hold.entry.verify()
      done()
      this.#hold.requireKept(thrown)
    }
  }

  /**
   * Gives the lock back. Calling it again does nothing.
   * @throws LockLostError where the lock was lost meanwhile: what was done under it was not
   * protected, and this is the last moment to say so
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
