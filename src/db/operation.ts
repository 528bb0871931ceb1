import type { LockMode } from '../errors.ts'
import type { AcquireOptions } from '../lock/options.ts'

/**
 * One of the store's own calls, or the user's code: a `transaction` is alone in its pass; a `view` runs after the lock
 * was released, on the state that was read under it; so does what is `optimistic`, whose changes are written under the
 * lock if the state is still the same.
 */
export type OperationKind = 'call' | 'transaction' | 'optimistic' | 'view'

/** What is known of an operation when it is issued. */
export interface Issued extends AcquireOptions {
  readonly kind?: OperationKind
}

/** One operation on a store, from being issued to being settled. */
export class Operation {
  readonly mode: LockMode
  readonly run: () => unknown
  readonly kind: OperationKind
  /** Its own patience, where it does not have that of the store. */
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  readonly since: number = performance.now()
  readonly promise: Promise<unknown>
  #resolve!: (value: unknown) => void
  #reject!: (reason: unknown) => void
  #stopWaiting: () => void = () => {}

  constructor(mode: LockMode, run: () => unknown, { kind = 'call', timeoutMs, signal }: Issued) {
    this.mode = mode
    this.run = run
    this.kind = kind
    this.timeoutMs = timeoutMs
    this.signal = signal
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get waitedMs(): number {
    return performance.now() - this.since
  }

  /** Calls `giveUp` when its own patience ends while it waits behind others. */
  waitBehind(giveUp: (reason: () => unknown) => void, timedOut: () => unknown): void {
    const { signal, timeoutMs } = this
    const abort = () => giveUp(() => signal?.reason)
    const timer =
      timeoutMs === undefined || timeoutMs >= 2 ** 31
        ? undefined
        : setTimeout(() => giveUp(timedOut), timeoutMs)
    signal?.addEventListener('abort', abort, { once: true })
    this.#stopWaiting = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
  }

  /** It is its turn, or it has given up. */
  stopWaiting(): void {
    this.#stopWaiting()
  }

  resolve(value: unknown): void {
    this.#stopWaiting()
    this.#resolve(value)
  }

  reject(reason: unknown): void {
    this.#stopWaiting()
    this.#reject(reason)
  }
}
