import { isChore, type Operation } from '../operation.ts'
import type { StressOptions } from '../options.ts'
import { between, stream } from '../random.ts'

const DAY_MS = 86_400_000
const SLOW_MS = { least: 2, most: 30 }
const SLOW_SHARE = 0.3
const BLOCK_MS = { least: 5, most: 100 }
const BETWEEN_BLOCKS_MS = { least: 50, most: 400 }

type Who = Pick<StressOptions, 'seed' | 'chaos'> & { readonly worker: number }

/** How long this worker is to hold the lock over each of its operations, in milliseconds; mostly 0. */
export function slowness({ seed, chaos, worker }: Who): (operation: Operation) => number {
  if (worker >= chaos.slow) return () => 0
  const random = stream(seed, 'slow', worker)
  return (operation) => {
    const pauseMs = random() < SLOW_SHARE ? between(random, SLOW_MS.least, SLOW_MS.most) : 0
    const isBare = 'bare' in operation && operation.bare
    return isBare || isChore(operation) || operation.kind.startsWith('read') ? 0 : pauseMs
  }
}

/** Blocks the event loop of this process again and again, whatever it is in the middle of. */
export function beginBlocking({ seed, chaos, worker }: Who): void {
  if (worker < chaos.slow || worker >= chaos.slow + chaos.block) return
  const random = stream(seed, 'block', worker)
  const cell = new Int32Array(new SharedArrayBuffer(4))
  const again = () => {
    const timer = setTimeout(
      () => {
        Atomics.wait(cell, 0, 0, between(random, BLOCK_MS.least, BLOCK_MS.most))
        again()
      },
      between(random, BETWEEN_BLOCKS_MS.least, BETWEEN_BLOCKS_MS.most),
    )
    timer.unref()
  }
  again()
}

/** Lets the wall clock of every other worker jump by days, forth and back, at every look, as if somebody kept setting it. */
export function beginJumping({ chaos, worker }: Who): void {
  if (!chaos.clockJump || worker % 2 === 0) return
  const RealDate = Date
  let looks = 0
  const jumped = () => RealDate.now() + (looks++ % 2 === 0 ? 5 : -3) * DAY_MS
  globalThis.Date = class JumpingDate extends RealDate {
    constructor(...parts: [] | [number]) {
      if (parts.length === 0) super(jumped())
      else super(...parts)
    }

    static override now(): number {
      return jumped()
    }
  } as DateConstructor
}
