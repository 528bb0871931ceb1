import { type LockMode, orUndefined } from '../errors.ts'
import { freed, whenFreed, willPass } from '../os/open-files.ts'
import { sleep } from '../os/steps.ts'
import type { Arbiter } from './arbiter.ts'

/** How long somebody is ready to wait, and what to throw when that ends. */
export interface WaitOptions {
  readonly timeoutMs: number
  readonly sliceMs: number
  readonly signal: AbortSignal | undefined
  onTimeout(waitedMs: number): Error
}

interface Waiter {
  readonly mode: LockMode
  readonly wait: WaitOptions
  readonly since: number
  readonly grant: () => void
  readonly refuse: (reason: unknown) => void
}

/** setTimeout's own limit; a longer wait has no timer at all (24 days). */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** How often it is tried again where there is no descriptor left. */
const SHORTAGE_PACE_MS = 100

/**
 * The queue inside one process: many readers or one writer, strictly first come, first served. A queue with an arbiter is
 * that of a whole lock: the arbiter asks the kernel, and only the head of the queue waits there. A queue without one is
 * inside a hold, where nested holds exclude each other.
 */
export class LocalQueue {
  readonly #arbiter: Arbiter | undefined
  /** Those who wait, first come, first served. */
  readonly waiting: Waiter[] = []
  /** How many are inside: one writer, or readers. */
  inside = 0
  #isExclusive = false
  #poll: NodeJS.Timeout | undefined
  /** Why the lock file could not be opened when it was tried last, if that will pass. */
  #shortage: unknown
  #isToldWhenFreed = false

  constructor(arbiter?: Arbiter) {
    this.#arbiter = arbiter
  }

  /** Whether the ones inside let this mode in (the kernel may still refuse). */
  admits(mode: LockMode): boolean {
    return this.inside === 0 || (mode === 'shared' && !this.#isExclusive)
  }

  /** Goes in at once if that is possible, past nobody of this process who waits. */
  tryEnter(mode: LockMode, sliceMs: number): boolean {
    if (this.waiting.length > 0 || !this.admits(mode)) return false
    if (!this.#arbiter) return this.#take(mode)
    if (this.inside > 0) return this.#mayJoin() && this.#take(mode)
    try {
      if (!this.#arbiter.tryBarge(mode, sliceMs)) return false
    } catch (error) {
      // Then it waits, also for that.
      if (willPass(error)) return false
      throw error
    }
    this.#isExclusive = mode === 'exclusive'
    this.inside = 1
    return true
  }

  /** Goes in at once if the kernel lets it, past everybody who waits. */
  force(mode: LockMode): boolean {
    return this.admits(mode) && this.#take(mode)
  }

  /** Waits, blocking the thread. @throws as `enter` */
  enterBlocking(mode: LockMode, { timeoutMs, sliceMs, signal, onTimeout }: WaitOptions): void {
    const since = performance.now()
    try {
      for (;;) {
        const waitedMs = performance.now() - since
        const step = timeoutMs === 0 ? this.force(mode) : this.#stepBlocking(mode, sliceMs)
        if (step === true) return
        // What blocks the thread hears of an abort by another thread at most.
        if (signal?.aborted) throw signal.reason
        if (waitedMs >= timeoutMs) throw onTimeout(waitedMs)
        sleep(Math.min(Number(step), timeoutMs - waitedMs))
      }
    } catch (error) {
      if (this.waiting.length === 0) this.#arbiter?.leaveWaitQueue()
      throw error
    }
  }

  #stepBlocking(mode: LockMode, sliceMs: number): true | number {
    if (!this.#arbiter || this.inside > 0) return this.#take(mode) || 1
    const step = this.#arbiter.step(mode, sliceMs, false)
    if (step === true) this.#count(mode)
    return step
  }

  /** Waits. Rejects with the reason of the signal, or with what `onTimeout` makes. */
  enter(mode: LockMode, wait: WaitOptions): Promise<void> {
    const { signal, timeoutMs } = wait
    if (timeoutMs === 0) return this.force(mode) ? Promise.resolve() : Promise.reject(wait.onTimeout(0))
    return new Promise<void>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      const settle = (answer: () => void) => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        answer()
      }
      const grant = () => settle(resolve)
      const refuse = (reason: unknown) => settle(() => reject(reason))
      const waiter: Waiter = { mode, wait, since: performance.now(), grant, refuse }
      const leaveQueue = (reason: unknown) => {
        const index = this.waiting.indexOf(waiter)
        if (index === -1) return
        this.waiting.splice(index, 1)
        refuse(reason)
        if (this.waiting.length === 0) this.#stopPolling()
        else this.#advance()
      }
      const abort = () => leaveQueue(signal?.reason)
      const giveUp = () => {
        // A last look: further back in the line one sleeps, and does not notice that those before are gone.
        // What cannot be asked any more ends as what it is: a wait whose time is over.
        if (waiter === this.waiting[0] && orUndefined(() => this.force(mode))) {
          this.waiting.shift()
          grant()
          this.#advance()
        } else leaveQueue(this.#shortage ?? wait.onTimeout(performance.now() - waiter.since))
      }
      if (timeoutMs <= LONGEST_TIMER_MS) timer = setTimeout(giveUp, timeoutMs)
      signal?.addEventListener('abort', abort, { once: true })
      this.waiting.push(waiter)
      // Behind a head that already waits there is nothing to ask yet.
      if (this.waiting.length === 1) this.#advance()
    })
  }

  /** The lock may have become free: whoever waits asks at once. */
  retry(): void {
    if (this.waiting.length > 0) this.#advance()
  }

  leave(): void {
    this.inside--
    try {
      if (this.inside === 0) this.#arbiter?.unlock()
    } finally {
      if (this.waiting.length > 0) this.#advance()
    }
  }

  #take(mode: LockMode): boolean {
    // Readers of one process share one kernel lock; it is dropped when the last of them leaves. Nobody joins it on a
    // file that the path has left: another process may hold the present one.
    const arbiter = this.#arbiter
    if (arbiter && !(this.inside === 0 ? arbiter.tryLock(mode) : arbiter.file.isCurrent)) return false
    return this.#count(mode)
  }

  #count(mode: LockMode): true {
    this.#isExclusive = mode === 'exclusive'
    this.inside++
    return true
  }

  /** Joining our own readers needs no kernel, but must not keep a waiting writer of another process out for ever. */
  #mayJoin(): boolean {
    return this.#arbiter === undefined || this.#arbiter.isInSlice || this.#arbiter.mayBegin()
  }

  /** Lets in as many from the head of the queue as may go; sleeps where only time can help. */
  #advance(): void {
    for (let head = this.waiting[0]; head && this.admits(head.mode); head = this.waiting[0]) {
      let answer = head.grant
      try {
        const step = this.#ask(head)
        this.#shortage = undefined
        if (step !== true) {
          this.#pollAfter(step)
          return
        }
      } catch (error) {
        if (willPass(error)) {
          this.#askWhenFreed(error)
          return
        }
        answer = () => head.refuse(error)
      }
      this.waiting.shift()
      answer()
    }
    if (this.waiting.length === 0) this.#stopPolling()
  }

  #ask(head: Waiter): true | number {
    if (!this.#arbiter) return this.#take(head.mode) || 0
    if (this.inside > 0) return (this.#mayJoin() && this.#take(head.mode)) || 5
    if (this.#arbiter.isInSlice && this.#take(head.mode)) {
      this.#arbiter.leaveWaitQueue()
      return true
    }
    const step = this.#arbiter.step(head.mode, head.wait.sliceMs, true)
    if (step === true) this.#count(head.mode)
    return step
  }

  /** There is no descriptor for the lock file, until another lock or store of this process ends what it does. */
  #askWhenFreed(shortage: unknown): void {
    // Not everything that gives one back says so.
    this.#pollAfter(SHORTAGE_PACE_MS * (1 + Math.random()))
    this.#shortage = shortage
    if (this.#isToldWhenFreed) return
    this.#isToldWhenFreed = true
    whenFreed(() => {
      this.#isToldWhenFreed = false
      if (this.waiting.length > 0) this.#advance()
      else freed()
    })
  }

  #pollAfter(ms: number): void {
    if (this.waiting.length === 0) return
    clearTimeout(this.#poll)
    this.#poll = setTimeout(() => this.#advance(), ms)
  }

  #stopPolling(): void {
    clearTimeout(this.#poll)
    this.#poll = undefined
    this.#arbiter?.leaveWaitQueue()
  }
}

/** So long may calls that are awaited one after the other keep the event loop from turning: the length of a slice. */
const TURN_AFTER_MS = 4

/** When the first call of this turn was made. */
let since: number | undefined

/**
 * Whether calls have followed each other for so long without a turn of the event loop that timers and input wait. What is
 * done at once is awaited in a microtask, and those all come before the next timer: a loop of 150,000 awaited holds would
 * let none fire.
 */
export function mustTurn(): boolean {
  const now = performance.now()
  if (since === undefined) {
    since = now
    setImmediate(() => {
      since = undefined
    })
    return false
  }
  return now - since >= TURN_AFTER_MS
}

/** Resolves when the event loop has turned. */
export function turned(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * Lets the event loop turn, where it must, before something is waited for.
 * @throws the reason of the signal, where it has aborted meanwhile
 */
export async function turn(signal?: AbortSignal): Promise<void> {
  await turned()
  // Signals of other libraries may have no throwIfAborted.
  if (signal?.aborted) throw signal.reason
}

/** Runs it after `before`, and after a turn of the event loop where it must turn. */
export function inLoop<T>(before: Promise<unknown>, run: () => T): Promise<Awaited<T>> {
  return before.then(() => (mustTurn() ? turned().then(run) : run())) as Promise<Awaited<T>>
}
