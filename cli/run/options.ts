import type { LockMode, LockTimeoutError } from '../../src/errors.ts'
import { heldBy, shortPath } from './held-by.ts'
import type { WaitingNotice } from './waiting-notice.ts'

export interface RunOptions {
  readonly mode: LockMode
  /** Longest wait for the lock; 0 does not wait, `Infinity` waits for ever. */
  readonly timeoutMs: number
  /** What it ends with when the lock was not free in time. */
  readonly conflictExitCode: number
  /** Whether SIGHUP is ignored, here and by the command. */
  readonly nohup: boolean
  /** Descriptors that the command gets besides stdin, stdout and stderr, under the same numbers. */
  readonly passFds: readonly number[]
  /** Where the lock file is, if not at its usual place. */
  readonly lockPath: string | undefined
  /** Whether the command has no descriptor of the lock: then it is free when the command itself has ended. */
  readonly close: boolean
  /** Neither says that it waits nor that it gave up; failures are still told. */
  readonly quiet: boolean
}

export const NO_NOTICE: WaitingNotice = { stop: () => {} }

/** Node gives the command all signals back as they were; the shell leaves them so, but this one. */
export const IGNORING_SIGHUP = ['sh', '-c', `trap '' HUP; exec "$@"`, 'sh']

export function notFree({ path, holders, waitedMs }: LockTimeoutError): string {
  const who = heldBy(holders)
  const when = waitedMs === 0 ? 'is not free' : `was not free within ${(waitedMs / 1000).toFixed(1)} s`
  return `${shortPath(path)} ${when}${who === undefined ? '' : `: ${who}`}`
}
