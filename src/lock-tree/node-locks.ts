import type { TreeLockMode } from '../errors.ts'
import type { Claim } from './claim.ts'
import { areCompatible, join } from './mode.ts'

interface NodeLock {
  readonly index: number
  /** What was asked for, and what is held: stronger while somebody inside needs more. */
  readonly mode: TreeLockMode
  held: TreeLockMode
  /** The enclosing hold that this is held inside of; undefined where it is held in the kernel. */
  readonly keeper: NodeLocks | undefined
  /** The nested holds that have entered this node, and how. They exclude each other, as holds of the kernel do. */
  readonly inside: Map<NodeLocks, TreeLockMode>
}

/**
 * The nodes that one hold has. A nested hold enters the nodes of the innermost enclosing hold that has them, and takes
 * the others from the kernel. So a descendant goes in, siblings exclude each other, and nobody waits for oneself.
 */
export class NodeLocks {
  readonly #claim: Claim
  readonly #enclosing: readonly NodeLocks[]
  readonly #nodes = new Map<string, NodeLock>()

  /** @param enclosing the holds around this one in the same tree, innermost first */
  constructor(claim: Claim, enclosing: readonly NodeLocks[]) {
    this.#claim = claim
    this.#enclosing = enclosing
  }

  /** The enclosing hold in which a node would be entered, if there is one. */
  keeperOf(name: string): NodeLocks | undefined {
    return this.#enclosing.find((outer) => outer.has(name))
  }

  has(name: string): boolean {
    return this.#nodes.has(name)
  }

  /**
   * Takes a node, if that is possible at once.
   * @returns `stuck` where the enclosing hold would have to be made stronger and cannot be: waiting for that may never
   * end, since others may wait for the same
   */
  take(name: string, index: number, mode: TreeLockMode): 'taken' | 'busy' | 'stuck' {
    const keeper = this.keeperOf(name)
    const outcome = keeper
      ? keeper.admit(name, this, mode)
      : this.#claim.ranges.tryRaise(index, undefined, mode)
        ? 'taken'
        : 'busy'
    if (outcome === 'taken') this.#nodes.set(name, { index, mode, held: mode, keeper, inside: new Map() })
    return outcome
  }

  /** Lets a nested hold into a node, or changes what it has there. */
  admit(name: string, who: NodeLocks, mode: TreeLockMode): 'taken' | 'busy' | 'stuck' {
    const node = this.#node(name)
    const others = [...node.inside].filter(([other]) => other !== who).map(([, held]) => held)
    if (others.some((held) => !areCompatible(held, mode))) return 'busy'
    if (!this.#tryRaise(name, node, [...others, mode].reduce(join, node.mode))) return 'stuck'
    node.inside.set(who, mode)
    return 'taken'
  }

  /** Lets a nested hold out, or keep no more than `mode`; what was taken for its sake is given back. */
  dismiss(name: string, who: NodeLocks, mode?: TreeLockMode): void {
    const node = this.#node(name)
    if (mode === undefined) node.inside.delete(who)
    else node.inside.set(who, mode)
    const needed = [...node.inside.values()].reduce(join, node.mode)
    if (needed === node.held) return
    node.held = needed
    if (node.keeper) node.keeper.dismiss(name, this, needed)
    else this.#claim.ranges.lower(node.index, needed)
  }

  /** Gives everything back, children before parents. */
  release(): void {
    for (const [name, node] of [...this.#nodes].reverse()) {
      this.#nodes.delete(name)
      if (node.keeper) node.keeper.dismiss(name, this)
      else this.#claim.ranges.lower(node.index, undefined)
    }
  }

  #tryRaise(name: string, node: NodeLock, mode: TreeLockMode): boolean {
    if (mode === node.held) return true
    const isRaised = node.keeper
      ? node.keeper.admit(name, this, mode) === 'taken'
      : this.#claim.ranges.tryRaise(node.index, node.held, mode)
    if (isRaised) node.held = mode
    return isRaised
  }

  #node(name: string): NodeLock {
    const node = this.#nodes.get(name)
    if (!node) throw new Error(`pslock: ${name} is not held here`)
    return node
  }
}
