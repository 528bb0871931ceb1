import type { Operation } from './operation.ts'
import type { Commit } from './pass.ts'

interface Outcome {
  readonly operation: Operation
  readonly value: unknown
  readonly error: unknown
  readonly failed: boolean
}

/** What became of the operations of one pass. Nothing settles before the lock is free again. */
export class Outcomes {
  readonly #outcomes: Outcome[] = []
  commit: Commit = { committed: 0 }

  get isEmpty(): boolean {
    return this.#outcomes.length === 0
  }

  async add(operation: Operation, run: () => unknown): Promise<void> {
    try {
      this.#outcomes.push({ operation, value: await run(), error: undefined, failed: false })
    } catch (error) {
      this.#outcomes.push({ operation, value: undefined, error, failed: true })
    }
  }

  rejectAll(error: unknown): void {
    for (const { operation } of this.#outcomes) operation.reject(error)
  }

  /** @returns the reads that came after a write which failed: they have seen what is undone now, and look again */
  async settle(): Promise<Operation[]> {
    const { committed, settle } = this.commit
    const again: Operation[] = []
    let error = this.commit.error
    let broken = false
    try {
      await settle?.()
    } catch (failure) {
      error = failure
      broken = true
    }
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
