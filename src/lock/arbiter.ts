import type { LockHolder, LockMode } from '../errors.ts'
import { listen, ownWaker, stopListening } from '../os/wakeup.ts'
import { outsideHolds } from './hold.ts'
import type { KernelLock } from './kernel-lock.ts'
import { type QueuePosition, WaitQueue } from './wait-queue.ts'

/** How often the first in the queue asks at the beginning and later, if nobody can wake it. */
const FIRST_PACE_MS = { from: 1, factor: 1.15, to: 10 }
/** The same, if it can expect to be woken. A look takes a tenth of a millisecond in a program that has just begun. */
const WOKEN_PACE_MS = { from: 3, factor: 1.5, to: 25 }
/**
 * How often the others renew their slots and look whether those before them have used their chance, for each place ahead.
 * Among 50 processes this makes fewer than a hundred looks a second.
 */
const FURTHER_PACE_MS = { perPlace: 100, to: 800 }
/** How often the others ask, for each place ahead, if nobody can wake them. */
const UNWOKEN_PACE_MS = { perPlace: 2, to: 60 }
/** For so long the lock is reserved for the process that was woken. It needs 0.3 ms; on a busy machine a hundred times that. */
const LEAVE_MS = 50
/** The first in the queue is passed by if it has not taken a free lock for so long. */
const PASS_BY_AFTER_MS = 40

/** How often a hold of an ancestor is asked for again. Few processes share such a hold. */
const PASSED_ON_PACE_MS = { from: 1, to: 6 }

const NEVER = Number.NEGATIVE_INFINITY

/**
 * Fair waiting for a kernel lock, without a thread and without blocking the event loop.
 *
 * flock(2) can only be asked. Asking alone takes much processor time or starves some processes (measured: one process ran
 * all of its 60 sections before the next one got the lock). A thread that waits in the kernel cannot be cancelled and
 * keeps the process alive. So waiters queue in a file of hints and sleep, and whoever releases wakes the first one:
 *
 *  1. *The wait queue* (wait-queue.ts) is first come, first served. Only the first asks for the lock, less and less
 *     often; the others sleep.
 *  2. *The waker* (os/wakeup.ts). Whoever releases the lock wakes the first in the queue and reserves the lock for it for
 *     a moment.
 *  3. *The slice.* For `sliceMs` a process may take the lock again and again without waiting. Then it looks whether
 *     somebody waits, and if so it goes to the end of the queue. Between two operations of a slice the lock is free for
 *     microseconds; the file says until when the slice lasts, so that nobody takes the lock then.
 *
 * All three are only priorities, never locks. A stopped or busy process at the head of the queue is passed by after a
 * moment. If a wake-up does not arrive, the waiter finds out by asking. kill -9 leaves nothing that anybody waits for.
 */
export class Arbiter {
  readonly file: KernelLock
  readonly #waitQueue: WaitQueue
  readonly #onWake: () => void
  #sliceEnd = NEVER
  #steps = 0
  #stepsAsFirst = 0
  /** Who was first in the queue when we last looked, and since when. */
  #first = { ticket: 0, since: 0 }
  #held = false
  #announced = false
  #looking = false

  /** @param onWake called when the lock may have become free for whoever waits here */
  constructor(file: KernelLock, guards: string | undefined, onWake: () => void) {
    this.file = file
    this.#waitQueue = new WaitQueue(`${file.path}.turn`, guards)
    this.#onWake = () => {
      this.#stepsAsFirst = 0
      outsideHolds(onWake)
    }
  }

  /** Whether this process is in the middle of a slice of its own. */
  get isInSlice(): boolean {
    return performance.now() < this.#sliceEnd
  }

  /** Whether another process waits. */
  get isWaitedFor(): boolean {
    return !this.#waitQueue.isClear()
  }

  /** Asks for the lock without waiting, if this process may: its slice is not over, or nobody waits. */
  tryBarge(mode: LockMode, sliceMs: number): boolean {
    if (this.file.isPassedOn) return this.tryLock(mode)
    if (this.isInSlice) return this.tryLock(mode)
    if (!this.mayBegin() || !this.tryLock(mode)) return false
    this.#beginSlice(mode, sliceMs)
    return true
  }

  /** Whether a new slice may begin past nobody. */
  mayBegin(): boolean {
    if (this.file.isPassedOn) return true
    const queue = this.#waitQueue.find()
    // At the end of a slice of ours nobody has been woken yet, where the event loop has not turned since.
    if (queue === undefined) {
      this.#announced = false
      return true
    }
    return !(this.#sliceEnd !== NEVER && this.#passOn(queue)) && this.#waitQueue.isClear(queue)
  }

  /** Asks for the lock once, at once. */
  tryLock(mode: LockMode): boolean {
    if (this.file.tryLock(mode)) {
      this.#held = true
      return true
    }
    // Somebody else has the lock: the slice is over, and the reservation is no longer ours to take back.
    this.#sliceEnd = NEVER
    this.#announced = false
    return false
  }

  /**
   * One step of a waiter: true when it now has the lock, else the milliseconds after which to step again.
   * @param canBeWoken whether the event loop turns while it waits; blocking calls cannot be woken
   */
  step(mode: LockMode, sliceMs: number, canBeWoken: boolean): true | number {
    if (this.file.isPassedOn) {
      const { from, to } = PASSED_ON_PACE_MS
      return this.tryLock(mode) || from + (to - from) * Math.random()
    }
    if (this.#steps === 0 && this.#waitQueue.find() === undefined && this.tryLock(mode)) {
      // Only this process waits: no wait queue is needed.
      this.#beginSlice(mode, sliceMs)
      return true
    }
    // Most waits are over before the third step, and a waker costs some milliseconds once.
    const waker = canBeWoken ? outsideHolds(() => ownWaker(this.#steps > 1)) : undefined
    if (this.#steps++ === 0) listen(this.#onWake)
    this.#waitQueue.join(mode, waker)
    const position = this.#waitQueue.position(mode, waker)
    if (this.#mayAsk(mode, position) && this.file.tryLock(mode)) {
      this.#waitQueue.passBy(
        position.ahead.filter((slot) => mode === 'exclusive' || slot.mode === 'exclusive'),
      )
      this.leaveWaitQueue()
      this.#held = true
      this.#beginSlice(mode, sliceMs)
      // Other readers need not wait for the release.
      if (mode === 'shared') this.#waitQueue.wakeNext(0, 'shared')
      return true
    }
    return this.#pace(position)
  }

  /** Nobody waits here any more. */
  leaveWaitQueue(): void {
    if (this.#steps === 0) return
    this.#steps = 0
    this.#stepsAsFirst = 0
    this.#waitQueue.leave()
    stopListening(this.#onWake)
  }

  /** The other processes that wait: of each the one who is next there. */
  waiters(): LockHolder[] {
    return this.#waitQueue.waiters()
  }

  unlock(): void {
    const { isInSlice } = this
    this.#held = false
    this.file.unlock()
    if (this.file.isPassedOn) return
    if (!isInSlice) this.#passOn()
    else if (this.#waitQueue.file.fd !== undefined && !this.#looking) {
      // When the event loop turns and there is no further operation, the rest of the slice is for others.
      this.#looking = true
      // Not unref'd: such an immediate does not run before something else wakes the event loop.
      setImmediate(() => {
        this.#looking = false
        // Once is enough: a second wake-up would go to the next waiter, and reserve the lock for it in the middle of a slice.
        if (!this.#held && this.#sliceEnd !== NEVER) this.#passOn()
      })
    }
  }

  close(): void {
    this.leaveWaitQueue()
    this.#waitQueue.close()
    this.file.close()
  }

  /** Reserves the lock for the first in the queue and wakes it. @returns whether anybody waits */
  #passOn(queue?: number): boolean {
    const somebody = this.#waitQueue.wakeNext(LEAVE_MS, undefined, queue)
    if (!somebody && this.#announced) this.#waitQueue.reserve(0)
    this.#sliceEnd = NEVER
    this.#announced = false
    return somebody
  }

  #beginSlice(mode: LockMode, sliceMs: number): void {
    this.#sliceEnd = performance.now() + sliceMs
    // Nobody has ever waited, so nobody reads it.
    if (this.#waitQueue.file.fd === undefined) return
    // Readers let readers in, and the lock need not be reserved for us any more.
    this.#announced = sliceMs > 0 && mode === 'exclusive'
    this.#waitQueue.reserve(this.#announced ? sliceMs : 0)
  }

  #mayAsk(mode: LockMode, { ahead, reservedMs }: QueuePosition): boolean {
    const now = performance.now()
    const first = ahead[0]?.ticket ?? 0
    if (first !== this.#first.ticket) this.#first = { ticket: first, since: now }
    if (reservedMs > 0) return false
    if (first === 0 || (mode === 'shared' && ahead.every((slot) => slot.mode === 'shared'))) return true
    return now - this.#first.since > PASS_BY_AFTER_MS
  }

  #pace({ ahead, reservedMs, canBeWoken }: QueuePosition): number {
    if (ahead.length === 0) {
      const { from, factor, to } = canBeWoken ? WOKEN_PACE_MS : FIRST_PACE_MS
      const most = canBeWoken ? to : (this.file.slowPaceMs ?? to)
      const pace = Math.min(most, from * factor ** this.#stepsAsFirst++)
      // The process that has its slice now will wake us.
      return canBeWoken && reservedMs > 0 ? Math.max(pace, Math.min(reservedMs, most)) : pace
    }
    this.#stepsAsFirst = 0
    if (!canBeWoken) return Math.min(ahead.length * UNWOKEN_PACE_MS.perPlace, UNWOKEN_PACE_MS.to)
    // Random, so that no two stay in step.
    return Math.min(ahead.length * FURTHER_PACE_MS.perPlace, FURTHER_PACE_MS.to) * (0.75 + Math.random() / 2)
  }
}
