import type { LockHolder, LockMode } from '../errors.ts'
import { listen, ownWaker, stopListening } from '../os/wakeup.ts'
import { outsideHolds } from './hold.ts'
import type { KernelLock } from './kernel-lock.ts'
import { type QueuePosition, WaitQueue } from './wait-queue.ts'

/** How often the first in line asks at the beginning, and how seldom later, where nobody can ring it. */
const FIRST_PACE_MS = { from: 1, factor: 1.15, to: 10 }
/** Where it can count on being rung. A look takes a tenth of a millisecond in a program that has just begun. */
const WOKEN_PACE_MS = { from: 3, factor: 1.5, to: 25 }
/**
 * How often the others say that they are still there and look whether those before them have taken the chance that they
 * had, for each place ahead. It adds up to fewer than a hundred looks a second among 50.
 */
const FURTHER_PACE_MS = { perPlace: 100, to: 800 }
/** How often they ask, for each place ahead, where nobody can ring them. */
const UNWOKEN_PACE_MS = { perPlace: 2, to: 60 }
/** For so long the lock is left to whom we have rung. It needs 0.3 ms; on a machine that is busy, a hundred times that. */
const LEAVE_MS = 50
/** The first in line that has let the lock lie free for so long is passed by. */
const PASS_BY_AFTER_MS = 40

/** How often a hold of an ancestor's is asked for again: processes that share it so are few. */
const PASSED_ON_PACE_MS = { from: 1, to: 6 }

const NEVER = Number.NEGATIVE_INFINITY

/**
 * Fair waiting for a kernel lock, without a thread and without blocking the event loop.
 *
 * flock(2) can only be asked. Asking alone either burns processor time or starves somebody (measured: one process ran
 * all of its 60 sections before the next got one), and a thread that waits in the kernel cannot be cancelled and keeps
 * the process alive. So who waits stands in a line, a file of hints, and sleeps; who releases rings the first one:
 *
 *  1. *The line* (waiting-line.ts). First come, first served. Only the first asks for the lock, ever more seldom; the
 *     others sleep.
 *  2. *The waker* (os/doorbell.ts). Whoever releases wakes the first in line, and leaves the lock to it for a moment.
 *  3. *The slice.* A process may take the lock again and again without waiting ("barging") for `sliceMs`; then it
 *     looks whether somebody waits, and if so goes to the end of the line. Between two operations of a slice the lock is
 *     free for microseconds; so that nobody comes in just then, the turn file says until when it lasts.
 *
 * All three are courtesies, never locks. A stopped or busy process at the head of the line is passed by after a
 * moment, a ring that does not get through is made up for by asking, and kill -9 leaves nothing that anybody waits for.
 */
export class Arbiter {
  readonly file: KernelLock
  readonly #waitQueue: WaitQueue
  readonly #onWake: () => void
  #sliceEnd = NEVER
  #steps = 0
  #stepsAsFirst = 0
  /** Who was first in line when we last looked, and since when. */
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

  /** Whether another process waits in line. */
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
    // At the end of a slice of ours nobody has been woken yet, where the event loop has not turned since.
    if (this.#sliceEnd !== NEVER && this.#passOn()) return false
    return this.#waitQueue.isClear()
  }

  /** Asks for the lock once, at once. */
  tryLock(mode: LockMode): boolean {
    if (this.file.tryLock(mode)) {
      this.#held = true
      return true
    }
    // Somebody else came in between: the slice is over, and what is announced now is not ours to take back.
    this.#sliceEnd = NEVER
    this.#announced = false
    return false
  }

  /**
   * One step of a waiter: true when it now has the lock, else the milliseconds after which to step again.
   * @param canBeWoken whether the event loop turns while it waits; the blocking calls cannot hear the waker
   */
  step(mode: LockMode, sliceMs: number, canBeWoken: boolean): true | number {
    if (this.file.isPassedOn) {
      const { from, to } = PASSED_ON_PACE_MS
      return this.tryLock(mode) || from + (to - from) * Math.random()
    }
    if (this.#steps === 0 && !this.#waitQueue.exists() && this.tryLock(mode)) {
      // The queue of this very process, and no other waits: then no turn file is needed.
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
      // Those who may share it need not wait for its release.
      if (mode === 'shared') this.#waitQueue.wakeNext(0, (next) => next === 'shared')
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
        // Once is enough: a second ring would wake the one behind, and leave the lock to it in the middle of a slice.
        if (!this.#held && this.#sliceEnd !== NEVER) this.#passOn()
      })
    }
  }

  close(): void {
    this.leaveWaitQueue()
    this.#waitQueue.close()
    this.file.close()
  }

  /** Leaves the lock to the first in line, if anybody waits. */
  #passOn(): boolean {
    const somebody = this.#waitQueue.wakeNext(LEAVE_MS)
    if (!somebody && this.#announced) this.#waitQueue.reserve(0)
    this.#sliceEnd = NEVER
    this.#announced = false
    return somebody
  }

  #beginSlice(mode: LockMode, sliceMs: number): void {
    this.#sliceEnd = performance.now() + sliceMs
    // Where nobody has ever waited there is nobody to tell.
    if (this.#waitQueue.file.fd === undefined) return
    // Readers let readers in; nobody need leave the lock to us any more.
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
      // Whoever has it now for its slice will ring.
      return canBeWoken && reservedMs > 0 ? Math.max(pace, Math.min(reservedMs, most)) : pace
    }
    this.#stepsAsFirst = 0
    if (!canBeWoken) return Math.min(ahead.length * UNWOKEN_PACE_MS.perPlace, UNWOKEN_PACE_MS.to)
    // Random, so that no two stay in step.
    return Math.min(ahead.length * FURTHER_PACE_MS.perPlace, FURTHER_PACE_MS.to) * (0.75 + Math.random() / 2)
  }
}
