import { AsyncResource } from 'node:async_hooks'
import { type LockMode, LockTimeoutError } from '../errors.ts'
import { shared } from '../lock/hold.ts'
import type { AcquireOptions, WaitOptions } from '../lock/options.ts'
import { fitsAtOnce } from '../os/open-files.ts'
import type { OperationTraits } from './adapter.ts'
import type { Commit } from './engine.ts'
import type { Asked } from './store-lock.ts'

/**
 * One of the store's own calls, or the user's code: a `transaction` is alone in its batch; a `view` runs after the lock
 * was released, on the state that was read under it; so does what is `optimistic`, whose changes are written under the
 * lock if the state is still the same.
 */
export type OperationKind = 'call' | 'transaction' | 'optimistic' | 'view'

/** What is known of an operation when it is issued. `signal` and `timeoutMs` are those of its own wait. */
export interface Issued extends OperationTraits, Omit<AcquireOptions, 'timeoutMs'> {
  readonly kind?: OperationKind
  /** What hooks know of it, where they were called. */
  readonly observed?: Observed | undefined
  /**
   * Does it at once on the straight path, if the lock is free.
   * @returns true where it is not, and to ask again makes sense; false where the general path must do it
   */
  readonly attempt?: () => { readonly value: unknown } | boolean
  /** With `timeoutMs: 0`: it may wait behind others of this process, only not for the lock. */
  readonly mayQueue?: boolean
}

/** One operation as its observer sees it. */
export interface Observed {
  /** Runs it. @param state differs afterwards if it has changed something */
  watch<T>(run: () => T, state: () => unknown): Promise<Awaited<T>>
}

/** What is called for every operation of a store, before it runs and when it has ended: its hooks. */
export interface Observer {
  /** Whether a hook is to be called for this operation. */
  observes(issued: Issued): boolean
  /** @throws LockDeadlockError in the observer's own code that is asked before an operation */
  requireNotAsking(): void
  /**
   * Runs an operation once it was let through, in the order of issue.
   * @param where how it waits, and the user's own hold in which it was issued
   * @param start must have queued the operation when it returns
   */
  inOrder<T>(
    mode: LockMode,
    issued: Issued,
    where: Asked,
    start: (observed: Observed) => Promise<T>,
  ): Promise<T>
  /** Runs a part of an operation that runs already. @param outer that operation, where it is observed */
  part<T>(
    outer: Observed | undefined,
    mode: LockMode,
    issued: Issued,
    run: (observed: Observed) => Promise<T>,
  ): Promise<T>
  /** Runs a blocking operation, which takes the lock by itself. @param state see `Observed` */
  blocking<T>(mode: LockMode, issued: Issued, run: () => T, state: () => unknown): T
  /** Resolves when everything issued so far has been let through, and what it did then has settled. */
  idle(): Promise<void>
}

/** A write that is alone asks for a busy lock after such pauses, as SQLite's busy handler does, for so long. */
const ATTEMPTS = { fromMs: 1, factor: 2, forMs: 300 }
/**
 * Its longest pause, and how often it asks at least: where many processes wait for a processor, time passes without a question
 * (50 new ones on 2 cores: 1.6 times the durable inserts).
 */
const BY_ITSELF = { toMs: 8, atLeast: 40 }
/**
 * The same for one that follows another within so long, as in a loop: that the loop ends soon is worth more than one wait, and a
 * question takes 0.1 ms in a program that has just begun (50 new processes: twice the inserts, of which a process does more
 * in a row).
 */
const IN_A_ROW = { withinMs: 1, toMs: 16, atLeast: 24 }

/** One operation on a store, from being issued to being settled. */
export class Operation {
  readonly mode: LockMode
  readonly run: () => unknown
  readonly kind: OperationKind
  /** Its own wait, where it does not have that of the store. */
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  readonly observed: Observed | undefined
  readonly isBlind: (() => boolean) | undefined
  readonly isSelfContained: boolean
  readonly attempt: Issued['attempt']
  /** How it asks for the lock, see `asksFor`. */
  ask: WaitOptions['attempt']
  /** An attempt has settled it. */
  isDone = false
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
    { kind = 'call', timeoutMs, signal, observed, isBlind, isSelfContained = false, attempt }: Issued,
  ) {
    this.mode = mode
    this.run = run
    this.kind = kind
    this.timeoutMs = timeoutMs
    this.signal = signal
    this.observed = observed
    this.isBlind = isBlind
    this.isSelfContained = isSelfContained
    this.attempt = attempt
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Whether it only looks at memory, at once: it can do without the lock. */
  get onlyLooks(): boolean {
    return this.mode === 'shared' && this.kind === 'call' && this.isSelfContained
  }

  /** Whether it may run once more: it is the store's own code. */
  get isRepeatable(): boolean {
    return this.kind === 'call' && !this.signal?.aborted
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

  /** Calls `giveUp` when its own wait ends while it waits behind others. */
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

  /**
   * While its wait is young, what is alone here asks for the lock by itself, on the straight path: most waits are over in a
   * few milliseconds, and a place in the queue of the processes, and to be woken there, costs more than that.
   * @param queue of which it is the first
   * @param straightPath when its store took it last, and takes it here
   * @returns whether it does
   */
  asksFor(queue: Operation[], straightPath: { takenAt: number }): boolean {
    const { attempt } = this
    if (!attempt) return false
    const { toMs, atLeast } = this.since - straightPath.takenAt < IN_A_ROW.withinMs ? IN_A_ROW : BY_ITSELF
    const until = this.since + ATTEMPTS.forMs
    let pauseMs = ATTEMPTS.fromMs
    let left = atLeast
    this.ask = () => {
      // What was issued meanwhile shares a hold with it.
      if (queue.length > 1 || (left-- <= 0 && performance.now() > until)) return undefined
      let answer: () => void
      try {
        const done = this.inContext(attempt)
        if (done === true) {
          const pace = pauseMs
          pauseMs = Math.min(pauseMs * ATTEMPTS.factor, toMs)
          // Random, so that no two stay in step.
          return pace * (0.5 + Math.random())
        }
        if (!done) return undefined
        answer = () => this.resolve(done.value)
      } catch (error) {
        answer = () => this.reject(error)
      }
      // Before it is settled: whoever has its result finds the queue empty.
      queue.shift()
      this.isDone = true
      straightPath.takenAt = performance.now()
      answer()
      return true
    }
    return true
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

/** Makes an attempt. @returns its result; undefined where it was in vain */
export function attempted<T>(attempt: Required<Issued>['attempt']): Promise<Awaited<T>> | undefined {
  try {
    const done = attempt()
    return typeof done === 'boolean' ? undefined : (Promise.resolve(done.value) as Promise<Awaited<T>>)
  } catch (error) {
    return Promise.reject(error)
  }
}

/**
 * Nobody waits for ever behind the user's code: ends the wait of operations that have no wait of their own. One
 * timer for all of them, left running when the queue is empty, costs nothing to a call that need not wait.
 */
export class QueueWatch {
  readonly #queue: readonly Operation[]
  #timer: NodeJS.Timeout | undefined

  constructor(queue: readonly Operation[]) {
    this.#queue = queue
  }

  /** @param wait that of the store */
  start(wait: WaitOptions, inMs: number = wait.timeoutMs): void {
    if (this.#timer || inMs >= 2 ** 31) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      for (const operation of [...this.#queue]) {
        const { isWaiting, timeoutMs, waitedMs } = operation
        if (!isWaiting || timeoutMs !== undefined) continue
        // They are in the order in which they came.
        if (waitedMs < wait.timeoutMs) return this.start(wait, wait.timeoutMs - waitedMs)
        operation.giveUp(() => wait.onTimeout(waitedMs))
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

interface Outcome {
  readonly operation: Operation
  readonly value: unknown
  readonly error: unknown
  readonly failed: boolean
}

/** Tells the callers of a batch what became of their operations. */
export type Settle = () => Promise<void> | void

/** What became of the operations of one engine. Nothing settles before the lock is free again. */
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

  /** @param lookAgain given those that must run again: they have seen what is undone now */
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
    const { committed, isToRepeat } = this.commit
    const again: Operation[] = []
    for (const [index, { operation, failed, ...outcome }] of this.#outcomes.entries()) {
      if (isToRepeat) {
        if (operation.isRepeatable) again.push(operation)
        else operation.reject(error)
      } else if (failed && index <= committed) {
        // Behind what is undone now it may have failed for that: a key that was taken.
        operation.reject(outcome.error)
      } else if (broken || (index >= committed && (operation.mode === 'exclusive' || index === committed))) {
        operation.reject(error)
      } else if (index < committed) operation.resolve(outcome.value)
      else again.push(operation)
    }
    return again
  }
}

/** Runs what it is given one after the other, first come, first served; what comes while nothing runs begins at once. */
export class OneAtATime {
  /** Set in here only. */
  isRunning = false
  readonly #waiting: (() => void)[] = []

  async run<T>(run: () => Promise<T>): Promise<T> {
    if (this.isRunning) await new Promise<void>((go) => this.#waiting.push(go))
    this.isRunning = true
    try {
      return await run()
    } finally {
      const next = this.#waiting.shift()
      // Handed over: what comes in between does not go first.
      if (next) next()
      else this.isRunning = false
    }
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.isRunning) await this.run(async () => {})
  }
}

/** When none of those that run has ended for so long, they may be waiting for one that waits here: one more begins then. */
const NO_PROGRESS_MS = 200

let running = 0
/** When one ended, or began all the same. */
let movedAt = 0
const waiting: (() => void)[] = []

/**
 * Many stores of one thread that all begin in the same moment would hold more files open together than the process may
 * have, each under its lock and in need of one more: so only so many batches run at once. A courtesy, not a limit: it
 * never keeps a batch waiting while no other one ends.
 * @param mayWait false inside a hold, which the others may be waiting for
 * @returns what to wait for, where there are too many
 */
export function beginPass(mayWait: () => boolean): Promise<void> | undefined {
  if ((fitsAtOnce(running) && waiting.length === 0) || !mayWait()) {
    running++
    return undefined
  }
  return new Promise((resolve) => {
    const since = performance.now()
    const begin = () => {
      clearTimeout(timer)
      running++
      resolve()
    }
    const look = () => {
      const leftMs = Math.max(since, movedAt) + NO_PROGRESS_MS - performance.now()
      if (leftMs > 0) timer = setTimeout(look, leftMs)
      else {
        movedAt = performance.now()
        waiting.shift()?.()
      }
    }
    let timer = setTimeout(look, NO_PROGRESS_MS)
    waiting.push(begin)
  })
}

/** One of them has ended. */
export function endPass(): void {
  running--
  if (waiting.length === 0) return
  movedAt = performance.now()
  if (fitsAtOnce(running)) waiting.shift()?.()
}

/** The lock was not granted: those who have waited long enough are told, the others go on. */
export function refuseWaiting(queue: Operation[], error: unknown): void {
  const now = performance.now()
  const head = queue.shift()
  head?.reject(error)
  if (!(error instanceof LockTimeoutError) || !head || head.timeoutMs !== undefined) return
  while (queue[0] && queue[0].since - head.since < 1 && now > queue[0].since) {
    queue.shift()?.reject(error)
  }
}
