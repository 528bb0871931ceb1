import { type Channel, channel } from 'node:diagnostics_channel'
import { debug, isDebugging } from '../debug.ts'
import type { LockMode } from '../errors.ts'

/**
 * The message on the channels `pslock:wait`, `pslock:acquire`, `pslock:release`, `pslock:timeout` and `pslock:abort` of
 * `node:diagnostics_channel`, for metrics, traces and logs. Without a subscriber they cost nothing.
 */
export interface LockEvent {
  /** The lock file. */
  readonly path: string
  readonly mode: LockMode
  /** For acquire, timeout and abort: how long it waited, in milliseconds; 0 if the lock was free. */
  readonly waitedMs?: number
  /** For release: how long it was held, in milliseconds. */
  readonly heldMs?: number
  /** Whether it is (or would be) a hold inside a hold of the same lock. */
  readonly nested: boolean
}

export type EventKind = 'wait' | 'acquire' | 'release' | 'timeout' | 'abort'

/** Of the library's own use: `publish` in hold.ts. */
export const channels: Record<EventKind, Channel> = {
  wait: channel('pslock:wait'),
  acquire: channel('pslock:acquire'),
  release: channel('pslock:release'),
  timeout: channel('pslock:timeout'),
  abort: channel('pslock:abort'),
}

if (isDebugging) {
  for (const [kind, events] of Object.entries(channels)) {
    events.subscribe((event) => {
      const { path, ...facts } = event as LockEvent
      debug(kind, path, facts)
    })
  }
}
