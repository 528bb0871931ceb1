import type { TreeLockMode } from '../errors.ts'
import { monotonicMs } from '../os/clock.ts'
import { pidSpace, startOf } from '../os/live-process.ts'

/**
 * What a hold, or a waiter, leaves in the lock file about itself. Never the command line, which may hold secrets: that
 * is read from the live process. It counts only while its owner's byte is locked, so there are no ghosts.
 */
export interface Note {
  readonly pid: number
  /** Start time of the process, in clock ticks since boot. */
  readonly start: string | undefined
  /** Where its pid means something: elsewhere it says nothing. */
  readonly space: string | undefined
  /** Since when it holds or waits, in milliseconds on the monotonic clock, which nobody sets. */
  readonly since: number
  readonly state: 'holding' | 'waiting'
  readonly mode: TreeLockMode
  /** The record of the name. */
  readonly node: number
  readonly reason?: string | undefined
}

const space = pidSpace()
const start: string | undefined = startOf(process.pid)

export function makeNote(note: Pick<Note, 'state' | 'mode' | 'node' | 'reason'>): string {
  return JSON.stringify({ pid: process.pid, start, space, since: monotonicMs(), ...note })
}

export function parseNote(text: string): Note | undefined {
  try {
    const note = JSON.parse(text) as Note
    return typeof note.pid === 'number' && typeof note.node === 'number' ? note : undefined
  } catch {
    return undefined
  }
}

/** The pid that a note's process has here, or undefined where it cannot be known. */
export function pidOf(note: Note): number | undefined {
  const isHere = note.space === space && (note.start === undefined || startOf(note.pid) === note.start)
  return isHere ? note.pid : undefined
}
