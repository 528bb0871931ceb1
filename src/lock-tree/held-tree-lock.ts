import { requireFunction } from '../arguments.ts'
import { ClosedError, type TreeLockMode } from '../errors.ts'
import type { TreeHold } from './tree-hold.ts'

/** Makes what `LockTree#acquire` and `tryAcquire` hand out. */
export let handedOut: (hold: TreeHold) => HeldTreeLock

/**
 * A name that is held until `release()`; the tree's callback forms are safer, they cannot forget. Works with `using`
 * and `await using`.
 */
export class HeldTreeLock {
  readonly name: string
  readonly mode: TreeLockMode
  /** The lock file. */
  readonly path: string
  readonly #hold: TreeHold

  static {
    handedOut = (hold) => new HeldTreeLock(hold)
  }

  private constructor(hold: TreeHold) {
    this.#hold = hold
    this.name = hold.name
    this.mode = hold.mode
    this.path = hold.tree
  }

  /**
   * Runs inside this hold: what is locked in the same tree enters what this hold has, instead of waiting for it. A
   * release while it runs takes effect when it has ended.
   * @throws ClosedError after `release()`, LockLostError if the lock file was removed meanwhile
   */
  async run<T>(run: () => T): Promise<Awaited<T>> {
    requireFunction(run, 'run')
    if (!this.#hold.isOpen) {
      throw new ClosedError(`this hold of ${this.name} was released before run() was called`, {
        path: this.path,
      })
    }
    const done = this.#hold.accept()
    try {
      const result = await this.#hold.run(run)
      this.#hold.requireIntact()
      return result
    } finally {
      done()
    }
  }

  /** Gives it back. Calling it again does nothing. */
  release(): void {
    void this.#hold.end()
  }

  [Symbol.dispose](): void {
    this.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release()
  }
}
