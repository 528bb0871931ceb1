import type { LockHolder, LockMode } from '../errors.ts'
import { commandOf, isAlive, monotonicMs, stoppedness } from '../os/processes.ts'
import { type Waker, wake } from '../os/wakeup.ts'
import { LockFile } from './lock-file.ts'
import {
  clearSlot,
  freeSlot,
  type QueueContent,
  type Reservation,
  readQueue,
  type Slot,
  writeReservation,
  writeSeen,
  writeSlot,
  writeUnreachable,
} from './wait-queue-file.ts'

/** Who has not asked for this long is passed by: it is stopped, busy, or dead. It keeps its ticket. */
const EARNEST_MS = 2_000
/** Who has not asked for this long loses its slot; should it live, it takes another. */
const ABANDONED_MS = 10_000
/** A reservation further ahead than this is not believed: another boot's clock, or nonsense in the file. */
const LONGEST_RESERVATION_MS = 1_000
/** For this long after a ring that did not get through all ask more often. */
const UNREACHABLE_MS = 10_000
/** How soon to try again where no line can be stood in (read-only, full disk, too many open files). */
const PAUSE_MS = 1_000

/** A line that nobody stands in. */
const NOBODY: QueueContent = { reservation: { untilMs: 0, ticket: 0 }, unreachableMs: 0, slots: [] }

/** What a waiter finds when it looks at the line. */
export interface QueuePosition {
  /** Who stands before us and is in earnest, in their order. */
  readonly ahead: readonly Slot[]
  /** For how long the lock is left to somebody else, in milliseconds; 0 or less: it is not. */
  readonly reservedMs: number
  /** Whether those who release can be expected to ring whoever is next. */
  readonly canBeWoken: boolean
}

/**
 * The line of the processes that wait for one lock, first come first served, in a file beside it. To stand in it is a
 * priority, never a lock: whoever does not ask any more (stopped, busy, killed) is passed by. Nothing here throws: where
 * the file cannot be read, written or opened, there is no line for a second, and who waits asks by itself.
 */
export class WaitQueue {
  /** Open where somebody has waited not long ago. */
  readonly file: LockFile
  #slot: { readonly index: number; readonly ticket: number; readonly sinceMs: number } | undefined
  /** Until when it is not tried again, after the file could not be opened or written. */
  #pausedUntil = 0
  #looks = 0

  constructor(path: string, guards: string | undefined) {
    // Who stands in line has its place in that very file.
    this.file = new LockFile(path, guards, { mayClose: () => this.#slot === undefined })
  }

  /** Stands in line, at its end, unless it does already; where that is impossible it waits without a place. */
  join(mode: LockMode, waker: Waker | undefined): void {
    if (this.#slot || performance.now() < this.#pausedUntil) return
    this.#locked((fd) => {
      const now = monotonicMs()
      const { slots } = readQueue(fd)
      const isAbandoned = (slot: Slot) => now - slot.seenMs > ABANDONED_MS || slot.seenMs > now + 1
      const index = freeSlot(slots, isAbandoned)
      if (index === undefined) return
      const ticket = 1 + Math.max(0, ...slots.map((slot) => slot.ticket))
      const slot = { index, ticket, sinceMs: now }
      if (writeSlot(fd, index, { ...slot, seenMs: now, mode, waker })) this.#slot = slot
      // A full disk, or a turn file that we may only read.
      else this.#pause()
    })
  }

  /** Who comes before us. Says at the same time that we are still there, and what for. */
  position(mode: LockMode, waker: Waker | undefined): QueuePosition {
    const fd = this.#fdOfSlot()
    if (fd === undefined) return { ahead: [], reservedMs: this.#reservedMs(), canBeWoken: false }
    const now = monotonicMs()
    const { slots, reservation, unreachableMs } = this.#read(fd)
    const own =
      this.#slot &&
      slots.find(({ index, ticket }) => index === this.#slot?.index && ticket === this.#slot.ticket)
    if (!this.#slot || !own) {
      // Taken for abandoned, or the file was emptied: a new place at the next step.
      this.#slot = undefined
      return { ahead: [], reservedMs: 0, canBeWoken: false }
    }
    writeSlot(fd, own.index, { ...this.#slot, seenMs: now, mode, waker })
    return {
      ahead: inEarnest(slots, now).filter(({ ticket }) => ticket < own.ticket),
      reservedMs: reservation.ticket === own.ticket ? 0 : leftMs(reservation, now),
      canBeWoken: waker !== undefined && now - unreachableMs > UNREACHABLE_MS,
    }
  }

  leave(): void {
    const slot = this.#slot
    this.#slot = undefined
    const { fd } = this.file
    if (slot && fd !== undefined) clearSlot(fd, slot.index)
  }

  /** They had their chance and did not take it. */
  passBy(slots: readonly Slot[]): void {
    const { fd } = this.file
    if (fd !== undefined) for (const { index } of slots) writeSeen(fd, index, 0)
  }

  /** Whether there is a line at all: somebody has waited for this lock, at some time. */
  exists(): boolean {
    return this.#fdIfAny() !== undefined
  }

  /** Whether nobody else waits, and the lock is left to nobody else. */
  isClear(): boolean {
    const fd = this.#fdIfAny()
    if (fd === undefined) return true
    const { slots, reservation } = this.#read(fd)
    const now = monotonicMs()
    return (
      leftMs(reservation, now) <= 0 &&
      inEarnest(slots, now).every(({ ticket }) => ticket === this.#slot?.ticket)
    )
  }

  /** Leaves the lock to whoever is next, and wakes it. @returns whether anybody waits */
  wakeNext(reserveMs: number, mayWake: (mode: LockMode) => boolean = () => true): boolean {
    const fd = this.#fdIfAny()
    if (fd === undefined) return false
    const now = monotonicMs()
    for (const slot of inEarnest(this.#read(fd).slots, now)) {
      if (slot.ticket === this.#slot?.ticket) continue
      if (!mayWake(slot.mode)) return true
      // Before the ring: it must find the lock left to it when it looks.
      if (reserveMs > 0) writeReservation(fd, { untilMs: now + reserveMs, ticket: slot.ticket })
      const answer = slot.waker && slot.isOfThisPidSpace ? wake(slot.waker) : 'unreachable'
      if (answer === 'unreachable' && slot.waker) writeUnreachable(fd)
      if (answer !== 'gone') return true
      clearSlot(fd, slot.index)
    }
    return false
  }

  /** Asks the others not to come in between for so long; 0 takes that back. */
  reserve(ms: number): void {
    const { fd } = this.file
    if (fd !== undefined) writeReservation(fd, { untilMs: ms === 0 ? 0 : monotonicMs() + ms, ticket: 0 })
  }

  /** Everybody in line but this process's own place, dead ones left out. */
  waiters(): LockHolder[] {
    const fd = this.#fdIfAny()
    if (fd === undefined) return []
    const now = monotonicMs()
    const waiting: LockHolder[] = []
    for (const slot of [...this.#read(fd).slots].sort((a, b) => a.ticket - b.ticket)) {
      if (slot.ticket === this.#slot?.ticket) continue
      const start = slot.start === 0 ? undefined : String(slot.start)
      const lives = slot.isOfThisPidSpace ? isAlive(slot.pid, start) : now - slot.seenMs < EARNEST_MS
      if (!lives) continue
      const pid = slot.isOfThisPidSpace ? slot.pid : undefined
      const command = pid === undefined ? undefined : commandOf(pid)
      const sinceMs = Math.max(0, Math.round(now - slot.sinceMs))
      waiting.push({ pid, command, mode: slot.mode, sinceMs, state: 'waiting', ...stoppedness(pid) })
    }
    return waiting
  }

  close(): void {
    this.leave()
    this.file.close()
  }

  /** The open file, provided that its name still leads to it: somebody may have deleted it. */
  #fdIfAny(): number | undefined {
    if (this.file.fd !== undefined && !this.#slot && !this.file.isCurrent) this.file.close()
    // Not created before somebody waits for the first time: most stores never see a turn file.
    if (this.file.fd === undefined && performance.now() >= this.#pausedUntil && this.file.exists())
      this.#locked(() => {})
    return this.file.fd
  }

  /** As one finds it who stands in no line. */
  #reservedMs(): number {
    const { fd } = this.file
    return fd === undefined ? 0 : leftMs(this.#read(fd).reservation, monotonicMs())
  }

  #fdOfSlot(): number | undefined {
    if (!this.#slot) return undefined
    // Now and then is enough: a line in a file that has lost its name costs time, not exclusion.
    if (++this.#looks % 8 === 0 && !this.file.isCurrent) {
      this.#slot = undefined
      this.file.close()
    }
    return this.file.fd
  }

  /** Seats are given out by one process at a time; it takes some ten microseconds. */
  #locked(run: (fd: number) => void): void {
    try {
      for (let attempt = 0; attempt < 20; attempt++) {
        if (!this.file.tryLock('exclusive', false)) continue
        try {
          run(this.file.fd as number)
        } finally {
          this.file.unlock()
        }
        return
      }
      // Whoever has it was interrupted just there; the next step tries again.
    } catch {
      // No turn file can be made here (read-only folder, full disk): wait without a line, by asking alone.
      this.#pause()
    }
  }

  /** Where it cannot be read, it is as if nobody stood there, and it is tried again with the file opened anew. */
  #read(fd: number): QueueContent {
    try {
      return readQueue(fd)
    } catch {
      this.close()
      this.#pause()
      return NOBODY
    }
  }

  #pause(): void {
    this.#pausedUntil = performance.now() + PAUSE_MS
  }
}

function leftMs({ untilMs }: Reservation, now: number): number {
  const left = untilMs - now
  return left > LONGEST_RESERVATION_MS ? 0 : left
}

function inEarnest(slots: readonly Slot[], now: number): Slot[] {
  return slots.filter(({ seenMs }) => Math.abs(now - seenMs) < EARNEST_MS).sort((a, b) => a.ticket - b.ticket)
}
