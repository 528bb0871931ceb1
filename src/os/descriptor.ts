import { closeSync } from 'node:fs'
import type { LockMode } from '../errors.ts'
import { tryFlock, unflock } from './flock.ts'

/** What a `Descriptor` has open; apart from it, so that the descriptor of a forgotten one can still be closed. */
interface Slot {
  fd: number | undefined
  /** The file that is locked (flock) through it. */
  locked: string | undefined
}

/** Stores that are forgotten without `close()` give their descriptors back; none of these carries a lock then. */
const forgotten = new FinalizationRegistry<Slot>(({ fd }) => {
  if (fd !== undefined) closeSync(fd)
})

/**
 * Closes a descriptor through which nothing was written, or nothing that is not synced or given up. Whatever close(2) says
 * then concerns nobody, and the number is free in any case.
 */
export function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // As said above.
  }
}

/**
 * As `closeQuietly`, of a descriptor that may be locked (flock): it is unlocked first. To close it is not enough: a child
 * process that another thread has just forked has a copy of it until it execs, and the lock is as old as the last copy.
 */
export function closeLocked(fd: number, path: string): void {
  unlockQuietly(fd, path)
  closeQuietly(fd)
}

function unlockQuietly(fd: number, path: string): void {
  try {
    unflock(fd, path)
  } catch {
    // A network file system may refuse. It is closed next, which drops the lock as well.
  }
}

/** Does something with a descriptor that was just opened; where that fails nobody else will close it. */
export function orClose<T>(fd: number, run: () => T): T {
  try {
    return run()
  } catch (error) {
    closeQuietly(fd)
    throw error
  }
}

/**
 * A numeric descriptor that belongs to an object, and the flock on it. Not a FileHandle: one of those may be collected,
 * and closed, while its number is still in use and locked. It is never closed locked, see `closeLocked`.
 */
export class Descriptor {
  readonly #slot: Slot = { fd: undefined, locked: undefined }

  constructor() {
    forgotten.register(this, this.#slot, this.#slot)
  }

  get fd(): number | undefined {
    return this.#slot.fd
  }

  get isLocked(): boolean {
    return this.#slot.locked !== undefined
  }

  /** Locks the file that is open, if nobody else has it locked. @throws what `tryFlock` throws */
  tryLock(mode: LockMode, path: string): boolean {
    if (!tryFlock(this.#slot.fd as number, mode, path)) return false
    this.#slot.locked = path
    return true
  }

  /** Where the system refuses, the file is closed, which drops the lock as well. */
  unlock(): void {
    const { fd, locked } = this.#slot
    if (fd === undefined || locked === undefined) return
    this.#slot.locked = undefined
    try {
      unflock(fd, locked)
    } catch {
      this.close()
    }
  }

  /**
   * Takes another one and gives the old one back; what the system says to that concerns nobody any more.
   * @param locked the file that is locked through the new one already
   */
  replace(fd: number, locked?: string): void {
    const old = { ...this.#slot }
    this.#slot.fd = fd
    this.#slot.locked = locked
    if (old.fd === undefined) return
    if (old.locked === undefined) closeQuietly(old.fd)
    else closeLocked(old.fd, old.locked)
  }

  /** Closes it without unlocking: what is locked on it stays so as long as other processes have copies of it. */
  leaveToCopies(): void {
    this.#slot.locked = undefined
    this.close()
  }

  /** Closes it, and drops what is locked on it. */
  close(): void {
    const { fd, locked } = this.#slot
    this.#slot.fd = undefined
    this.#slot.locked = undefined
    if (fd === undefined) return
    if (locked !== undefined) unlockQuietly(fd, locked)
    closeSync(fd)
  }
}
