import type { TreeLockMode } from '../errors.ts'
import { isRangeBlocked, type Range, tryLockRange, unlockRange } from '../os/ofd.ts'
import type { RecordFile } from '../os/record-file.ts'
import { areCompatible, MODES } from './mode.ts'

/**
 * Which bytes of the lock file stand for what. Every record has 2^21 bytes to lock (they are numbers, not content):
 *
 *  - record 0: byte 0 is locked by whoever appends a record
 *  - a name: byte 0 is *presence*, bytes 1 to 5 the *gate*, the upper half is *width*
 *  - a note: byte 0 is locked by whom the note belongs to (one hold or one waiter), byte 1 once it is written
 *
 * The five modes of a name (proved for all 25 pairs, and after kill -9 of each, in test/lock-tree/matrix.test.ts):
 *
 *  - IS: presence shared             IX: that, and one byte of width exclusive: the one with the number of one's note
 *  - S: presence and width shared    SIX: presence shared, width exclusive    X: both exclusive
 */
const STRIDE: number = 2 ** 21
const WIDTH: number = 2 ** 20

/** The byte of width that a hold takes for IX has the number of its note, so there can be no more records than that. */
export const MOST_RECORDS: number = WIDTH

export const APPENDING: Range = { start: 0, length: 1 }
/** Everything but the byte of whoever appends. Length 0 reaches to the end of all offsets. */
export const ALL_ELSE: Range = { start: 1, length: 0 }

export function ownership(slot: number): Range {
  return { start: slot * STRIDE, length: 1 }
}

export function notedness(slot: number): Range {
  return { start: slot * STRIDE + 1, length: 1 }
}

function presence(node: number): Range {
  return { start: node * STRIDE, length: 1 }
}

function gate(node: number, mode: TreeLockMode): Range {
  return { start: node * STRIDE + 1 + MODES.indexOf(mode), length: 1 }
}

function width(node: number): Range {
  return { start: node * STRIDE + WIDTH, length: WIDTH }
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
