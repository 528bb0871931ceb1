import { closeSync, constants } from 'node:fs'
import { errnoOf, LockIoError } from '../../errors.ts'
import { lockInternals, type PsLock } from '../../lock/lock.ts'
import { readRange, writeAtSync } from '../../os/io.ts'
import { openFile } from '../../os/open-files.ts'
import { bootId, monotonicMs } from '../../os/processes.ts'
import { exclusiveToWrite, exclusiveToWriteSync } from '../../store/data-file.ts'
import type { HookEvent } from './hook.ts'

/** How fast writes may come: one in so many milliseconds, and this much ahead of that after a quiet time. */
export interface Pace {
  readonly everyMs: number
  readonly aheadMs: number
}

/**
 * Who takes a turn, and when the next one is: the "generic cell rate algorithm" of ATM networks (ITU-T I.371), which is a
 * token bucket in one number. A turn that is too far away is not taken.
 * @param nextMs when the next turn was, on the monotonic clock
 * @returns when the next one is now, and how long the taker has to wait
 */
export function takeTurn(
  nextMs: number,
  nowMs: number,
  { everyMs, aheadMs }: Pace,
  limitMs: number,
): { nextMs: number; waitMs: number } {
  const turnMs = Math.max(nextMs, nowMs)
  const waitMs = Math.max(0, turnMs - aheadMs - nowMs)
  return { nextMs: waitMs > limitMs ? nextMs : turnMs + everyMs, waitMs }
}

/** The turns of one throttle. */
export class Allowance {
  #nextMs = 0

  /** @returns after how many milliseconds the turn comes that was taken; above the limit: none was */
  takeSync(pace: Pace, limitMs: number): number {
    const { nextMs, waitMs } = takeTurn(this.#nextMs, monotonicMs(), pace, limitMs)
    this.#nextMs = nextMs
    return waitMs
  }

  take(pace: Pace, limitMs: number): number {
    return this.takeSync(pace, limitMs)
  }
}

/** What the file is long, whatever is in it. */
const TEXT_BYTES = 64
/** A turn further ahead than this is of another boot, where the system does not tell the boots apart. */
const BELIEVED_MS = 3_600_000

/**
 * The turns of all processes on one store, in a file beside the lock file, which is locked by itself: the store's own
 * lock may be held for long, and would have to be waited for twice.
 */
export class SharedAllowance {
  readonly #path: string
  readonly #lock: PsLock
  readonly #dataPath: string

  constructor({ path, lockPath }: Pick<HookEvent, 'path' | 'lockPath'>) {
    this.#path = `${lockPath}.throttle`
    this.#dataPath = path
    // Not through a link that somebody has put there: its target would be made.
    this.#lock = lockInternals.at(this.#path, path)
  }

  /** @throws the errors of `PsLock#exclusive`, LockIoError also where the file cannot be written */
  take(pace: Pace, limitMs: number): Promise<number> {
    return exclusiveToWrite(this.#dataPath, this.#lock, () => this.#take(pace, limitMs))
  }

  takeSync(pace: Pace, limitMs: number): number {
    let waitMs = 0
    const take = () => {
      waitMs = this.#take(pace, limitMs)
    }
    exclusiveToWriteSync(this.#dataPath, take, (held) => this.#lock.exclusiveSync(held))
    return waitMs
  }

  #take(pace: Pace, limitMs: number): number {
    try {
      const fd = openFile(this.#path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      try {
        const nowMs = monotonicMs()
        const turn = takeTurn(nextTurn(readAtSync(fd), nowMs), nowMs, pace, limitMs)
        const { error } = writeAtSync(fd, toText(turn.nextMs), 0)
        if (error !== undefined) throw error
        return turn.waitMs
      } finally {
        closeSync(fd)
      }
    } catch (cause) {
      throw new LockIoError(
        `cannot count the writes of all processes in ${this.#path}: ${errnoOf(cause) ?? cause}. Who writes to the store must be ` +
          'able to write to that file too.',
        { path: this.#path, cause },
      )
    }
  }
}

function readAtSync(fd: number): string {
  return (readRange(fd, 0, TEXT_BYTES, true) as Buffer).toString('latin1')
}

/** In the past where nothing is known: the clock begins anew with every boot, and so does the count. */
function nextTurn(text: string, nowMs: number): number {
  const [boot, next, end] = text.split(' ')
  const nextMs = boot === bootId() && end !== undefined ? Number(next) : 0
  return nextMs <= nowMs + BELIEVED_MS || bootId() !== '' ? nextMs || 0 : 0
}

function toText(nextMs: number): Buffer {
  return Buffer.from(`${bootId()} ${nextMs.toFixed(3)} `.padEnd(TEXT_BYTES - 1).concat('\n'), 'latin1')
}
