import type { LockMode } from '../errors.ts'

/** What to do, newest first, to bring memory back to an earlier state. Empty again after every commit. */
class UndoLog {
  readonly #steps: (() => void)[] = []

  /** Remembers how to undo a change that was just made in memory. */
  push(undo: () => void): void {
    this.#steps.push(undo)
  }

  /** The present state, to come back to. */
  mark(): number {
    return this.#steps.length
  }

  /** Undoes everything since `mark`. */
  backTo(mark: number): void {
    while (this.#steps.length > mark) this.#steps.pop()?.()
  }

  /** The present state is final. */
  clear(): void {
    this.#steps.length = 0
  }
}

/** What one operation of a pass did: the lines of its unit, where its undo steps begin, and what follows its commit. */
export interface Segment {
  readonly undoMark: number
  readonly lines: string[]
  readonly afterwards: (() => void)[]
}

/** What the operations of the present pass have done in memory, and how to undo it. */
export class WriteSet {
  readonly #undo = new UndoLog()
  readonly #distrustMemory: () => void
  #segments: Segment[] = []
  #running: LockMode | undefined
  /** How many operations run inside one another, the outermost not counted. */
  #depth = 0
  #hadInner = false
  /** Grows with every change of memory or file; what is undone is taken back. */
  revision = 0
  /** The file is to be rewritten once the operation that asked for it has ended well. */
  compactAtCommit = false

  /** @param distrustMemory called when memory cannot be brought back */
  constructor(distrustMemory: () => void) {
    this.#distrustMemory = distrustMemory
  }

  /** What the operation that runs now may do. */
  get running(): LockMode | undefined {
    return this.#running
  }

  /** Whether an operation runs inside another. */
  get isNested(): boolean {
    return this.#depth > 0
  }

  /** Whether the user's code ran in between: calls of its own were part of an operation. */
  get hadInner(): boolean {
    return this.#hadInner
  }

  get segment(): Segment | undefined {
    return this.#segments.at(-1)
  }

  /** Whether there is something that is not written yet. */
  get hasLines(): boolean {
    return this.#segments.some(({ lines }) => lines.length > 0)
  }

  append(lines: readonly string[]): void {
    const { segment } = this
    if (!segment || this.#running !== 'exclusive') throw new Error('append() outside an exclusive operation')
    for (const line of lines) segment.lines.push(line)
    this.revision += lines.length
  }

  onUndo(undo: () => void): void {
    if (this.#running) this.#undo.push(undo)
  }

  async run(operation: () => unknown, mode: LockMode): Promise<unknown> {
    const segment: Segment = { undoMark: this.#undo.mark(), lines: [], afterwards: [] }
    const { revision } = this
    this.#segments.push(segment)
    this.#running = mode
    try {
      return await operation()
    } catch (error) {
      this.rollBack(segment.undoMark)
      segment.lines.length = 0
      segment.afterwards.length = 0
      this.compactAtCommit = false
      this.revision = revision
      throw error
    } finally {
      this.#running = undefined
    }
  }

  /** Runs what changes nothing and takes what it needs from memory before it first waits. */
  looking<T>(look: () => T): T {
    this.#running = 'shared'
    try {
      return look()
    } finally {
      this.#running = undefined
    }
  }

  async savepoint(operation: () => unknown, mode: LockMode): Promise<unknown> {
    const { segment, compactAtCommit, revision } = this
    const before = { lines: segment?.lines.length ?? 0, afterwards: segment?.afterwards.length ?? 0 }
    const mark = this.#undo.mark()
    const outer = this.#running
    this.#running = mode
    this.#depth++
    this.#hadInner = true
    try {
      return await operation()
    } catch (error) {
      this.rollBack(mark)
      if (segment) {
        segment.lines.length = before.lines
        segment.afterwards.length = before.afterwards
      }
      this.compactAtCommit = compactAtCommit
      this.revision = revision
      throw error
    } finally {
      this.#depth--
      this.#running = outer
    }
  }

  rollBack(mark: number): void {
    try {
      this.#undo.backTo(mark)
    } catch {
      // The store would not take its own old state back: its memory is read anew from the file.
      this.#distrustMemory()
    }
  }

  /** Hands out what is to be written; a new pass begins. */
  take(): Segment[] {
    const segments = this.#segments
    this.#segments = []
    this.#hadInner = false
    this.compactAtCommit = false
    return segments
  }

  /** It is in the file: it cannot be undone any more, and is not written again. */
  written(segments: readonly Segment[] = this.#segments): void {
    for (const segment of segments) segment.lines.length = 0
    this.#undo.clear()
  }

  /** Undoes everything. */
  abandon(): void {
    const [first] = this.take()
    if (first) this.rollBack(first.undoMark)
    this.#undo.clear()
  }
}
