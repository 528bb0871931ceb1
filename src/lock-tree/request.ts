import { type OptionNames, optionNames, show } from '../arguments.ts'
import type { TreeLockMode } from '../errors.ts'
import type { AcquireOptions } from '../lock/options.ts'
import type { NodeLocks } from './node-locks.ts'
import { RECORD_TEXT_BYTES, type TreeFile } from './tree-file.ts'

/** All modes of a node, weakest first: IS, IX, S, SIX, X. */
export const MODES: readonly TreeLockMode[] = [
  'intent-shared',
  'intent-exclusive',
  'shared',
  'shared-intent-exclusive',
  'exclusive',
]

/** Which modes two holders may have of one node at the same time (Gray 1975, table 1). */
const COMPATIBLE: Readonly<Record<TreeLockMode, readonly TreeLockMode[]>> = {
  'intent-shared': ['intent-shared', 'intent-exclusive', 'shared', 'shared-intent-exclusive'],
  'intent-exclusive': ['intent-shared', 'intent-exclusive'],
  shared: ['intent-shared', 'shared'],
  'shared-intent-exclusive': ['intent-shared'],
  exclusive: [],
}

export function areCompatible(one: TreeLockMode, other: TreeLockMode): boolean {
  return COMPATIBLE[one].includes(other)
}

/** The weakest mode that is as strong as both. Only S and IX are neither weaker nor stronger than each other. */
export function join(one: TreeLockMode, other: TreeLockMode): TreeLockMode {
  const pair = [one, other]
  if (pair.includes('shared') && pair.includes('intent-exclusive')) return 'shared-intent-exclusive'
  return MODES.indexOf(one) > MODES.indexOf(other) ? one : other
}

/** What a hold in this mode needs of every node above it. */
export function intention(mode: TreeLockMode): TreeLockMode {
  return mode === 'shared' || mode === 'intent-shared' ? 'intent-shared' : 'intent-exclusive'
}

/** Longest name in bytes of UTF-8: it must fit in a record, behind the word that says what the record is. */
const LONGEST_BYTES: number = Math.floor((RECORD_TEXT_BYTES - 10) / 100) * 100

/** Control characters and line separators: a name is one line, in the lock file and in messages. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029]/u

/**
 * The nodes from the top down to the one that is named: `app/orders#import` is `app`, `app/orders`,
 * `app/orders#import`. Names are compared as they are: neither case nor Unicode normal forms are folded.
 * @throws TypeError for a name that is none
 */
export function nodesOf(name: unknown): string[] {
  if (typeof name !== 'string')
    throw new TypeError(`name must be a string such as 'app/orders', got ${show(name)}`)
  const wrong = whatIsWrong(name)
  if (wrong)
    throw new TypeError(`name ${wrong}, got ${show(name.length > 200 ? `${name.slice(0, 200)}...` : name)}`)
  return pathOf(name)
}

/** As `nodesOf`, of a name that was checked before. */
export function pathOf(name: string): string[] {
  const ends = [...name.matchAll(/[/#]/g)].map(({ index }) => index)
  return [...ends.map((end) => name.slice(0, end)), name]
}

/** Whether a text is one line of well-formed Unicode: two with different half surrogate pairs become the same bytes. */
function isPrintable(text: string): boolean {
  return !UNPRINTABLE.test(text) && Buffer.from(text, 'utf8').toString('utf8') === text
}

function whatIsWrong(name: string): string | undefined {
  if (!isPrintable(name)) return 'must be one line of printable, well-formed Unicode'
  if (Buffer.byteLength(name) > LONGEST_BYTES) return `must have at most ${LONGEST_BYTES} bytes of UTF-8`
  const [path = '', operation, ...more] = name.split('#')
  if (more.length > 0 || operation?.includes('/')) return "must have at most one '#', in its last part"
  const parts = operation === undefined ? path.split('/') : [...path.split('/'), operation]
  if (parts.includes('')) return 'must not have an empty part'
  // It is no path, and nothing resolves these.
  if (parts.includes('.') || parts.includes('..')) return "must not have a part '.' or '..'"
  return undefined
}

export interface LockTreeOptions {
  /**
   * Longest wait of every acquisition, in milliseconds; 0 does not wait at all, `Infinity` waits for ever.
   * @default 10_000
   */
  readonly timeoutMs?: number | undefined
}

/** How `LockTree#exclusive` and `shared` lock a name. */
export interface TreeAcquireOptions extends AcquireOptions {
  /**
   * What the lock is for, in words for a user who has to wait: one line of at most 100 characters.
   * @default the reason of the enclosing hold
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
export const TREE_HAND_OUT_NAMES: OptionNames = optionNames<{ mode?: unknown }>(
  { mode: true },
  TREE_ACQUIRE_NAMES,
)

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

/** What is asked for. */
export interface TreeRequest {
  readonly tree: TreeFile
  /** From the top down to the node that is named. */
  readonly nodes: readonly string[]
  readonly mode: TreeLockMode
  readonly reason: string | undefined
  /** The holds around the one that is asked for, innermost first. */
  readonly enclosing: readonly NodeLocks[]
}

export function nameOf({ nodes }: TreeRequest): string {
  return nodes.at(-1) as string
}
