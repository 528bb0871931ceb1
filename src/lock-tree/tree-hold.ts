import { requireFunction } from '../arguments.ts'
import { ClosedError, LockLostError, type TreeLockMode } from '../errors.ts'
import { AnyHold, shared } from '../lock/hold.ts'
import type { Granted } from './acquisition.ts'
import type { NodeLocks } from './node-locks.ts'
import { nameOf, type TreeRequest } from './request.ts'

const KEY = Symbol.for('pslock/1/tree-holds')

const globals = globalThis as typeof globalThis & { [KEY]?: Set<TreeHold> }

globals[KEY] ??= new Set()

/** Every hold in this thread, whichever tree it is of, and whichever copy of the package it was taken through. */
export const treeHolds: Set<TreeHold> = globals[KEY]

/** One granted hold of a name. Code that runs inside it may take more: nested holds enter what this one has. */
export class TreeHold extends AnyHold {
  /** The lock file. */
  readonly tree: string
  readonly name: string
  readonly nodes: readonly string[]
  readonly mode: TreeLockMode
  readonly reason: string | undefined
  /** The place of its note. */
  readonly slot: number
  /** Where `acquire()` was called; V8 formats its stack when it is read. */
  readonly acquiredAt: Error | undefined
  readonly locks: NodeLocks
  readonly #granted: Granted

  constructor(request: TreeRequest, granted: Granted, acquiredAt?: Error) {
    super()
    this.tree = request.tree.path
    this.name = nameOf(request)
    this.nodes = request.nodes
    this.mode = request.mode
    this.reason = request.reason
    this.slot = granted.claim.slot
    this.acquiredAt = acquiredAt
    this.locks = granted.locks
    this.#granted = granted
    treeHolds.add(this)
  }

  /** @throws LockLostError if the lock file was removed or replaced: others may have been granted the same */
  requireIntact(): void {
    if (this.#granted.claim.file.isCurrent()) return
    throw new LockLostError(
      `the lock of ${this.name} was lost: ${this.tree} was removed or replaced while it was held, so another process ` +
        'may have been granted it too. Check what was done, and leave the lock file alone.',
      { path: this.tree },
    )
  }

  protected giveBack(): void {
    treeHolds.delete(this)
    this.#granted.locks.release()
    this.#granted.claim.close()
  }
}

/** The open holds of this tree around the current asynchronous context, innermost first. */
export function enclosingHolds(tree: string): TreeHold[] {
  const holds: TreeHold[] = []
  for (let frame = shared.context.get(); frame; frame = frame.outer) {
    const hold = frame.hold as Partial<TreeHold>
    if (hold.tree === tree && hold.isOpen) holds.push(hold as TreeHold)
  }
  return holds
}

/** Makes what `LockTree#acquire` and `tryAcquire` hand out. */
export let handedOut: (hold: TreeHold) => HeldTreeLock

/**
 * A hold of a name that lasts until `release()`. It works with `using` and `await using`. `LockTree#exclusive` and `shared`
 * are safer, since they cannot forget to release.
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
   * Runs the callback inside this hold: calls that lock names of the same tree do not wait for what this hold has. A release
   * while the callback runs takes effect when it has ended.
   * @throws ClosedError after `release()`, LockLostError if the lock file was removed meanwhile, whatever `run` throws
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

  /** Releases the name. Calling it again does nothing. */
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
