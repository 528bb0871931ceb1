import type { LockMode } from '../errors.ts'
import { LockFile } from '../os/lock-file.ts'

/**
 * Fair waiting for a kernel lock, without a thread and without blocking the event loop.
 *
 * flock(2) can only be asked, so waiters poll; plain polling either burns CPU or starves (measured: one process ran
 * all of its 60 sections before the next got one). Two small rules make it fair and cheap:
 *
 *  1. *The turn.* A second lock file, `<lock>.turn`, belongs to whoever is next. Its owner asks for the lock every
 *     millisecond; all the others ask for the turn, seldom, and the more often the longer they have waited.
 *  2. *The slice.* A process may take the lock again and again without waiting ("barging") for `sliceMs`; then it
 *     looks whether somebody has the turn, and if so queues behind it.
 *
 * The turn is a priority, never a lock: its owner may be stopped (SIGSTOP) or busy in a loop, so those who wait
 * without it also try the lock itself at their own slow pace. A stopped owner costs time, never progress. Both locks
 * are the kernel's, so kill -9 leaves nothing behind.
 */
export class Turnstile {
  readonly file: LockFile
  readonly #turn: LockFile
  #hasTurn = false
  #turnWorks = true
  #sliceStart = Number.NEGATIVE_INFINITY

  constructor(file: LockFile, guards: string | undefined) {
    this.file = file
    this.#turn = new LockFile(`${file.path}.turn`, guards)
  }

  get turnPath(): string {
    return this.#turn.path
  }

  /** Whether this process may go on taking the lock without waiting: its slice is not over, or nobody waits. */
  mayBarge(sliceMs: number): boolean {
    const now = performance.now()
    if (now - this.#sliceStart < sliceMs) return true
    if (this.#somebodyWaits()) return false
    this.#sliceStart = now
    return true
  }

  /** Asks for the lock once, at once. */
  tryLock(mode: LockMode): boolean {
    return this.file.tryLock(mode)
  }

  /**
   * One step of a waiter: true when it now has the lock, else the milliseconds after which to step again.
   * @param waitedMs how long it has waited; its first step is at 0
   */
  step(mode: LockMode, waitedMs: number): true | number {
    if (!this.#hasTurn) this.#hasTurn = this.#tryTurn()
    // Without the turn the first look at the lock is skipped: whoever has the turn goes first.
    if ((this.#hasTurn || waitedMs >= 1 || !this.#turnWorks) && this.file.tryLock(mode)) {
      this.giveUpTurn()
      this.#sliceStart = performance.now()
      return true
    }
    if (this.#hasTurn) return 1
    // From 2 ms (a free lock with a stopped turn owner is taken soon), up to 40 ms, down to 8 ms for the longest
    // waiters; random, so that no two stay in step. 49 waiters then cost about 3% of one core.
    const pace = waitedMs < 8 ? 3 : Math.max(8, 40 - waitedMs / 20)
    return pace * (0.5 + Math.random())
  }

  giveUpTurn(): void {
    if (!this.#hasTurn) return
    this.#hasTurn = false
    this.#turn.unlock()
  }

  unlock(): void {
    this.file.unlock()
  }

  close(): void {
    this.#hasTurn = false
    this.#turn.close()
    this.file.close()
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
      return this.#turn.tryLock('exclusive')
    } catch {
      // No turn file can be made here (read-only folder, full disk): wait without priorities, by polling alone.
      this.#turnWorks = false
      return false
    }
  }
}
