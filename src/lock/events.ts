import { type Channel, channel } from 'node:diagnostics_channel'
import { type LockMode, LockTimeoutError } from '../errors.ts'
import { outsideHolds } from './shared-state.ts'

/**
 * What `pslock:wait`, `pslock:acquire`, `pslock:release`, `pslock:timeout` and `pslock:abort` carry: the channels of
 * node:diagnostics_channel, for metrics, traces and logs. Unused they cost nothing.
 */
export interface LockEvent {
  /** The lock file. */
  readonly path: string
  readonly mode: LockMode
  /** Of acquire, timeout and abort: how long it waited, in milliseconds; 0 where the lock was free. */
  readonly waitedMs?: number
  /** Of release: how long it was held, in milliseconds. */
  readonly heldMs?: number
  /** Whether it is, or would be, a hold inside a hold of the same lock. */
  readonly nested: boolean
}

type Kind = 'wait' | 'acquire' | 'release' | 'timeout' | 'abort'

const channels: Record<Kind, Channel> = {
  wait: channel('pslock:wait'),
  acquire: channel('pslock:acquire'),
  release: channel('pslock:release'),
  timeout: channel('pslock:timeout'),
  abort: channel('pslock:abort'),
}

/** Whether anybody listens: checked before the event is made. */
export function isHeard(kind: Kind): boolean {
  return channels[kind].hasSubscribers
}

/** Tells the listeners. They run outside every hold, and what they throw is reported as uncaught, not thrown here. */
export function publish(kind: Kind, event: LockEvent): void {
  outsideHolds(() => channels[kind].publish(event))
}

/** A wait that has failed: it timed out, or it was aborted. */
export function publishFailure(
  error: unknown,
  event: LockEvent & { readonly signal: AbortSignal | undefined },
): void {
  const { signal, ...rest } = event
  const kind = error instanceof LockTimeoutError ? 'timeout' : signal?.aborted ? 'abort' : undefined
  if (kind && isHeard(kind)) publish(kind, rest)
}
