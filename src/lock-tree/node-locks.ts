import type { TreeLockMode } from '../errors.ts'
import { isRangeBlocked, type Range, tryLockRange, unlockRange } from '../os/range-lock.ts'
import type { Claim } from './acquisition.ts'
import { areCompatible, join, MODES } from './request.ts'
import { presence, type RecordFile, width } from './tree-file.ts'

function gate(node: number, mode: TreeLockMode): Range {
  return { start: presence(node).start + 1 + MODES.indexOf(mode), length: 1 }
}

interface Step {
  readonly range: Range
  readonly mode: 'exclusive' | 'shared'
}

/** The locks of names on one descriptor. None of these calls waits. */
export class NodeRanges {
  readonly #fd: number
  readonly #path: string
  readonly #slot: number

  constructor(file: RecordFile, slot: number) {
    this.#fd = file.fd
    this.#path = file.path
    this.#slot = slot
  }

  /** Whether another hold is in the way; takes nothing, so that asking disturbs nobody. */
  isBlocked(node: number, mode: TreeLockMode): boolean {
    return this.#steps(node, mode).some((step) => isRangeBlocked(this.#fd, step.mode, step.range, this.#path))
  }

  /**
   * Takes a node in a mode, or makes a hold of it stronger. Where that is not possible at once, it is held as before.
   * @param from the mode that it is held in, or undefined
   */
  tryRaise(node: number, from: TreeLockMode | undefined, to: TreeLockMode): boolean {
    if (this.#steps(node, to).every((step) => tryLockRange(this.#fd, step.mode, step.range, this.#path)))
      return true
    this.lower(node, from)
    return false
  }

  /** Makes a hold weaker, or ends it. It is never less than `to` on the way. */
  lower(node: number, to: TreeLockMode | undefined): void {
    if (to === undefined) {
      this.#unlock(width(node))
      this.#unlock(presence(node))
      return
    }
    // All of these only weaken what this descriptor has, so none of them can be refused.
    for (const step of this.#steps(node, to)) tryLockRange(this.#fd, step.mode, step.range, this.#path)
    const { start, length } = width(node)
    if (to === 'intent-shared') this.#unlock({ start, length })
    if (to === 'intent-exclusive') {
      if (this.#slot > 0) this.#unlock({ start, length: this.#slot })
      this.#unlock({ start: start + this.#slot + 1, length: length - this.#slot - 1 })
    }
  }

  /** Whether somebody waits at a node who must not be overtaken by this mode. */
  isGateClosed(node: number, mode: TreeLockMode): boolean {
    return isRangeBlocked(this.#fd, 'shared', gate(node, mode), this.#path)
  }

  /**
   * Becomes the one for whom a node's gate is closed, if nobody is: to all modes that this one is not compatible with.
   * One of these is always `exclusive`, so that byte says whose gate it is.
   */
  tryCloseGate(node: number, mode: TreeLockMode): boolean {
    if (!tryLockRange(this.#fd, 'exclusive', gate(node, 'exclusive'), this.#path)) return false
    for (const other of MODES) {
      if (!areCompatible(other, mode)) tryLockRange(this.#fd, 'exclusive', gate(node, other), this.#path)
    }
    return true
  }

  openGate(node: number): void {
    for (const mode of MODES) this.#unlock(gate(node, mode))
  }

  #steps(node: number, mode: TreeLockMode): Step[] {
    const isAlone = mode === 'exclusive'
    const steps: Step[] = [{ range: presence(node), mode: isAlone ? 'exclusive' : 'shared' }]
    if (mode === 'intent-exclusive') {
      steps.push({ range: { start: width(node).start + this.#slot, length: 1 }, mode: 'exclusive' })
    } else if (mode !== 'intent-shared') {
      steps.push({ range: width(node), mode: mode === 'shared' ? 'shared' : 'exclusive' })
    }
    return steps
  }

  #unlock(range: Range): void {
    unlockRange(this.#fd, range, this.#path)
  }
}

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
