import { LockLostError, type TreeLockMode } from '../errors.ts'
import { Held } from '../lock/held-lock.ts'
import { AnyHold, shared } from '../lock/hold.ts'
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

  constructor(request: TreeRequest, locks: NodeLocks, acquiredAt?: Error) {
    super()
    this.tree = request.tree.path
    this.name = nameOf(request)
    this.nodes = request.nodes
    this.mode = request.mode
    this.reason = request.reason
    this.slot = locks.claim.slot
    this.acquiredAt = acquiredAt
    this.locks = locks
    treeHolds.add(this)
  }

  /** Whether the lock file is still that of its name: else others may have been granted the same. */
  verify(): void {
    if (this.locks.claim.file.isCurrent()) return
    this.failure ??= new LockLostError(
      `the lock of ${this.name} was lost: ${this.tree} was removed or replaced while it was held, so another process ` +
        'may have been granted it too. Check what was done, and leave the lock file alone.',
      { path: this.tree },
    )
  }

  protected giveBack(): void {
    treeHolds.delete(this)
    this.locks.release()
    this.locks.claim.close()
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

/** What `LockTree#acquire` hands out. `exclusive` and `shared` are safer, since they cannot forget to release. */
export class HeldTreeLock extends Held {
  readonly name: string
  readonly mode: TreeLockMode

  static {
    handedOut = (hold) => new HeldTreeLock(hold)
  }

  private constructor(hold: TreeHold) {
    super(hold, hold.tree, hold.name)
    this.name = hold.name
    this.mode = hold.mode
  }
}
