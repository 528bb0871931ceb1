import type { LockHolder, LockMode } from '../errors.ts'
import { monotonicMs } from '../os/clock.ts'
import type { Bell } from '../os/doorbell.ts'
import { ring } from '../os/doorbell.ts'
import { commandOf, isAlive, stoppedness } from '../os/live-process.ts'
import { LockFile } from '../os/lock-file.ts'
import {
  clearSeat,
  freeSeat,
  type Preference,
  readTurns,
  type Seat,
  type Turns,
  writePreference,
  writeSeat,
  writeSeen,
  writeUnreachable,
} from './turn-file.ts'

/** Who has not asked for this long is passed by: it is stopped, busy, or dead. It keeps its ticket. */
const EARNEST_MS = 2_000
/** Who has not asked for this long loses its seat; should it live, it takes another. */
const ABANDONED_MS = 10_000
/** A preference further ahead than this is not believed: another boot's clock, or nonsense in the file. */
const LONGEST_PREFERENCE_MS = 1_000
/** For this long after a ring that did not get through all ask more often. */
const UNREACHABLE_MS = 10_000
/** How soon to try again where no line can be stood in (read-only, full disk, too many open files). */
const PAUSE_MS = 1_000

/** A line that nobody stands in. */
const NO_TURNS: Turns = { preference: { untilMs: 0, ticket: 0 }, unreachableMs: 0, seats: [] }

/** What a waiter finds when it looks at the line. */
export interface Outlook {
  /** Who stands before us and is in earnest, in their order. */
  readonly ahead: readonly Seat[]
  /** For how long the lock is left to somebody else, in milliseconds; 0 or less: it is not. */
  readonly leftToOtherMs: number
  /** Whether those who release can be expected to ring whoever is next. */
  readonly canHear: boolean
}

/**
 * The line of the processes that wait for one lock, first come first served, in a file beside it. To stand in it is a
 * priority, never a lock: whoever does not ask any more (stopped, busy, killed) is passed by. Nothing here throws: where
 * the file cannot be read, written or opened, there is no line for a second, and who waits asks by itself.
 */
export class WaitingLine {
  readonly #file: LockFile
  #seat: { readonly index: number; readonly ticket: number; readonly sinceMs: number } | undefined
  /** Until when it is not tried again, after the file could not be opened or written. */
  #pausedUntil = 0
  #looks = 0

  constructor(path: string, guards: string | undefined) {
    // Who stands in line has its place in that very file.
    this.#file = new LockFile(path, guards, { mayClose: () => this.#seat === undefined })
  }

  /** Whether the file is open here: somebody has waited not long ago. */
  get isOpen(): boolean {
    return this.#file.fd !== undefined
  }

  /** Stands in line, at its end, unless it does already; where that is impossible it waits without a place. */
  join(mode: LockMode, bell: Bell | undefined): void {
    if (this.#seat || performance.now() < this.#pausedUntil) return
    this.#locked((fd) => {
      const now = monotonicMs()
      const { seats } = readTurns(fd)
      const isAbandoned = (seat: Seat) => now - seat.seenMs > ABANDONED_MS || seat.seenMs > now + 1
      const index = freeSeat(seats, isAbandoned)
      if (index === undefined) return
      const ticket = 1 + Math.max(0, ...seats.map((seat) => seat.ticket))
      const seat = { index, ticket, sinceMs: now }
      if (writeSeat(fd, index, { ...seat, seenMs: now, mode, bell })) this.#seat = seat
      // A full disk, or a turn file that we may only read.
      else this.#pause()
    })
  }

  /** Who comes before us. Says at the same time that we are still there, and what for. */
  look(mode: LockMode, bell: Bell | undefined): Outlook {
    const fd = this.#fdOfSeat()
    if (fd === undefined) return { ahead: [], leftToOtherMs: this.#leftToOtherMs(), canHear: false }
    const now = monotonicMs()
    const { seats, preference, unreachableMs } = this.#read(fd)
    const own =
      this.#seat &&
      seats.find(({ index, ticket }) => index === this.#seat?.index && ticket === this.#seat.ticket)
    if (!this.#seat || !own) {
      // Taken for abandoned, or the file was emptied: a new place at the next step.
      this.#seat = undefined
      return { ahead: [], leftToOtherMs: 0, canHear: false }
    }
    writeSeat(fd, own.index, { ...this.#seat, seenMs: now, mode, bell })
    return {
      ahead: inEarnest(seats, now).filter(({ ticket }) => ticket < own.ticket),
      leftToOtherMs: preference.ticket === own.ticket ? 0 : leftMs(preference, now),
      canHear: bell !== undefined && now - unreachableMs > UNREACHABLE_MS,
    }
  }

  leave(): void {
    const seat = this.#seat
    this.#seat = undefined
    const { fd } = this.#file
    if (seat && fd !== undefined) clearSeat(fd, seat.index)
  }

  /** They had their chance and did not take it. */
  passBy(seats: readonly Seat[]): void {
    const { fd } = this.#file
    if (fd !== undefined) for (const { index } of seats) writeSeen(fd, index, 0)
  }

  /** Whether there is a line at all: somebody has waited for this lock, at some time. */
  exists(): boolean {
    return this.#fdIfAny() !== undefined
  }

  /** Whether nobody else waits, and the lock is left to nobody else. */
  isClear(): boolean {
    const fd = this.#fdIfAny()
    if (fd === undefined) return true
    const { seats, preference } = this.#read(fd)
    const now = monotonicMs()
    return (
      leftMs(preference, now) <= 0 &&
      inEarnest(seats, now).every(({ ticket }) => ticket === this.#seat?.ticket)
    )
  }

  /** Leaves the lock to whoever is next, and wakes it. @returns whether anybody waits */
  wakeNext(preferMs: number, mayWake: (mode: LockMode) => boolean = () => true): boolean {
    const fd = this.#fdIfAny()
    if (fd === undefined) return false
    const now = monotonicMs()
    for (const seat of inEarnest(this.#read(fd).seats, now)) {
      if (seat.ticket === this.#seat?.ticket) continue
      if (!mayWake(seat.mode)) return true
      // Before the ring: it must find the lock left to it when it looks.
      if (preferMs > 0) writePreference(fd, { untilMs: now + preferMs, ticket: seat.ticket })
      const answer = seat.bell && seat.isOfThisPidSpace ? ring(seat.bell) : 'unreachable'
      if (answer === 'unreachable' && seat.bell) writeUnreachable(fd)
      if (answer !== 'gone') return true
      clearSeat(fd, seat.index)
    }
    return false
  }

  /** Asks the others not to come in between for so long; 0 takes that back. */
  preferSelf(ms: number): void {
    const { fd } = this.#file
    if (fd !== undefined) writePreference(fd, { untilMs: ms === 0 ? 0 : monotonicMs() + ms, ticket: 0 })
  }

  /** Everybody in line but this process's own place, dead ones left out. */
  waiters(): LockHolder[] {
    const fd = this.#fdIfAny()
    if (fd === undefined) return []
    const now = monotonicMs()
    const waiting: LockHolder[] = []
    for (const seat of [...this.#read(fd).seats].sort((a, b) => a.ticket - b.ticket)) {
      if (seat.ticket === this.#seat?.ticket) continue
      const start = seat.start === 0 ? undefined : String(seat.start)
      const lives = seat.isOfThisPidSpace ? isAlive(seat.pid, start) : now - seat.seenMs < EARNEST_MS
      if (!lives) continue
      const pid = seat.isOfThisPidSpace ? seat.pid : undefined
      const command = pid === undefined ? undefined : commandOf(pid)
      const sinceMs = Math.max(0, Math.round(now - seat.sinceMs))
      waiting.push({ pid, command, mode: seat.mode, sinceMs, state: 'waiting', ...stoppedness(pid) })
    }
    return waiting
  }

  close(): void {
    this.leave()
    this.#file.close()
  }

  /** The open file, provided that its name still leads to it: somebody may have deleted it. */
  #fdIfAny(): number | undefined {
    if (this.#file.fd !== undefined && !this.#seat && !this.#file.isCurrent) this.#file.close()
    // Not created before somebody waits for the first time: most stores never see a turn file.
    if (this.#file.fd === undefined && performance.now() >= this.#pausedUntil && this.#file.exists())
      this.#locked(() => {})
    return this.#file.fd
  }

  /** As one finds it who stands in no line. */
  #leftToOtherMs(): number {
    const { fd } = this.#file
    return fd === undefined ? 0 : leftMs(this.#read(fd).preference, monotonicMs())
  }

  #fdOfSeat(): number | undefined {
    if (!this.#seat) return undefined
    // Now and then is enough: a line in a file that has lost its name costs time, not exclusion.
    if (++this.#looks % 8 === 0 && !this.#file.isCurrent) {
      this.#seat = undefined
      this.#file.close()
    }
    return this.#file.fd
  }

  /** Seats are given out by one process at a time; it takes some ten microseconds. */
  #locked(run: (fd: number) => void): void {
    try {
      for (let attempt = 0; attempt < 20; attempt++) {
        if (!this.#file.tryLock('exclusive', false)) continue
        try {
          run(this.#file.fd as number)
        } finally {
          this.#file.unlock()
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
  #read(fd: number): Turns {
    try {
      return readTurns(fd)
    } catch {
      this.close()
      this.#pause()
      return NO_TURNS
    }
  }

  #pause(): void {
    this.#pausedUntil = performance.now() + PAUSE_MS
  }
}

function leftMs({ untilMs }: Preference, now: number): number {
  const left = untilMs - now
  return left > LONGEST_PREFERENCE_MS ? 0 : left
}

function inEarnest(seats: readonly Seat[], now: number): Seat[] {
  return seats.filter(({ seenMs }) => Math.abs(now - seenMs) < EARNEST_MS).sort((a, b) => a.ticket - b.ticket)
}
