/** What to do, newest first, to bring memory back to an earlier state. Empty again after every commit. */
export class UndoLog {
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
