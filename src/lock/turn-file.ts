import type { LockMode } from '../errors.ts'
import { monotonicMs } from '../os/clock.ts'
import { readInto, writeAtSync } from '../os/data-io.ts'
import type { Bell } from '../os/doorbell.ts'
import { pidSpace, startOf } from '../os/live-process.ts'

/**
 * What is in `<lock>.turn`: a head that says whom the lock is left to, and one seat of 64 bytes for each process that
 * waits. All of it is a hint for fairness, written without ceremony; nonsense in it costs time, never exclusion. Times
 * are of the monotonic clock, which all processes of a machine share.
 */
export interface Seat {
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
  readonly bell: Bell | undefined
  /** Start of the process in clock ticks; 0 where it is not known. */
  readonly start: number
  /** Whether its pid means the same here. */
  readonly isOfThisPidSpace: boolean
}

/** Whom the lock is left to, and until when. */
export interface Preference {
  readonly untilMs: number
  /** 0: to the process that has written this, for the rest of its slice. */
  readonly ticket: number
}

const SEAT_BYTES = 64
const SEATS_AT = 64
/** As many processes can stand in line; more wait without a place in it. */
const MOST_SEATS = 1023
const UNREACHABLE_AT = 16
/** In a seat. */
const MARK_AT = 60

const content = Buffer.alloc(SEATS_AT + SEAT_BYTES * MOST_SEATS)
const head = Buffer.alloc(16)
const seatBytes = Buffer.alloc(SEAT_BYTES)
const number = Buffer.alloc(8)

/** A pid space as a number that fits a seat. */
function spaceNumber(): number {
  let hash = 0
  for (const char of pidSpace()) hash = (hash * 31 + char.charCodeAt(0)) >>> 0
  return hash
}

let ownSpace: number | undefined
let ownStart: number | undefined

/** All that the file says. */
export interface Turns {
  readonly preference: Preference
  /** When somebody in line could not be rung. */
  readonly unreachableMs: number
  readonly seats: readonly Seat[]
}

/** All that the file says at this moment. @throws what read(2) says */
export function readTurns(fd: number): Turns {
  ownSpace ??= spaceNumber()
  const size = readInto(fd, content, 0)
  const seats: Seat[] = []
  for (let at = SEATS_AT; at + SEAT_BYTES <= size; at += SEAT_BYTES) {
    const ticket = content.readDoubleLE(at)
    if (!(ticket > 0 && ticket < Number.MAX_SAFE_INTEGER)) continue
    const pid = content.readUInt32LE(at + 24)
    const fd = content.readUInt32LE(at + 28)
    const mark = content.readUInt32LE(at + MARK_AT)
    seats.push({
      index: (at - SEATS_AT) / SEAT_BYTES,
      ticket,
      seenMs: content.readDoubleLE(at + 8),
      sinceMs: content.readDoubleLE(at + 16),
      mode: content[at + 56] === 1 ? 'shared' : 'exclusive',
      pid,
      bell: fd === 0 || mark === 0 ? undefined : { pid, fd, ino: content.readDoubleLE(at + 32), mark },
      isOfThisPidSpace: content.readDoubleLE(at + 40) === ownSpace,
      start: content.readDoubleLE(at + 48),
    })
  }
  const known = size >= SEATS_AT
  return {
    preference: { untilMs: known ? content.readDoubleLE(0) : 0, ticket: known ? content.readDoubleLE(8) : 0 },
    unreachableMs: known ? content.readDoubleLE(UNREACHABLE_AT) : 0,
    seats,
  }
}

/** A courtesy, as all writes here: on a full disk, or with a read-only turn file, less is known of the waiters. */
export function writePreference(fd: number, { untilMs, ticket }: Preference): void {
  head.writeDoubleLE(untilMs)
  head.writeDoubleLE(ticket, 8)
  writeAtSync(fd, head, 0)
}

/** Says that somebody in line could not be rung, so that all ask more often for a while. */
export function writeUnreachable(fd: number): void {
  number.writeDoubleLE(monotonicMs())
  writeAtSync(fd, number, UNREACHABLE_AT)
}

/** Takes, or renews, a seat for this process. @returns whether it is in the file */
export function writeSeat(
  fd: number,
  index: number,
  seat: Pick<Seat, 'ticket' | 'seenMs' | 'sinceMs' | 'mode' | 'bell'>,
): boolean {
  ownSpace ??= spaceNumber()
  ownStart ??= Number(startOf(process.pid) ?? 0)
  seatBytes.writeDoubleLE(seat.ticket, 0)
  seatBytes.writeDoubleLE(seat.seenMs, 8)
  seatBytes.writeDoubleLE(seat.sinceMs, 16)
  seatBytes.writeUInt32LE(process.pid, 24)
  seatBytes.writeUInt32LE(seat.bell?.fd ?? 0, 28)
  seatBytes.writeDoubleLE(seat.bell?.ino ?? 0, 32)
  seatBytes.writeDoubleLE(ownSpace, 40)
  seatBytes.writeDoubleLE(ownStart, 48)
  seatBytes.writeUInt32LE(seat.bell?.mark ?? 0, MARK_AT)
  seatBytes[56] = seat.mode === 'shared' ? 1 : 2
  return writeAtSync(fd, seatBytes, SEATS_AT + index * SEAT_BYTES).bytes === SEAT_BYTES
}

/** When its owner was last seen: 0 where it is passed by. */
export function writeSeen(fd: number, index: number, seenMs: number): void {
  number.writeDoubleLE(seenMs)
  writeAtSync(fd, number, SEATS_AT + index * SEAT_BYTES + 8)
}

export function clearSeat(fd: number, index: number): void {
  writeAtSync(fd, Buffer.alloc(SEAT_BYTES), SEATS_AT + index * SEAT_BYTES)
}

/** A free seat, or one whose owner has not been seen for so long, or undefined where all are taken. */
export function freeSeat(seats: readonly Seat[], isAbandoned: (seat: Seat) => boolean): number | undefined {
  const taken = new Map(seats.map((seat) => [seat.index, seat]))
  for (let index = 0; index < MOST_SEATS; index++) {
    const seat = taken.get(index)
    if (!seat || isAbandoned(seat)) return index
  }
  return undefined
}
