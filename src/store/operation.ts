import { AsyncResource } from 'node:async_hooks'
import type { LockMode } from '../errors.ts'
import type { Call } from '../features/hooks/hook.ts'
import type { Told } from '../features/hooks/told.ts'
import type { AcquireOptions } from '../lock/options.ts'
import { shared } from '../lock/shared-state.ts'

/**
 * One of the store's own calls, or the user's code: a `transaction` is alone in its pass; a `view` runs after the lock
 * was released, on the state that was read under it; so does what is `optimistic`, whose changes are written under the
 * lock if the state is still the same.
 */
export type OperationKind = 'call' | 'transaction' | 'optimistic' | 'view'

/** What is known of an operation when it is issued. */
export interface Issued extends AcquireOptions {
  readonly kind?: OperationKind
  /** The method that was called, where it is known. */
  readonly call?: Call | undefined
  /** A step of something that hooks are told of as a whole. */
  readonly isInternal?: boolean
  /** Hooks were told of it. */
  readonly told?: Told | undefined
  /** Asked when it is about to run: whether it needs nothing of what others have written. Its changes are right anyhow. */
  readonly isBlind?: (() => boolean) | undefined
  /** With `timeoutMs: 0`: it may wait behind others of this process, only not for the lock. */
  readonly mayQueue?: boolean
  /**
   * It runs nothing but the store's own code, which issues no operations; where it only reads, it takes what it needs
   * from memory before it first waits.
   */
  readonly isSelfContained?: boolean | undefined
}

/** One operation on a store, from being issued to being settled. */
export class Operation {
  readonly mode: LockMode
  readonly run: () => unknown
  readonly kind: OperationKind
  /** Its own patience, where it does not have that of the store. */
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  readonly told: Told | undefined
  readonly isBlind: (() => boolean) | undefined
  readonly isSelfContained: boolean
  readonly since: number = performance.now()
  readonly promise: Promise<unknown>
  #resolve!: (value: unknown) => void
  #reject!: (reason: unknown) => void
  /** Whoever runs it, the user's code in it finds the context that it was issued in. */
  readonly #issuer = new AsyncResource('pslock.operation')
  #giveUp: ((reason: () => unknown) => void) | undefined
  #stopWaiting: () => void = () => {}

  constructor(
    mode: LockMode,
    run: () => unknown,
    { kind = 'call', timeoutMs, signal, told, isBlind, isSelfContained = false }: Issued,
  ) {
    this.mode = mode
    this.run = run
    this.kind = kind
    this.timeoutMs = timeoutMs
    this.signal = signal
    this.told = told
    this.isBlind = isBlind
    this.isSelfContained = isSelfContained
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get waitedMs(): number {
    return performance.now() - this.since
  }

  /** Whether it still waits behind others of this process. */
  get isWaiting(): boolean {
    return this.#giveUp !== undefined
  }

  /** Whether it was issued inside a hold of any lock. */
  get isInHold(): boolean {
    return this.inContext(() => shared.context.get() !== undefined)
  }

  /** Runs as if it were called where the operation was issued. */
  inContext<T>(run: () => T): T {
    return this.#issuer.runInAsyncScope(run)
  }

  /** It has waited behind others for long enough. */
  giveUp(reason: () => unknown): void {
    this.#giveUp?.(reason)
  }

  /** Calls `giveUp` when its own patience ends while it waits behind others. */
  waitBehind(giveUp: (reason: () => unknown) => void, timedOut: () => unknown): void {
    const { signal, timeoutMs } = this
    this.#giveUp = giveUp
    const abort = () => giveUp(() => signal?.reason)
    // 0: it goes on at once, or it was refused.
    const timer =
      timeoutMs === undefined || timeoutMs === 0 || timeoutMs >= 2 ** 31
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
    this.#giveUp = undefined
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
