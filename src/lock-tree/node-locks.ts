import { LockIoError, type TreeLockMode } from '../errors.ts'
import { type Range, requireRangeLocks } from '../os/range-lock.ts'
import { areCompatible, join, MODES } from './request.ts'
import {
  type Locked,
  NameTable,
  type Note,
  notedness,
  presence,
  RecordFile,
  type TreeFile,
  width,
  writeNote,
} from './tree-file.ts'

function gate(node: number, mode: TreeLockMode): Range {
  return { start: presence(node).start + 1 + MODES.indexOf(mode), length: 1 }
}

/**
 * What the kernel knows one hold, or one waiter, by: an opening of the lock file of its own (two holds on one descriptor
 * would be granted each other's locks) and a note that is bound to it. Closing it ends everything at once. None of these
 * calls waits.
 */
export class Claim {
  readonly file: RecordFile
  readonly slot: number
  readonly #table: NameTable

  /**
   * @param blockingMs how long to stay with it, blocking, while another process appends
   * @returns undefined when the file changed under our hands, or another process was appending to it all the while
   * @throws LockIoError, LockUnsupportedError, LockLostError
   */
  static open(tree: TreeFile, blockingMs: number): Claim | undefined {
    requireRangeLocks(tree.path)
    const file = RecordFile.open(tree, blockingMs)
    let claim: Claim | undefined
    try {
      const table = NameTable.of(file, tree.table)
      tree.table = table
      const slot = table?.takeSlot(file)
      // The slot may be of a file that was emptied just before. From here on it cannot be refilled under us.
      if (table && slot !== undefined && table.isOf(file)) claim = new Claim(file, table, slot)
    } finally {
      if (!claim) file.close()
    }
    return claim
  }

  private constructor(file: RecordFile, table: NameTable, slot: number) {
    this.file = file
    this.#table = table
    this.slot = slot
  }

  /** The record of a name; undefined when another process was appending all the while. */
  indexOf(name: string): number | undefined {
    return this.#table.indexOf(this.file, name)
  }

  /** Says who this is, to `holders()` of all processes. */
  leaveNote(note: Pick<Note, 'state' | 'mode' | 'node' | 'reason'>): void {
    this.#withdrawNote()
    try {
      writeNote(this.file, this.slot, note)
    } catch (error) {
      // Full disk: the lock itself does not depend on it.
      if (error instanceof LockIoError) return
      throw error
    }
    this.file.tryLock(notedness(this.slot))
  }

  close(): void {
    this.#withdrawNote()
    this.file.close()
  }

  /** Before a note is changed, and before its place may become another's. */
  #withdrawNote(): void {
    this.file.unlock(notedness(this.slot))
  }

  /** Whether another hold is in the way; takes nothing, so that asking disturbs nobody. */
  isBlocked(node: number, mode: TreeLockMode): boolean {
    return this.#ranges(node, mode).some((range) => this.file.isBlocked(range))
  }

  /**
   * Takes a node in a mode, or makes a hold of it stronger. Where that is not possible at once, it is held as before.
   * @param from the mode that it is held in, or undefined
   */
  tryRaise(node: number, from: TreeLockMode | undefined, to: TreeLockMode): boolean {
    if (this.#ranges(node, to).every((range) => this.file.tryLock(range))) return true
    this.lower(node, from)
    return false
  }

  /** Makes a hold weaker, or ends it. It is never less than `to` on the way. */
  lower(node: number, to: TreeLockMode | undefined): void {
    const { start, length } = width(node)
    // These only weaken what this descriptor has, so none of them can be refused.
    if (to) for (const range of this.#ranges(node, to)) this.file.tryLock(range)
    if (!to || to === 'intent-shared') this.file.unlock({ start, length })
    if (!to) this.file.unlock(presence(node))
    if (to === 'intent-exclusive') {
      if (this.slot > 0) this.file.unlock({ start, length: this.slot })
      this.file.unlock({ start: start + this.slot + 1, length: length - this.slot - 1 })
    }
  }

  /** Whether somebody waits at a node who must not be overtaken by this mode. */
  isGateClosed(node: number, mode: TreeLockMode): boolean {
    return this.file.isBlocked({ ...gate(node, mode), isShared: true })
  }

  /**
   * Becomes the one for whom a node's gate is closed, if nobody is: to all modes that this one is not compatible with.
   * One of these is always `exclusive`, so that byte says whose gate it is.
   */
  tryCloseGate(node: number, mode: TreeLockMode): boolean {
    if (!this.file.tryLock(gate(node, 'exclusive'))) return false
    for (const other of MODES) if (!areCompatible(other, mode)) this.file.tryLock(gate(node, other))
    return true
  }

  openGate(node: number): void {
    for (const mode of MODES) this.file.unlock(gate(node, mode))
  }

  #ranges(node: number, mode: TreeLockMode): Locked[] {
    const whole = { ...presence(node), isShared: mode !== 'exclusive' }
    if (mode === 'intent-shared') return [whole]
    if (mode === 'intent-exclusive') return [whole, { start: width(node).start + this.slot, length: 1 }]
    return [whole, { ...width(node), isShared: mode === 'shared' }]
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
 * the others from the kernel. So a descendant goes in, siblings exclude each other, and nobody waits for oneself. An
 * enclosing one may be another copy's of this package, so what is used of it has no private name.
 */
export class NodeLocks {
  readonly claim: Claim
  readonly #enclosing: readonly NodeLocks[]
  readonly #nodes = new Map<string, NodeLock>()

  /** @param enclosing the holds around this one in the same tree, innermost first */
  constructor(claim: Claim, enclosing: readonly NodeLocks[]) {
    this.claim = claim
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
    const isFree = keeper ? undefined : this.claim.tryRaise(index, undefined, mode)
    const outcome = keeper ? keeper.admit(name, this, mode) : isFree ? 'taken' : 'busy'
    if (outcome === 'taken') this.#nodes.set(name, { index, mode, held: mode, keeper, inside: new Map() })
    return outcome
  }

  /** Gives everything back, children before parents. */
  release(): void {
    for (const [name, node] of [...this.#nodes].reverse()) {
      this.#nodes.delete(name)
      if (node.keeper) node.keeper.dismiss(name, this)
      else this.claim.lower(node.index, undefined)
    }
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
    else this.claim.lower(node.index, needed)
  }

  #tryRaise(name: string, node: NodeLock, mode: TreeLockMode): boolean {
    if (mode === node.held) return true
    const isRaised = node.keeper
      ? node.keeper.admit(name, this, mode) === 'taken'
      : this.claim.tryRaise(node.index, node.held, mode)
    if (isRaised) node.held = mode
    return isRaised
  }

  #node(name: string): NodeLock {
    const node = this.#nodes.get(name)
    if (!node) throw new Error(`pslock: ${name} is not held here`)
    return node
  }
}
