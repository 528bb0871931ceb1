import type { LockMode } from '../errors.ts'
import type { AnyHold } from '../lock/hold.ts'
import type { AcquireOptions, WaitOptions } from '../lock/options.ts'
import type { Operation } from './operation.ts'

/** What guards the content of a store between processes, as the operations of the store see it. */
export interface StoreLock {
  /** For messages: the lock file, or whatever it is that is locked. */
  readonly path: string
  /** Whether it was closed, or is being closed: nothing new is begun. */
  isClosing(): boolean
  /**
   * How a call with these options waits, and the caller's own hold of this lock that it is part of.
   * @throws ClosedError, TypeError for a wrong option, the reason of a signal that is aborted
   */
  asked(mode: LockMode, options?: AcquireOptions): Asked
  /** As `enter`, at once; undefined where it must wait, or where there is something to be said. */
  enterNow(mode: LockMode, head?: Operation): StoreHold | undefined
  /**
   * Takes it for the operation that is first in its queue.
   * @param giveUp ends the wait
   * @param waitedBeforeMs how long it has waited for it already: nothing, where it comes to commit what it did without the
   * lock. By default as long as the operation waits
   * @returns undefined where a reader may go without, and where an attempt of the operation's own has done it meanwhile
   * @throws as `asked`, LockTimeoutError, what taking the lock fails with
   */
  enter(
    mode: LockMode,
    head: Operation,
    giveUp?: AbortSignal,
    waitedBeforeMs?: number,
  ): Promise<StoreHold | undefined>
  /**
   * Takes a turn among the writes of all processes, which come at this pace. Left out where that is counted in a file.
   * @returns after how many milliseconds it comes; above the limit: none was taken
   */
  takeTurn?(pace: Pace, limitMs: number): Promise<number>
  /**
   * Takes it inside a hold of the caller's own, and runs with it. It is free again before the promise settles.
   * @param outer what `asked` has given
   * @throws as `enter`, LockUpgradeError, LockLostError, and whatever `run` throws
   */
  within<T>(
    outer: StoreHold,
    mode: LockMode,
    options: AcquireOptions,
    run: (hold: StoreHold) => T,
  ): Promise<Awaited<T>>
}

/** What is known of a call before it waits: see `StoreLock.asked`. */
export interface Asked {
  readonly wait: WaitOptions
  /** The innermost one; undefined where there is none, and where the call is independent of it. */
  readonly outer: StoreHold | undefined
}

/** How fast writes may come: one in so many milliseconds, and this much ahead of that after a quiet time. */
export interface Pace {
  readonly everyMs: number
  readonly aheadMs: number
}

/** A hold of the lock of a store. */
export interface StoreHold extends AnyHold {
  readonly outer: StoreHold | undefined
  /** Which store object changes the content in it, at this moment or before. */
  owner: object | undefined
}
