import { type LockHolder, type LockMode, orUndefined } from '../errors.ts'
import { freed, whenFreed, willPass } from '../os/open-files.ts'
import { sleep } from '../os/steps.ts'
import { listen, ownWaker, stopListening } from '../os/wakeup.ts'
import type { KernelLock } from './kernel-lock.ts'
import type { Brief, WaitOptions } from './options.ts'
import { paceMs, type QueuePosition, WaitQueue } from './wait-queue.ts'

interface Waiter {
  readonly mode: LockMode
  readonly wait: WaitOptions
  readonly since: number
  readonly grant: () => void
  readonly refuse: (reason: unknown) => void
  attempt: WaitOptions['attempt']
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
  #isAdvancing = false

  constructor(arbiter?: Arbiter) {
    this.#arbiter = arbiter
  }

  /** Whether the ones inside let this mode in (the kernel may still refuse). */
  admits(mode: LockMode): boolean {
    return this.inside === 0 || (mode === 'shared' && !this.#isExclusive)
  }

  /** Goes in at once if that is possible, past nobody of this process who waits. */
  tryEnter(mode: LockMode, sliceMs: number, brief?: Brief): boolean {
    if (this.waiting.length > 0 || !this.admits(mode)) return false
    if (!this.#arbiter) return this.#take(mode)
    if (this.inside > 0) return this.#mayJoin() && this.#take(mode)
    try {
      if (!this.#arbiter.tryBarge(mode, sliceMs, brief)) return false
    } catch (error) {
      // Then it waits, also for that.
      if (willPass(error)) return false
      throw error
    }
    this.#isExclusive = mode === 'exclusive'
    this.inside = 1
    return true
  }

  /** As a brief `tryEnter`, in an attempt of the one that is first here. @param ask see `Arbiter.tryAgain` */
  tryAgain(sliceMs: number, ask?: (turnFd: number) => boolean): boolean {
    return this.inside === 0 && this.#arbiter?.tryAgain(sliceMs, ask) === true && this.#count('exclusive')
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

  /** Waits. It is inside then, unless `attempt` made that needless. Rejects with the reason of the signal, or with what `onTimeout` makes. */
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
      const waiter: Waiter = { mode, wait, since: performance.now(), grant, refuse, attempt: wait.attempt }
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
    // An attempt that ends gives the lock back, and comes by here.
    if (this.#isAdvancing) return
    this.#isAdvancing = true
    try {
      this.#letIn()
    } finally {
      this.#isAdvancing = false
    }
  }

  #letIn(): void {
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
    const pace = this.inside === 0 ? head.attempt?.() : undefined
    if (pace !== undefined) return pace
    head.attempt = undefined
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

/** For so long the lock is reserved for the process that was woken. It needs 0.3 ms; on a busy machine a hundred times that. */
const LEAVE_MS = 20
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
      onWake()
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

  /** Asks for the lock without waiting, if this process may: its slice is not over, or nobody waits (see `Brief`). */
  tryBarge(mode: LockMode, sliceMs: number, brief?: Brief): boolean {
    if (this.file.isPassedOn) return this.tryLock(mode)
    if (this.isInSlice) return this.tryLock(mode, brief)
    if (!(brief ? this.#mayBeginBriefly() : this.mayBegin()) || !this.tryLock(mode, brief)) return false
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

  /**
   * For what is brief, and was refused before: one question to the kernel, and one to the wait queue.
   * @param ask asks both; it is given the file of the wait queue, or -1
   */
  tryAgain(sliceMs: number, ask?: (turnFd: number) => boolean): boolean {
    const queue = this.#waitQueue.file.fd
    const isReserved = () => queue !== undefined && this.#waitQueue.isReserved(queue)
    if (!(ask ? ask(queue ?? -1) : !isReserved() && this.file.tryLock('exclusive'))) return false
    this.#held = true
    this.#beginSlice('exclusive', sliceMs)
    return true
  }

  /**
   * The same for what is over before its call returns: it goes past those who wait, but for the one that the lock is reserved
   * for. Then two processes work in turn, one under the lock, and the other between its own operations.
   */
  #mayBeginBriefly(): boolean {
    const queue = this.#waitQueue.find()
    if (queue === undefined) return true
    return !(this.#sliceEnd !== NEVER && this.#passOn(queue)) && !this.#waitQueue.isReserved(queue)
  }

  /** Asks for the lock once, at once. */
  tryLock(mode: LockMode, brief?: Brief): boolean {
    if (brief?.ask ? brief.ask() : this.file.tryLock(mode)) {
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
    const waker = canBeWoken ? ownWaker(this.#steps > 1) : undefined
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
    if (position.ahead.length > 0) this.#stepsAsFirst = 0
    const tries = position.ahead.length > 0 ? 0 : this.#stepsAsFirst++
    return paceMs(position, tries, this.file.slowPaceMs)
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
