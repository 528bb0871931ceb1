import { type LockPath, type OptionNames, optionNames, requireBoolean, requireKnown } from '../arguments.ts'

/** How long to wait for a lock, and what may end the wait. */
export interface AcquireOptions {
  /**
   * Longest wait in milliseconds; 0 does not wait at all, `Infinity` waits for ever.
   * @default the lock's own `timeoutMs`
   */
  readonly timeoutMs?: number | undefined
  /** Ends the wait: the call rejects with `signal.reason`. It does not affect a hold that was granted. */
  readonly signal?: AbortSignal | undefined
  /**
   * Whether the call belongs to the hold or transaction in which it is made (the same asynchronous context). `false`: it
   * is independent, and waits until that one has ended. So do not await it inside.
   * @default true
   */
  readonly join?: boolean | undefined
}

export const ACQUIRE_NAMES: OptionNames = optionNames<AcquireOptions>({
  timeoutMs: true,
  signal: true,
  join: true,
})

/** Of the forms that hand the lock out. The try-form knows them all too, so that one object can be given to both. */
export const HAND_OUT_NAMES: OptionNames = optionNames<{ mode?: unknown }>({ mode: true }, ACQUIRE_NAMES)

export interface PsLockOptions {
  /**
   * Longest wait of every acquisition, in milliseconds; `Infinity` waits for ever.
   * @default 30_000
   */
  readonly timeoutMs?: number | undefined
  /**
   * For how long this process may take the lock again and again before it lets waiting processes go first, in
   * milliseconds. 0 looks for waiters each time. This is the fairest and slow: a hand-over costs about a millisecond.
   * @default 4
   */
  readonly sliceMs?: number | undefined
  /**
   * The lock file, if it cannot be beside the data. Every process must use the same one.
   * @default `<path>.lock`, or `path` itself if it ends in `.lock`
   */
  readonly lockPath?: LockPath | undefined
  /**
   * `flock`: the kernel's flock(2), which is freed when its holder dies and never before. `lockfile`: the lock folder of
   * proper-lockfile, for systems without flock (Windows, some file systems). It is best effort: a holder that is stopped
   * or busy for `staleMs` loses the lock (`LockLostError`). Every process must use the same backend.
   * @default 'flock'
   */
  readonly backend?: 'flock' | 'lockfile' | undefined
  /**
   * With the `lockfile` backend: after how many milliseconds without a sign of life a holder counts as dead. At least
   * 2000, and the same in every process. The clocks of the machines must agree to within much less than this.
   * @default 10_000 (proper-lockfile's own default)
   */
  readonly staleMs?: number | undefined
}

export interface CloseOptions {
  /**
   * Also removes the lock file and its wait queue, if pslock has made them and no process holds the lock or waits for it.
   * Otherwise they stay. A process that opens the lock file meanwhile notices and makes a new one. Programs that lock
   * it without pslock (flock(1), Python) do not notice.
   * @default false
   */
  readonly remove?: boolean | undefined
}

const CLOSE_NAMES: OptionNames = optionNames<CloseOptions>({ remove: true })

/** Whether the lock file is to be removed, or a TypeError that shows what came instead. */
export function removes(options: CloseOptions): boolean {
  requireKnown(options, CLOSE_NAMES)
  const { remove = false } = options
  requireBoolean(remove, 'remove')
  return remove
}

export const PS_LOCK_NAMES: OptionNames = optionNames<PsLockOptions>({
  timeoutMs: true,
  sliceMs: true,
  lockPath: true,
  backend: true,
  staleMs: true,
})

export const DEFAULTS: { readonly timeoutMs: number; readonly sliceMs: number } = Object.freeze({
  timeoutMs: 30_000,
  sliceMs: 4,
})

/** Whether a call with these options is part of what it is called in. */
export function joins({ join = true }: AcquireOptions): boolean {
  requireBoolean(join, 'join')
  return join
}

/** How long somebody is ready to wait, and what to throw when that ends. */
export interface WaitOptions {
  readonly timeoutMs: number
  readonly sliceMs: number
  readonly signal: AbortSignal | undefined
  onTimeout(waitedMs: number): Error
  /**
   * Asked instead of the kernel, once it is first in its process.
   * @returns true: it has done what the lock was wanted for, and needs it no more; a number: to be asked again after so many
   * milliseconds; undefined: from now on it waits like any other
   */
  readonly attempt?: (() => true | number | undefined) | undefined
}

/** What is over before its call returns. It need not wait behind others: see `Arbiter.tryBarge`. */
export interface Brief {
  /** Asks the kernel, where the lock file is not asked itself: whoever does so also unlocks it. */
  readonly ask?: (() => boolean) | undefined
}
