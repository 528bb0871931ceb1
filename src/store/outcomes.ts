import type { Operation } from './operation.ts'
import type { Commit } from './pass.ts'

interface Outcome {
  readonly operation: Operation
  readonly value: unknown
  readonly error: unknown
  readonly failed: boolean
}

/** Tells the callers of a pass what became of their operations. */
export type Settle = () => Promise<void> | void

/** What became of the operations of one pass. Nothing settles before the lock is free again. */
export class Outcomes {
  readonly #outcomes: Outcome[] = []
  commit: Commit = { committed: 0 }

  get isEmpty(): boolean {
    return this.#outcomes.length === 0
  }

  succeeded(operation: Operation, value: unknown): void {
    this.#outcomes.push({ operation, value, error: undefined, failed: false })
  }

  failed(operation: Operation, error: unknown): void {
    this.#outcomes.push({ operation, value: undefined, error, failed: true })
  }

  rejectAll(error: unknown): void {
    for (const { operation } of this.#outcomes) operation.reject(error)
  }

  /** @param lookAgain given the reads that came after a write which failed: they have seen what is undone now */
  settle(lookAgain: (reads: Operation[]) => void): Promise<void> | void {
    const { error, settle } = this.commit
    if (!settle) return lookAgain(this.#settle(error, false))
    return settle()
      .then(
        () => this.#settle(error, false),
        (failure) => this.#settle(failure, true),
      )
      .then(lookAgain)
  }

  #settle(error: unknown, broken: boolean): Operation[] {
    const { committed } = this.commit
    const again: Operation[] = []
    for (const [index, { operation, failed, ...outcome }] of this.#outcomes.entries()) {
      if (failed) operation.reject(outcome.error)
      else if (broken || (index >= committed && (operation.mode === 'exclusive' || index === committed))) {
        operation.reject(error)
      } else if (index < committed) operation.resolve(outcome.value)
      else again.push(operation)
    }
    return again
  }
}
