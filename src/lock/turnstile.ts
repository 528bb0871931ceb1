import type { LockHolder, LockMode } from '../errors.ts'
import { readRange, writeAtSync } from '../os/data-io.ts'
import { kernelHolders, modeAt } from '../os/holders.ts'
import { LockFile } from '../os/lock-file.ts'

/** The announcement: until when the slice lasts, on the monotonic clock that all processes of a machine share. */
const sliceEnd = Buffer.alloc(8)

/** Behind it: what the owner of the turn waits for, as a word. */
const MODE_AT = 8

function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** How often the owner of the turn asks. */
const TURN_PACE_MS = 1
/**
 * How often, at the slowest, everybody else asks. To wake up costs a Node process about 0.1 ms of CPU in a crowd, so 49
 * waiters cost about 8% of a core.
 */
const SLOWEST_PACE_MS = 60
/**
 * Who has waited longer than a crowd's round takes asks more often, so that chance starves nobody (fewest/most turns of
 * 50 processes: 0.45 instead of 0.3). After `to` it is no round: somebody holds the lock for long, and asking is idle.
 */
const LATE_PACE_MS = 20
const LATE_MS = { from: 250, to: 2_500 }
/** Within this time after the start of a slice a process that waits again is one of a crowd. */
const AFTER_SLICE_MS = 100

/** An announced slice further ahead than this is not believed: another clock, or nonsense in the file. */
const LONGEST_SLICE_MS = 1_000

/**
 * Fair waiting for a kernel lock, without a thread and without blocking the event loop.
 *
 * flock(2) can only be asked, so waiters poll; plain polling either burns CPU or starves (measured: one process ran
 * all of its 60 sections before the next got one). Three small rules make it fair and cheap:
 *
 *  1. *The turn.* A second lock file, `<lock>.turn`, belongs to whoever is next. Its owner asks for the lock every
 *     millisecond; all the others ask for the turn, ever more seldom.
 *  2. *The slice.* A process may take the lock again and again without waiting ("barging") for `sliceMs`; then it
 *     looks whether somebody has the turn, and if so queues behind it.
 *  3. *The announcement.* Between two operations of a slice the lock is free for some microseconds, and whoever asks
 *     just then would cut the slice short (measured with 50 processes: 5 operations a turn instead of hundreds). So who
 *     got the lock by waiting writes into the turn file until when its slice lasts, and takes that back as soon as its
 *     event loop turns without a further operation.
 *
 * Turn and announcement are priorities, never locks: their owner may be stopped (SIGSTOP) or busy in a loop. So those
 * who wait without the turn also try the lock itself at their own slow pace, and an announcement ends by itself. A
 * stopped owner costs time, never progress, and kill -9 leaves nothing behind.
 */
export class Turnstile {
  readonly file: LockFile
  readonly #turn: LockFile
  #hasTurn = false
  #turnWorks = true
  #sliceStart = Number.NEGATIVE_INFINITY
  #polls = 0
  #paceMs = 0
  #held = false
  #announced = false
  #retracting = false

  constructor(file: LockFile, guards: string | undefined) {
    this.file = file
    this.#turn = new LockFile(`${file.path}.turn`, guards)
  }

  /** Whether this process is in the middle of a slice of its own. */
  isInSlice(sliceMs: number): boolean {
    return performance.now() - this.#sliceStart < sliceMs
  }

  /** Asks for the lock without waiting, if this process may: its slice is not over, or nobody waits. */
  tryBarge(mode: LockMode, sliceMs: number): boolean {
    if (this.isInSlice(sliceMs)) return this.tryLock(mode)
    if (!this.mayBegin() || !this.tryLock(mode)) return false
    this.#beginSlice(sliceMs)
    return true
  }

  /** Whether a new slice may begin past nobody. */
  mayBegin(): boolean {
    this.#retract()
    return !this.#somebodyWaits() && !this.#isSliceOfAnother()
  }

  /** Asks for the lock once, at once. */
  tryLock(mode: LockMode): boolean {
    if (this.file.tryLock(mode)) {
      this.#held = true
      return true
    }
    // Somebody else came in between: the slice is over, and what is announced now is not ours to take back.
    this.#sliceStart = Number.NEGATIVE_INFINITY
    this.#announced = false
    return false
  }

  /**
   * One step of a waiter: true when it now has the lock, else the milliseconds after which to step again.
   * @param waitedMs how long it has waited; its first step is at 0
   */
  step(mode: LockMode, waitedMs: number, sliceMs: number): true | number {
    if (waitedMs < 1) this.#beginPolling()
    this.#polls++
    if (!this.#hasTurn && this.#tryTurn()) {
      this.#hasTurn = true
      this.#write(Buffer.from(mode), MODE_AT)
    }
    if (this.#mayAsk() && !this.#isSliceOfAnother() && this.file.tryLock(mode)) {
      this.giveUpTurn()
      this.#held = true
      this.#beginSlice(sliceMs)
      return true
    }
    if (this.#hasTurn) return TURN_PACE_MS
    const pace = this.#paceMs
    const isLate = waitedMs > LATE_MS.from && waitedMs < LATE_MS.to
    this.#paceMs = Math.min(isLate ? LATE_PACE_MS : SLOWEST_PACE_MS, pace * 1.25)
    // Random, so that no two stay in step.
    return pace * (0.5 + Math.random())
  }

  /** The process whose turn is next, if it is another than this one. */
  nextWaiters(): LockHolder[] {
    const others = kernelHolders(this.#turn.path, 'waiting').filter(({ pid }) => pid !== process.pid)
    const mode = others.length === 0 ? undefined : modeAt(this.#turn.path, MODE_AT)
    return others.map((waiter) => ({ ...waiter, mode: mode ?? waiter.mode }))
  }

  giveUpTurn(): void {
    if (!this.#hasTurn) return
    this.#hasTurn = false
    this.#turn.unlock()
  }

  unlock(): void {
    this.file.unlock()
    this.#held = false
    if (!this.#announced || this.#retracting) return
    this.#retracting = true
    setImmediate(() => {
      this.#retracting = false
      if (!this.#held) this.#retract()
    }).unref()
  }

  close(): void {
    this.#hasTurn = false
    this.#turn.close()
    this.file.close()
  }

  #beginSlice(sliceMs: number): void {
    this.#sliceStart = performance.now()
    // Where nobody has ever waited there is no turn file, and nobody to tell.
    if (sliceMs <= 0 || this.#turn.fd === undefined) return
    this.#announced = true
    this.#writeSliceEnd(monotonicMs() + sliceMs)
  }

  #retract(): void {
    if (!this.#announced) return
    this.#announced = false
    this.#writeSliceEnd(0)
  }

  #writeSliceEnd(ms: number): void {
    sliceEnd.writeDoubleLE(ms)
    this.#write(sliceEnd, 0)
  }

  /** A courtesy: on a full disk, or with a read-only turn file, slices are shorter and less is known of the waiters. */
  #write(bytes: Buffer, position: number): void {
    const { fd } = this.#turn
    if (fd !== undefined) writeAtSync(fd, bytes, position)
  }

  #isSliceOfAnother(): boolean {
    const { fd } = this.#turn
    if (fd === undefined || this.#announced) return false
    const bytes = readRange(fd, 0, sliceEnd.length) as Buffer
    if (bytes.length < sliceEnd.length) return false
    const left = bytes.readDoubleLE() - monotonicMs()
    return left > 0 && left < LONGEST_SLICE_MS
  }

  /** A newcomer asks soon, in case there is no crowd; who has just had a slice knows better. */
  #beginPolling(): void {
    this.#polls = 0
    this.#paceMs = performance.now() - this.#sliceStart < AFTER_SLICE_MS ? 8 : 2
  }

  /** Whoever has the turn asks each time; the others every third time, should its owner be stopped or busy. */
  #mayAsk(): boolean {
    return this.#hasTurn || !this.#turnWorks || this.#polls % 3 === 0
  }

  #somebodyWaits(): boolean {
    if (this.#hasTurn) return false
    // Not created before somebody waits for the first time: most stores never see a turn file.
    if (!this.#turnWorks || (this.#turn.fd === undefined && !this.#turn.exists())) return false
    if (!this.#tryTurn()) return this.#turnWorks
    this.#turn.unlock()
    return false
  }

  #tryTurn(): boolean {
    if (!this.#turnWorks) return false
    try {
      // Whether the turn file is still the one that the path names matters little: now and then is enough.
      return this.#turn.tryLock('exclusive', this.#polls % 8 === 0)
    } catch {
      // No turn file can be made here (read-only folder, full disk): wait without priorities, by polling alone.
      this.#turnWorks = false
      return false
    }
  }
}
