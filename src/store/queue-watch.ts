import type { Patience } from '../lock/room.ts'
import type { Operation } from './operation.ts'

/**
 * Nobody waits for ever behind the user's code: ends the wait of operations that have no patience of their own. One
 * timer for all of them, left running when the queue is empty, costs nothing to a call that need not wait.
 */
export class QueueWatch {
  readonly #queue: readonly Operation[]
  #timer: NodeJS.Timeout | undefined

  constructor(queue: readonly Operation[]) {
    this.#queue = queue
  }

  /** @param patience that of the store */
  start(patience: Patience, inMs: number = patience.timeoutMs): void {
    if (this.#timer || inMs >= 2 ** 31) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      for (const operation of [...this.#queue]) {
        const { isWaiting, timeoutMs, waitedMs } = operation
        if (!isWaiting || timeoutMs !== undefined) continue
        // They are in the order in which they came.
        if (waitedMs < patience.timeoutMs) return this.start(patience, patience.timeoutMs - waitedMs)
        operation.giveUp(() => patience.onTimeout(waitedMs))
      }
    }, inMs)
    this.#timer.unref()
  }

  /** Nobody waits: it would keep the store in memory until the next time it looks. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
