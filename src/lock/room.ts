import type { LockMode } from '../errors.ts'
import { freed, whenFreed, willPass } from '../os/open-files.ts'
import type { Turnstile } from './turnstile.ts'

/** How long somebody is ready to wait, and what to throw when that ends. */
export interface Patience {
  readonly timeoutMs: number
  readonly sliceMs: number
  readonly signal: AbortSignal | undefined
  onTimeout(waitedMs: number): Error
}

interface Waiter {
  readonly mode: LockMode
  readonly patience: Patience
  readonly since: number
  readonly grant: () => void
  readonly refuse: (reason: unknown) => void
}

/** setTimeout's own limit; a longer patience has no timer at all (24 days). */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** How often it is tried again where there is no descriptor left. */
const SHORTAGE_PACE_MS = 100

/**
 * The queue inside one process: many readers or one writer, strictly first come first served. A room with a
 * turnstile is a whole lock: its door is the kernel's, and only the head of the queue waits there. One without is
 * the inside of a hold, where nested holds exclude each other.
 */
export class Room {
  readonly #door: Turnstile | undefined
  readonly #queue: Waiter[] = []
  #writing = false
  #readers = 0
  #poll: NodeJS.Timeout | undefined
  /** Why the lock file could not be opened when it was tried last, if that will pass. */
  #shortage: unknown
  #isToldWhenFreed = false

  constructor(door?: Turnstile) {
    this.#door = door
  }

  get isEmpty(): boolean {
    return !this.#writing && this.#readers === 0
  }

  get waiters(): readonly { readonly mode: LockMode; readonly since: number }[] {
    return this.#queue
  }

  /** Whether the ones inside let this mode in (the kernel may still refuse). */
  admits(mode: LockMode): boolean {
    return !this.#writing && (mode === 'shared' || this.#readers === 0)
  }

  /** Goes in at once if that is possible, past nobody of this process who waits. */
  tryEnter(mode: LockMode, sliceMs: number): boolean {
    if (this.#queue.length > 0 || !this.admits(mode)) return false
    if (this.#door && this.#readers === 0)
      return this.#tryBarge(this.#door, mode, sliceMs) && this.#count(mode)
    if (this.#door && !this.#mayJoin()) return false
    return this.#take(mode)
  }

  #tryBarge(door: Turnstile, mode: LockMode, sliceMs: number): boolean {
    try {
      return door.tryBarge(mode, sliceMs)
    } catch (error) {
      // Then it waits, also for that.
      if (willPass(error)) return false
      throw error
    }
  }

  /** Goes in at once if the kernel lets it, past everybody who waits. */
  force(mode: LockMode): boolean {
    return this.admits(mode) && this.#take(mode)
  }

  #forceLast(mode: LockMode): boolean {
    try {
      return this.force(mode)
    } catch {
      // What cannot be asked any more ends as what it is: a wait whose time is over.
      return false
    }
  }

  /** One step of a blocking waiter: true when inside, else the milliseconds to sleep. */
  stepBlocking(mode: LockMode, sliceMs: number): true | number {
    if (!this.#door || this.#readers > 0) return this.#take(mode) || 1
    const step = this.#door.step(mode, sliceMs, false)
    if (step === true) this.#count(mode)
    return step
  }

  /** Waits in line. Rejects with the signal's reason, or with what `onTimeout` makes. */
  enter(mode: LockMode, patience: Patience): Promise<void> {
    const { signal, timeoutMs } = patience
    if (timeoutMs === 0) return this.force(mode) ? Promise.resolve() : Promise.reject(patience.onTimeout(0))
    return new Promise<void>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      const settle = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
      }
      const leaveQueue = (reason: unknown) => {
        const index = this.#queue.indexOf(waiter)
        if (index === -1) return
        this.#queue.splice(index, 1)
        settle()
        reject(reason)
        if (this.#queue.length === 0) this.#stopPolling()
        else this.#advance()
      }
      const abort = () => leaveQueue(signal?.reason)
      const waiter: Waiter = {
        mode,
        patience,
        since: performance.now(),
        grant: () => {
          settle()
          resolve()
        },
        refuse: (reason) => {
          settle()
          reject(reason)
        },
      }
      const giveUp = () => {
        // A last look: further back in the line one sleeps, and does not notice that those before are gone.
        if (waiter === this.#queue[0] && this.#forceLast(mode)) {
          this.#queue.shift()
          waiter.grant()
          this.#advance()
        } else leaveQueue(this.#shortage ?? patience.onTimeout(performance.now() - waiter.since))
      }
      if (timeoutMs <= LONGEST_TIMER_MS) timer = setTimeout(giveUp, timeoutMs)
      signal?.addEventListener('abort', abort, { once: true })
      this.#queue.push(waiter)
      // Behind a head that already waits there is nothing to ask yet.
      if (this.#queue.length === 1) this.#advance()
    })
  }

  /** The lock may have become free: whoever waits asks at once. */
  knock(): void {
    if (this.#queue.length > 0) this.#advance()
  }

  /** A blocking waiter has given up. */
  giveUp(): void {
    if (this.#queue.length === 0) this.#door?.leaveLine()
  }

  leave(mode: LockMode): void {
    if (mode === 'exclusive') this.#writing = false
    else this.#readers--
    try {
      if (this.isEmpty) this.#door?.unlock()
    } finally {
      if (this.#queue.length > 0) this.#advance()
    }
  }

  #take(mode: LockMode): boolean {
    // Readers of one process share one kernel lock; it is dropped when the last of them leaves. Nobody joins it on a
    // file that the path has left: another process may hold the present one.
    if (this.#door && !(this.#readers === 0 ? this.#door.tryLock(mode) : this.#door.file.isCurrent))
      return false
    return this.#count(mode)
  }

  #count(mode: LockMode): true {
    if (mode === 'exclusive') this.#writing = true
    else this.#readers++
    return true
  }

  /** Joining our own readers needs no kernel, but must not keep a waiting writer of another process out for ever. */
  #mayJoin(): boolean {
    return this.#door === undefined || this.#door.isInSlice || this.#door.mayBegin()
  }

  /** Lets in as many from the head of the queue as may go; sleeps where only time can help. */
  #advance(): void {
    for (let head = this.#queue[0]; head && this.admits(head.mode); head = this.#queue[0]) {
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
      this.#queue.shift()
      answer()
    }
    if (this.#queue.length === 0) this.#stopPolling()
  }

  #ask(head: Waiter): true | number {
    if (!this.#door) return this.#take(head.mode) || 0
    if (this.#readers > 0) return (this.#mayJoin() && this.#take(head.mode)) || 5
    if (this.#door.isInSlice && this.#take(head.mode)) {
      this.#door.leaveLine()
      return true
    }
    const step = this.#door.step(head.mode, head.patience.sliceMs, true)
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
      if (this.#queue.length > 0) this.#advance()
      else freed()
    })
  }

  #pollAfter(ms: number): void {
    if (this.#queue.length === 0) return
    clearTimeout(this.#poll)
    this.#poll = setTimeout(() => this.#advance(), ms)
  }

  #stopPolling(): void {
    clearTimeout(this.#poll)
    this.#poll = undefined
    this.#door?.leaveLine()
  }
}
