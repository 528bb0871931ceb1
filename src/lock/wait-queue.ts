import type { LockHolder, LockMode } from '../errors.ts'
import { readInto, writeAtSync } from '../os/io.ts'
import { describeProcess, isAlive, monotonicMs, pidSpace, startOf } from '../os/processes.ts'
import { type Waker, wake } from '../os/wakeup.ts'
import { LockFile } from './lock-file.ts'

/** A process that has not asked for so long is passed by: it is stopped, busy or dead. It keeps its ticket. */
const EARNEST_MS = 2_000
/** A process that has not asked for so long loses its slot. If it is alive, it takes another one. */
const ABANDONED_MS = 10_000
/** A longer reservation is not believed: it is from the clock of another boot, or the content is wrong. */
const LONGEST_RESERVATION_MS = 1_000
/** For so long after a wake-up that did not arrive all ask more often. */
const UNREACHABLE_MS = 10_000
/** When to try again after the file could not be used (read-only, full disk, too many open files). */
const PAUSE_MS = 1_000

/** An empty queue. */
const NOBODY: QueueContent = { reservation: { untilMs: 0, ticket: 0 }, unreachableMs: 0, slots: [] }

/** What a waiter finds in the queue. */
export interface QueuePosition {
  /** The active waiters before us, in their order. */
  readonly ahead: readonly Slot[]
  /** For how many milliseconds the lock is reserved for somebody else; 0 or less: it is not reserved. */
  readonly reservedMs: number
  /** Whether whoever releases the lock can be expected to wake the next one. */
  readonly canBeWoken: boolean
}

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
/**
 * After how many milliseconds a waiter asks, or looks, again.
 * @param tries how often it has asked as the first in the queue
 * @param slowMs how often the first asks at most, where nobody can wake it and asking is costly
 */
export function paceMs(
  { ahead, reservedMs, canBeWoken }: QueuePosition,
  tries: number,
  slowMs: number | undefined,
): number {
  if (ahead.length === 0) {
    const { from, factor, to } = canBeWoken ? WOKEN_PACE_MS : FIRST_PACE_MS
    const most = canBeWoken ? to : (slowMs ?? to)
    const pace = Math.min(most, from * factor ** tries)
    // The process that has its slice now will wake us.
    return canBeWoken && reservedMs > 0 ? Math.max(pace, Math.min(reservedMs, most)) : pace
  }
  if (!canBeWoken) return Math.min(ahead.length * UNWOKEN_PACE_MS.perPlace, UNWOKEN_PACE_MS.to)
  // Random, so that no two stay in step.
  return Math.min(ahead.length * FURTHER_PACE_MS.perPlace, FURTHER_PACE_MS.to) * (0.75 + Math.random() / 2)
}

/**
 * The queue of the processes that wait for one lock, first come, first served, in a file beside it. A slot in it is a
 * priority, never a lock: a process that no longer asks (stopped, busy, killed) is passed by. Nothing here throws. If the
 * file cannot be read, written or opened, there is no queue for a second, and each waiter asks by itself.
 */
export class WaitQueue {
  /** Open if somebody has waited not long ago. */
  readonly file: LockFile
  #slot: { readonly index: number; readonly ticket: number; readonly sinceMs: number } | undefined
  /** Until when it is not tried again, after the file could not be opened or written. */
  #pausedUntil = 0
  #looks = 0

  constructor(path: string, guards: string | undefined) {
    // A waiter has its slot in this very file.
    this.file = new LockFile(path, guards, { mayClose: () => this.#slot === undefined })
  }

  /** Takes a slot at the end, unless this process has one. If that is impossible, it waits without one. */
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
      // A full disk, or a file that we may only read.
      else this.#pause()
    })
  }

  /** Who is before us. It also renews our slot. */
  position(mode: LockMode, waker: Waker | undefined): QueuePosition {
    const fd = this.#fdOfSlot()
    if (fd === undefined) return { ahead: [], reservedMs: this.#reservedMs(), canBeWoken: false }
    const now = monotonicMs()
    const { slots, reservation, unreachableMs } = this.#read(fd)
    const own =
      this.#slot &&
      slots.find(({ index, ticket }) => index === this.#slot?.index && ticket === this.#slot.ticket)
    if (!this.#slot || !own) {
      // Our slot was taken for abandoned, or the file was emptied: we take a new one at the next step.
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

  /** Marks waiters that have not used their chance. */
  passBy(slots: readonly Slot[]): void {
    const { fd } = this.file
    if (fd !== undefined) for (const { index } of slots) writeNumbers(fd, slotAt(index) + 8 * SEEN, 0)
  }

  /** Whether the lock is reserved for a certain other process. Only the head of the file is read. */
  isReserved(fd: number): boolean {
    try {
      if (readInto(fd, head, 0) < head.length) return false
    } catch {
      return false
    }
    const [untilMs = 0, ticket = 0] = headNumbers
    return ticket !== 0 && ticket !== this.#slot?.ticket && leftMs({ untilMs, ticket }, monotonicMs()) > 0
  }

  /** Whether nobody else waits, and the lock is reserved for nobody else. */
  isClear(fd: number | undefined = this.find()): boolean {
    if (fd === undefined) return true
    const { slots, reservation } = this.#read(fd)
    const now = monotonicMs()
    return (
      leftMs(reservation, now) <= 0 &&
      inEarnest(slots, now).every(({ ticket }) => ticket === this.#slot?.ticket)
    )
  }

  /**
   * Reserves the lock for the next waiter and wakes it.
   * @param mode wakes nobody who waits for another one
   * @returns whether anybody waits
   */
  wakeNext(reserveMs: number, mode?: LockMode, fd: number | undefined = this.find()): boolean {
    if (fd === undefined) return false
    const now = monotonicMs()
    for (const slot of inEarnest(this.#read(fd).slots, now)) {
      if (slot.ticket === this.#slot?.ticket) continue
      if (mode !== undefined && slot.mode !== mode) return true
      // Before the wake-up: it must find the reservation when it looks.
      if (reserveMs > 0) writeNumbers(fd, 0, now + reserveMs, slot.ticket)
      const answer = slot.waker && slot.isOfThisPidSpace ? wake(slot.waker) : 'unreachable'
      if (answer === 'unreachable' && slot.waker) writeNumbers(fd, UNREACHABLE_AT, monotonicMs())
      if (answer !== 'gone') return true
      clearSlot(fd, slot.index)
    }
    return false
  }

  /** Asks the others not to take the lock for so many milliseconds; 0 takes that back. */
  reserve(ms: number): void {
    const { fd } = this.file
    if (fd !== undefined) writeNumbers(fd, 0, ms === 0 ? 0 : monotonicMs() + ms, 0)
  }

  /** The waiters of other processes, without the dead ones. */
  waiters(): LockHolder[] {
    const fd = this.find()
    if (fd === undefined) return []
    const now = monotonicMs()
    const waiting: LockHolder[] = []
    for (const slot of [...this.#read(fd).slots].sort((a, b) => a.ticket - b.ticket)) {
      if (slot.ticket === this.#slot?.ticket) continue
      const start = slot.start === 0 ? undefined : String(slot.start)
      const lives = slot.isOfThisPidSpace ? isAlive(slot.pid, start) : now - slot.seenMs < EARNEST_MS
      if (!lives) continue
      const who = describeProcess(slot.isOfThisPidSpace ? slot.pid : undefined)
      const sinceMs = Math.max(0, Math.round(now - slot.sinceMs))
      waiting.push({ ...who, mode: slot.mode, sinceMs, state: 'waiting' })
    }
    return waiting
  }

  close(): void {
    this.leave()
    this.file.close()
  }

  /** The open file, if somebody has waited for this lock at some time, and if its name still leads to it. */
  find(): number | undefined {
    if (this.file.fd !== undefined && !this.#slot && !this.file.isCurrent) this.file.close()
    // It is not created before somebody waits for the first time: most stores never need it.
    if (this.file.fd === undefined && performance.now() >= this.#pausedUntil && this.file.exists())
      this.#locked(() => {})
    return this.file.fd
  }

  /** The reservation, as a process without a slot finds it. */
  #reservedMs(): number {
    const { fd } = this.file
    return fd === undefined ? 0 : leftMs(this.#read(fd).reservation, monotonicMs())
  }

  #fdOfSlot(): number | undefined {
    if (!this.#slot) return undefined
    // Now and then is enough: a queue in a file that has lost its name costs time, not exclusion.
    if (++this.#looks % 8 === 0 && !this.file.isCurrent) {
      this.#slot = undefined
      this.file.close()
    }
    return this.file.fd
  }

  /** One process at a time gives out slots; it takes some ten microseconds. */
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
      // No file can be made here (read-only folder, full disk): each waiter asks by itself.
      this.#pause()
    }
  }

  /** If it cannot be read, the queue counts as empty, and the file is opened again later. */
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

/**
 * What is in `<lock>.turn`: a head that says for whom the lock is reserved, and one slot of 64 bytes for each process that
 * waits. All of it is a hint for fairness, written without sync or lock. Wrong content costs time, never exclusion. Times
 * are of the monotonic clock, which all processes of a machine share.
 */
export interface Slot {
  /** Place in the file. */
  readonly index: number
  /** Lower ones came first. */
  readonly ticket: number
  /** When its owner last asked; 0 after it has been passed by. */
  readonly seenMs: number
  /** Since when it waits. */
  readonly sinceMs: number
  readonly mode: LockMode
  readonly pid: number
  readonly waker: Waker | undefined
  /** Start of the process in clock ticks; 0 if it is unknown. */
  readonly start: number
  /** Whether its pid means the same here. */
  readonly isOfThisPidSpace: boolean
}

/** The head of the file: a `Reservation`. */
const head = Buffer.alloc(16)
const headNumbers = new Float64Array(head.buffer, head.byteOffset, 2)

/** For whom the lock is reserved, and until when. */
interface Reservation {
  readonly untilMs: number
  /** 0: for the process that has written this, for the rest of its slice. */
  readonly ticket: number
}

/** The content of the file. */
interface QueueContent {
  readonly reservation: Reservation
  /** When a waiter could not be woken: all ask more often then for a while. */
  readonly unreachableMs: number
  readonly slots: readonly Slot[]
}

const SLOT_BYTES = 64
const SLOTS_AT = 64
/** So many processes can have a slot; more wait without one. */
const MOST_SLOTS = 1023
const UNREACHABLE_AT = 16

/**
 * The fields of a slot, in numbers of 8 and 4 bytes, in the byte order of the machine, which all readers share. In a program
 * that has just begun, a typed array is read many times as fast as a Buffer by its methods.
 */
const [TICKET, SEEN, SINCE, INO, SPACE, START] = [0, 1, 2, 4, 5, 6] as const
const [PID, FD, MARK] = [6, 7, 15] as const
/** In bytes. */
const MODE_AT = 56

const content = Buffer.alloc(SLOTS_AT + SLOT_BYTES * MOST_SLOTS)
const contentNumbers = new Float64Array(content.buffer, content.byteOffset, content.length / 8)
const contentWords = new Uint32Array(content.buffer, content.byteOffset, content.length / 4)
const slotBytes = Buffer.from(new ArrayBuffer(SLOT_BYTES))
const slotNumbers = new Float64Array(slotBytes.buffer)
const slotWords = new Uint32Array(slotBytes.buffer)

/** A pid space as a number that fits a slot. */
function spaceNumber(): number {
  let hash = 0
  for (const char of pidSpace()) hash = (hash * 31 + char.charCodeAt(0)) >>> 0
  return hash
}

let ownSpace: number | undefined
let ownStart: number | undefined

/** Reads the file. @throws the error of read(2) */
export function readQueue(fd: number): QueueContent {
  ownSpace ??= spaceNumber()
  const size = readInto(fd, content, 0)
  const slots: Slot[] = []
  for (let at = SLOTS_AT; at + SLOT_BYTES <= size; at += SLOT_BYTES) {
    const n = at / 8
    const w = at / 4
    const ticket = contentNumbers[n + TICKET] as number
    if (!(ticket > 0 && ticket < Number.MAX_SAFE_INTEGER)) continue
    const pid = contentWords[w + PID] as number
    const fd = contentWords[w + FD] as number
    const mark = contentWords[w + MARK] as number
    const ino = contentNumbers[n + INO] as number
    slots.push({
      index: (at - SLOTS_AT) / SLOT_BYTES,
      ticket,
      seenMs: contentNumbers[n + SEEN] as number,
      sinceMs: contentNumbers[n + SINCE] as number,
      mode: content[at + MODE_AT] === 1 ? 'shared' : 'exclusive',
      pid,
      waker: fd === 0 || mark === 0 ? undefined : { pid, fd, ino, mark },
      isOfThisPidSpace: contentNumbers[n + SPACE] === ownSpace,
      start: contentNumbers[n + START] as number,
    })
  }
  const [untilMs = 0, ticket = 0, unreachableMs = 0] = size >= SLOTS_AT ? contentNumbers : []
  return { reservation: { untilMs, ticket }, unreachableMs, slots }
}

/** Takes, or renews, a slot for this process. @returns whether it is in the file */
export function writeSlot(
  fd: number,
  index: number,
  slot: Pick<Slot, 'ticket' | 'seenMs' | 'sinceMs' | 'mode' | 'waker'>,
): boolean {
  ownSpace ??= spaceNumber()
  ownStart ??= Number(startOf(process.pid) ?? 0)
  slotNumbers[TICKET] = slot.ticket
  slotNumbers[SEEN] = slot.seenMs
  slotNumbers[SINCE] = slot.sinceMs
  slotWords[PID] = process.pid
  slotWords[FD] = slot.waker?.fd ?? 0
  slotNumbers[INO] = slot.waker?.ino ?? 0
  slotNumbers[SPACE] = ownSpace
  slotNumbers[START] = ownStart
  slotWords[MARK] = slot.waker?.mark ?? 0
  slotBytes[MODE_AT] = slot.mode === 'shared' ? 1 : 2
  return writeAtSync(fd, slotBytes, slotAt(index)).bytes === SLOT_BYTES
}

function slotAt(index: number): number {
  return SLOTS_AT + index * SLOT_BYTES
}

function clearSlot(fd: number, index: number): void {
  writeNumbers(fd, slotAt(index), ...Array<number>(SLOT_BYTES / 8).fill(0))
}

/** May fail: on a full disk, or if the file is read-only, less is known of the waiters. */
function writeNumbers(fd: number, at: number, ...numbers: number[]): void {
  writeAtSync(fd, Buffer.from(Float64Array.from(numbers).buffer), at)
}

/** A free slot, or one whose owner has not been seen for so long, or undefined where all are taken. */
function freeSlot(slots: readonly Slot[], isAbandoned: (slot: Slot) => boolean): number | undefined {
  const taken = new Map(slots.map((slot) => [slot.index, slot]))
  for (let index = 0; index < MOST_SLOTS; index++) {
    const slot = taken.get(index)
    if (!slot || isAbandoned(slot)) return index
  }
  return undefined
}
