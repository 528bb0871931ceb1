import type { LockMode } from '../errors.ts'

/** What one operation of a batch did: the lines of its unit, where its undo steps begin, and what follows its commit. */
export interface Segment {
  readonly undoMark: number
  readonly lines: string[]
  readonly afterwards: (() => void)[]
}

/** What the operations of the present batch have done in memory, and how to undo it. */
export class WriteSet {
  /** What to do, newest first, to bring memory back to an earlier state. Empty again after every commit. */
  readonly #undo: (() => void)[] = []
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

  run(operation: () => unknown, mode: LockMode): Promise<unknown> {
    this.#segments.push({ undoMark: this.#undo.length, lines: [], afterwards: [] })
    return this.#attempt(operation, mode)
  }

  async savepoint(operation: () => unknown, mode: LockMode): Promise<unknown> {
    this.#depth++
    this.#hadInner = true
    try {
      return await this.#attempt(operation, mode)
    } finally {
      this.#depth--
    }
  }

  /** Runs an operation; when it throws, what it did is undone. */
  async #attempt(operation: () => unknown, mode: LockMode): Promise<unknown> {
    const { segment, compactAtCommit, revision } = this
    const mark = this.#undo.length
    const [lines, afterwards] = [segment?.lines.length ?? 0, segment?.afterwards.length ?? 0]
    const outer = this.#running
    this.#running = mode
    try {
      return await operation()
    } catch (error) {
      this.rollBack(mark)
      if (segment) {
        segment.lines.length = lines
        segment.afterwards.length = afterwards
      }
      this.compactAtCommit = compactAtCommit
      this.revision = revision
      throw error
    } finally {
      this.#running = outer
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

  rollBack(mark: number): void {
    try {
      while (this.#undo.length > mark) this.#undo.pop()?.()
    } catch {
      // The store would not take its own old state back: its memory is read anew from the file.
      this.#distrustMemory()
    }
  }

  /** Hands out what is to be written; a new batch begins. */
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
    this.#undo.length = 0
  }

  /** Undoes everything. */
  abandon(): void {
    const [first] = this.take()
    if (first) this.rollBack(first.undoMark)
    this.#undo.length = 0
  }
}
