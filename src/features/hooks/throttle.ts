import { closeSync, constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  durationMs,
  type OptionNames,
  optionNames,
  requireKnown,
  requireObject,
  requireOneOf,
  requireThat,
} from '../../arguments.ts'
import { errnoOf, LockIoError, ThrottledError } from '../../errors.ts'
import { lockInternals, type PsLock } from '../../lock/lock.ts'
import { DEFAULTS } from '../../lock/options.ts'
import { readRange, writeAtSync } from '../../os/io.ts'
import { openFile } from '../../os/open-files.ts'
import { bootId, monotonicMs } from '../../os/processes.ts'
import { enterToWrite } from '../../store/data-file.ts'
import type { Pace } from '../../store/store-lock.ts'
import { type Hook, type HookEvent, lockOf } from './hooks.ts'

export interface ThrottleOptions {
  /** At most this many writes, and `burst` more, begin in any second. More than 0; it need not be a whole number. */
  readonly writesPerSecond: number
  /**
   * Whose writes count together. `process`: the writes that go through this very throttle (each worker thread counts by itself).
   * `store`: the writes of every process that has a throttle of this kind on the store.
   * @default 'process'
   */
  readonly per?: 'process' | 'store' | undefined
  /**
   * How many writes may come at once after a time without writes.
   * @default 1, which spaces writes evenly
   */
  readonly burst?: number | undefined
  /**
   * How long a write may be delayed, in milliseconds. A write that would have to wait longer is refused. 0 refuses
   * everything that comes too early; `Infinity` refuses nothing.
   * @default 30_000
   */
  readonly maxDelayMs?: number | undefined
}

const THROTTLE_NAMES: OptionNames = optionNames<ThrottleOptions>({
  writesPerSecond: true,
  per: true,
  burst: true,
  maxDelayMs: true,
})

/** What Atomics.wait sleeps on in blocking calls. */
const sleeper = new Int32Array(new SharedArrayBuffer(4))

/**
 * A hook that limits the rate of writes: `db.use(throttle({ writesPerSecond: 100 }))`. Writes that come too fast are
 * delayed, without the lock, each until its turn. Writes that would have to wait too long are refused.
 *
 * It counts operations, not records: each operation that may write counts once, whether or not it changes something, and
 * a transaction counts once with everything in it. Inside a hold of one's own (`db.lock.exclusive`) nothing is delayed,
 * since that would keep everybody else out. Such a write counts for later ones, or is refused.
 *
 * It does not know of processes that do not use it. With `per: 'store'` a few bytes are kept in `<lock file>.throttle`, or on the server.
 *
 * Operations reject with ThrottledError, with the reason of their signal and, with `per: 'store'`, with the errors of
 * `PsLock#exclusive` for the lock of those bytes.
 * @throws TypeError for wrong options
 */
export function throttle(options: ThrottleOptions): Hook {
  const { pace, maxDelayMs, per } = checked(options)
  let nextMs = 0
  const own = (limitMs: number) => {
    const turn = takeTurn(nextMs, monotonicMs(), pace, limitMs)
    nextMs = turn.nextMs
    return turn.waitMs
  }
  const shared = new Map<string, SharedRateLimiter>()
  const take = (event: HookEvent, limitMs: number) => {
    if (per === 'process') return own(limitMs)
    const lock = lockOf(event)
    if (lock?.takeTurn) return lock.takeTurn(pace, limitMs)
    const limiter = shared.get(event.lockPath) ?? new SharedRateLimiter(event, pace)
    shared.set(event.lockPath, limiter)
    return limiter.take(limitMs, event.blocking)
  }
  return {
    before(event) {
      if (event.mode === 'shared' || event.partOf) return undefined
      const limitMs = Math.min(maxDelayMs, event.timeoutMs ?? Number.POSITIVE_INFINITY)
      if (event.blocking) {
        const delayMs = admitted(event, take(event, limitMs) as number, limitMs)
        if (delayMs > 0) Atomics.wait(sleeper, 0, 0, delayMs)
        return undefined
      }
      return (async () => {
        const delayMs = admitted(event, await take(event, limitMs), limitMs)
        if (delayMs > 0) await delay(delayMs, event.signal)
      })()
    },
  }
}

/** How long this write has to be held back. @throws ThrottledError where that is too long */
function admitted({ path, nested }: HookEvent, waitMs: number, limitMs: number): number {
  if (waitMs <= limitMs) return nested ? 0 : Math.ceil(waitMs)
  const retryAfterMs = Math.ceil(waitMs)
  throw new ThrottledError(
    `too many writes to ${path}: this one would have had to wait ${retryAfterMs} ms for its turn, and ${limitMs} ms are ` +
      'allowed. Nothing was written: try again later, write several records in one call, or allow more.',
    { path, retryAfterMs },
  )
}

async function delay(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(delayMs, undefined, { signal })
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw error
  }
}

function checked(options: ThrottleOptions): { pace: Pace; maxDelayMs: number; per: 'process' | 'store' } {
  requireObject(options, 'options')
  requireKnown(options, THROTTLE_NAMES)
  const { writesPerSecond, per = 'process', burst = 1, maxDelayMs } = options
  const isRate = Number.isFinite(writesPerSecond) && writesPerSecond > 0
  requireThat(isRate, 'writesPerSecond must be a number above 0', writesPerSecond)
  requireOneOf(per, 'per', ['process', 'store'])
  requireThat(Number.isInteger(burst) && burst >= 1, 'burst must be a whole number from 1 up', burst)
  const everyMs = 1000 / writesPerSecond
  return {
    pace: { everyMs, aheadMs: (burst - 1) * everyMs },
    maxDelayMs: durationMs(maxDelayMs, 'maxDelayMs', DEFAULTS.timeoutMs),
    per,
  }
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

/** What the file is long, whatever is in it. */
const TEXT_BYTES = 64
/** A turn further ahead than this is of another boot, where the system does not tell the boots apart. */
const BELIEVED_MS = 3_600_000

/**
 * The turns of all processes on one store, in a file beside the lock file, which is locked by itself: the store's own
 * lock may be held for long, and would have to be waited for twice.
 */
class SharedRateLimiter {
  readonly #path: string
  readonly #lock: PsLock
  readonly #dataPath: string
  readonly #pace: Pace

  constructor({ path, lockPath }: Pick<HookEvent, 'path' | 'lockPath'>, pace: Pace) {
    this.#pace = pace
    this.#path = `${lockPath}.throttle`
    this.#dataPath = path
    // Not through a link that somebody has put there: its target would be made.
    this.#lock = lockInternals.at(this.#path, path)
  }

  /**
   * @returns after how many milliseconds the turn comes that was taken; above the limit: none was
   * @throws the errors of `PsLock#exclusive`, LockIoError also where the file cannot be written
   */
  take(limitMs: number, isBlocking: boolean): number | Promise<number> {
    return enterToWrite<number | Promise<number>>(this.#dataPath, (held) => {
      const take = () => {
        held()
        return this.#take(limitMs)
      }
      return isBlocking ? this.#lock.exclusiveSync(take) : this.#lock.exclusive(take)
    })
  }

  #take(limitMs: number): number {
    try {
      const fd = openFile(this.#path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      try {
        const nowMs = monotonicMs()
        const turn = takeTurn(nextTurn(readAtSync(fd), nowMs), nowMs, this.#pace, limitMs)
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
