import { setTimeout as sleep } from 'node:timers/promises'
import {
  durationMs,
  type OptionNames,
  optionNames,
  requireKnown,
  requireObject,
  show,
} from '../../arguments.ts'
import { ThrottledError } from '../../errors.ts'
import { DEFAULTS } from '../../lock/options.ts'
import { Allowance, type Pace, SharedAllowance } from './allowance.ts'
import type { Hook, HookEvent } from './hook.ts'

export interface ThrottleOptions {
  /** At most this many writes, and `burst` more, begin in any second. More than 0; it need not be a whole number. */
  readonly writesPerSecond: number
  /**
   * Whose writes count together. `process`: the writes that pass this very throttle (each worker thread counts by itself).
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
 * It does not know of processes that do not use it. With `per: 'store'` a few bytes are kept in `<lock file>.throttle`.
 *
 * Operations reject with ThrottledError, with the reason of their signal and, with `per: 'store'`, with the errors of
 * `PsLock#exclusive` for the lock of those bytes.
 * @throws TypeError for wrong options
 */
export function throttle(options: ThrottleOptions): Hook {
  const { pace, maxDelayMs, per } = checked(options)
  const own = new Allowance()
  const limitOf = ({ timeoutMs = Number.POSITIVE_INFINITY }: HookEvent) => Math.min(maxDelayMs, timeoutMs)
  const shared = new Map<string, SharedAllowance>()
  const allowanceOf = (event: HookEvent) => {
    if (per === 'process') return own
    const known = shared.get(event.lockPath) ?? new SharedAllowance(event)
    shared.set(event.lockPath, known)
    return known
  }
  return {
    before(event) {
      if (event.mode === 'shared' || event.partOf) return undefined
      const allowance = allowanceOf(event)
      const limitMs = limitOf(event)
      if (event.blocking) {
        const delayMs = admitted(event, allowance.takeSync(pace, limitMs), limitMs)
        if (delayMs > 0) Atomics.wait(sleeper, 0, 0, delayMs)
        return undefined
      }
      return (async () => {
        const delayMs = admitted(event, await allowance.take(pace, limitMs), limitMs)
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
  if (!(Number.isFinite(writesPerSecond) && writesPerSecond > 0)) {
    throw new TypeError(`writesPerSecond must be a number above 0, got ${show(writesPerSecond)}`)
  }
  if (per !== 'process' && per !== 'store') {
    throw new TypeError(`per must be 'process' or 'store', got ${show(per)}`)
  }
  if (!Number.isInteger(burst) || burst < 1) {
    throw new TypeError(`burst must be a whole number from 1 up, got ${show(burst)}`)
  }
  const everyMs = 1000 / writesPerSecond
  return {
    pace: { everyMs, aheadMs: (burst - 1) * everyMs },
    maxDelayMs: durationMs(maxDelayMs, 'maxDelayMs', DEFAULTS.timeoutMs),
    per,
  }
}
