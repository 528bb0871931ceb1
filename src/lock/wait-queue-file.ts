import type { LockMode } from '../errors.ts'
import { readInto, writeAtSync } from '../os/io.ts'
import { monotonicMs, pidSpace, startOf } from '../os/processes.ts'
import type { Waker } from '../os/wakeup.ts'

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

/** For whom the lock is reserved, and until when. */
export interface Reservation {
  readonly untilMs: number
  /** 0: for the process that has written this, for the rest of its slice. */
  readonly ticket: number
}

const SLOT_BYTES = 64
const SLOTS_AT = 64
/** So many processes can have a slot; more wait without one. */
const MOST_SLOTS = 1023
const UNREACHABLE_AT = 16

const content = Buffer.alloc(SLOTS_AT + SLOT_BYTES * MOST_SLOTS)
const head = Buffer.alloc(16)
const slotBytes = Buffer.alloc(SLOT_BYTES)
const number = Buffer.alloc(8)

/**
 * The fields of a slot, in numbers of 8 and 4 bytes, in the byte order of the machine, which all readers share. In a program
 * that has just begun, a typed array is read many times as fast as a Buffer by its methods.
 */
const TICKET = 0
const SEEN = 1
const SINCE = 2
const INO = 4
const SPACE = 5
const START = 6
const PID = 6
const FD = 7
const MARK = 15
/** In bytes. */
const MODE_AT = 56

const numbers = (bytes: Buffer) => new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
const words = (bytes: Buffer) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)

const contentNumbers = numbers(content)
const contentWords = words(content)
const headNumbers = numbers(head)
const slotNumbers = numbers(slotBytes)
const slotWords = words(slotBytes)
const oneNumber = numbers(number)

/** A pid space as a number that fits a slot. */
function spaceNumber(): number {
  let hash = 0
  for (const char of pidSpace()) hash = (hash * 31 + char.charCodeAt(0)) >>> 0
  return hash
}

let ownSpace: number | undefined
let ownStart: number | undefined

/** The content of the file. */
export interface QueueContent {
  readonly reservation: Reservation
  /** When a waiter could not be woken. */
  readonly unreachableMs: number
  readonly slots: readonly Slot[]
}

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
  const known = size >= SLOTS_AT
  const headNumber = (at: number) => (known ? (contentNumbers[at / 8] as number) : 0)
  return {
    reservation: { untilMs: headNumber(0), ticket: headNumber(8) },
    unreachableMs: headNumber(UNREACHABLE_AT),
    slots,
  }
}

/** May fail, as all writes here: on a full disk, or if the file is read-only, less is known of the waiters. */
export function writeReservation(fd: number, { untilMs, ticket }: Reservation): void {
  headNumbers[0] = untilMs
  headNumbers[1] = ticket
  writeAtSync(fd, head, 0)
}

/** Notes that a waiter could not be woken, so that all ask more often for a while. */
export function writeUnreachable(fd: number): void {
  oneNumber[0] = monotonicMs()
  writeAtSync(fd, number, UNREACHABLE_AT)
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
  return writeAtSync(fd, slotBytes, SLOTS_AT + index * SLOT_BYTES).bytes === SLOT_BYTES
}

/** When its owner was last seen: 0 where it is passed by. */
export function writeSeen(fd: number, index: number, seenMs: number): void {
  oneNumber[0] = seenMs
  writeAtSync(fd, number, SLOTS_AT + index * SLOT_BYTES + 8 * SEEN)
}

export function clearSlot(fd: number, index: number): void {
  writeAtSync(fd, Buffer.alloc(SLOT_BYTES), SLOTS_AT + index * SLOT_BYTES)
}

/** A free slot, or one whose owner has not been seen for so long, or undefined where all are taken. */
export function freeSlot(slots: readonly Slot[], isAbandoned: (slot: Slot) => boolean): number | undefined {
  const taken = new Map(slots.map((slot) => [slot.index, slot]))
  for (let index = 0; index < MOST_SLOTS; index++) {
    const slot = taken.get(index)
    if (!slot || isAbandoned(slot)) return index
  }
  return undefined
}
