import { subscribe } from 'node:diagnostics_channel'
import { existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import type { LockEvent } from '../../../src/lock/hold.ts'
import { now } from '../ledger.ts'

/** One hold of the lock, as its process saw it; times in nanoseconds of the clock that all processes share. */
export interface Hold {
  readonly mode: 'exclusive' | 'shared'
  readonly asked: number
  readonly granted: number
  /** Undefined where the process was killed with it. */
  released?: number
}

export function holdsPath(path: string, worker: number): string {
  return `${path}.holds-${worker}`
}

/**
 * Notes the holds of this process, from the diagnostics channels of the lock, one line an event, written at once. A
 * grant is noted after it came and a release after it was made: what is written is for looking at, not a proof.
 */
export function noteHolds(path: string): void {
  const fd = openSync(path, 'a')
  const note = (kind: string, { mode, nested }: LockEvent, ms = 0) => {
    if (!nested) writeSync(fd, `${kind} ${now()} ${mode} ${ms.toFixed(3)}\n`)
  }
  subscribe('pslock:acquire', (event) => note('acquire', event as LockEvent, (event as LockEvent).waitedMs))
  subscribe('pslock:release', (event) => note('release', event as LockEvent, (event as LockEvent).heldMs))
}

export function readHolds(path: string): Hold[] {
  if (!existsSync(path)) return []
  const holds: Hold[] = []
  const open = new Map<Hold['mode'], Hold>()
  for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
    const [kind, at, mode, ms] = line.split(' ') as [string, string, Hold['mode'], string | undefined]
    if (kind === 'acquire') {
      const hold: Hold = { mode, asked: Number(at) - Number(ms) * 1e6, granted: Number(at) }
      holds.push(hold)
      open.set(mode, hold)
    } else if (kind === 'release') {
      const hold = open.get(mode)
      open.delete(mode)
      if (hold) hold.released = Number(at)
    }
  }
  return holds
}
