import { requireLate } from './modules.ts'

/** What is locked, and what is known of it, by the addon. Collected when nobody has it any more. */
export type Gate = { readonly isGate: unique symbol }

/** What the addon's calls answer. */
export const DONE = 0
/** There is something new in the data file. */
export const NEWS = 1
/** Somebody else holds the lock. */
export const BUSY = -1
/** Something else is the case, and nothing has happened: the same is to be done in TypeScript, which says what it is. */
export const ODD = -2

/** The files that an operation works on. */
type Opened = [
  gate: Gate,
  lockFd: number,
  lockSerial: number,
  dataFd: number,
  dataSerial: number,
  turnFd: number,
]

/**
 * The addon `@pslock/native` (native/pslock.c): what an operation on one record does to its files, in one call or two. It
 * is for speed alone. Descriptors are given with their `serial`, which says whether they are still of the same opening.
 * With the file of the wait queue (-1: none) it is also busy while the lock is reserved for somebody.
 */
export interface Native {
  /** @param memory of a `LogFile` */
  gate(lockPath: string, dataPath: string, memory: ArrayBuffer): Gate
  /** Locks, skips what is new, writes the line behind it, and releases. */
  append(...args: [...Opened, line: string]): number
  /** Locks and reads what is new. After DONE and NEWS both are locked until `commit` is DONE, or `release`. */
  begin(...args: Opened): number
  /** What `begin` has read. */
  news(gate: Gate): Buffer
  /** Writes the line and releases. */
  commit(gate: Gate, line: string): number
  release(gate: Gate): void
  /** DONE: the data file is as it was at a look that tells of every later change. It needs no lock. */
  look(gate: Gate, dataFd: number, dataSerial: number): number
  /** flock(2): 0, or the errno. */
  flock(fd: number, operation: number): number
}

let loaded: Native | null | undefined

/** The addon, where it is installed; undefined, too, where PSLOCK_BINDING insists on another binding. */
export function native(): Native | undefined {
  if (loaded === undefined) loaded = load()
  return loaded ?? undefined
}

function load(): Native | null {
  const wanted = process.env.PSLOCK_BINDING
  if (wanted && wanted !== 'native') return null
  try {
    return requireLate()('@pslock/native') as Native
  } catch {
    return null
  }
}
