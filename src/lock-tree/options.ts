import { type OptionNames, optionNames, show } from '../arguments.ts'
import type { TreeLockMode } from '../errors.ts'
import type { AcquireOptions } from '../lock/options.ts'
import { MODES } from './mode.ts'
import { isPrintable } from './name.ts'

export interface LockTreeOptions {
  /**
   * Longest wait of every acquisition, in milliseconds; 0 does not wait at all, `Infinity` waits for ever.
   * @default 10_000
   */
  readonly timeoutMs?: number | undefined
}

/** How a name is locked by a callback form. */
export interface TreeAcquireOptions extends AcquireOptions {
  /**
   * What it is for, in words for the user who has to wait: at most 100 characters in one line.
   * @default that of the enclosing hold
   */
  readonly reason?: string | undefined
}

export const TREE_NAMES: OptionNames = optionNames<LockTreeOptions>({ timeoutMs: true })

export const TREE_ACQUIRE_NAMES: OptionNames = optionNames<TreeAcquireOptions>({
  timeoutMs: true,
  signal: true,
  join: true,
  reason: true,
})

/** Of the forms that hand the name out; the try-form knows them all too. */
export const TREE_HAND_OUT_NAMES: OptionNames = optionNames<TreeAcquireOptions & { mode?: unknown }>({
  timeoutMs: true,
  signal: true,
  join: true,
  reason: true,
  mode: true,
})

export const DEFAULT_TIMEOUT_MS = 10_000

/** It must fit in a note, also where each character takes three bytes. */
const LONGEST_REASON = 100

/** A reason or nothing, or a TypeError that shows what came instead. */
export function checkedReason(reason: unknown): string | undefined {
  if (reason === undefined) return undefined
  if (typeof reason === 'string' && reason !== '' && reason.length <= LONGEST_REASON && isPrintable(reason))
    return reason
  throw new TypeError(`reason must be one line of 1 to ${LONGEST_REASON} characters, got ${show(reason)}`)
}

/** A mode, or a TypeError that shows what came instead. */
export function checkedTreeMode(mode: unknown): TreeLockMode {
  const known = MODES.find((one) => one === (mode ?? 'exclusive'))
  if (known) return known
  throw new TypeError(`mode must be ${MODES.map((one) => `'${one}'`).join(' or ')}, got ${show(mode)}`)
}
