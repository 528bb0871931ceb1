import { closeSync } from 'node:fs'
import type { LockMode } from '../errors.ts'
import { tryFlock, unflock } from './flock.ts'
import { add, freed, type OpenFile, remove, used } from './open-files.ts'

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

/** Whom a descriptor belongs to. */
export interface Owner {
  /** Asked before it is closed because nobody uses it. */
  mayClose(): boolean
  /** Told right before that. */
  closing?(): void
  /** The system has failed to close it. */
  closeFailed?(error: unknown): void
}

/**
 * A numeric descriptor that belongs to an object, and the flock on it. Not a FileHandle: one of those may be collected,
 * and closed, while its number is still in use and locked. It is never closed locked, see `closeLocked`.
 *
 * It may be closed at any time while it is not in use, see open-files.ts: not while it is locked, or kept open, or its
 * owner objects.
 */
export class Descriptor implements OpenFile {
  readonly #owner: Owner
  #fd: number | undefined
  /** The file that is locked (flock) through it. */
  #locked: string | undefined
  #users = 0
  usedAt = 0

  constructor(owner: Owner) {
    this.#owner = owner
  }

  get fd(): number | undefined {
    return this.#fd
  }

  get isLocked(): boolean {
    return this.#locked !== undefined
  }

  /** It is used now, and would be one of the last to be closed. */
  used(): void {
    used(this)
  }

  /** It stays open, unless it is closed by `close` or `replace`, until what this returns is called. */
  keepOpen(): () => void {
    this.#users++
    return () => {
      this.#users--
    }
  }

  closeIfIdle(): boolean {
    if (this.#fd === undefined) return true
    if (this.#locked !== undefined || this.#users > 0 || !this.#owner.mayClose()) return false
    try {
      this.#owner.closing?.()
      this.close()
    } catch (error) {
      this.#owner.closeFailed?.(error)
    }
    return true
  }

  /** Locks the file that is open, if nobody else has it locked. @throws what `tryFlock` throws */
  tryLock(mode: LockMode, path: string): boolean {
    if (!tryFlock(this.#fd as number, mode, path)) return false
    this.#locked = path
    return true
  }

  /** Where the system refuses, the file is closed, which drops the lock as well. */
  unlock(): void {
    if (this.#fd === undefined || this.#locked === undefined) return
    const locked = this.#locked
    this.#locked = undefined
    try {
      unflock(this.#fd, locked)
    } catch {
      this.close()
    }
    freed()
  }

  /**
   * Takes another one and gives the old one back; what the system says to that concerns nobody any more.
   * @param locked the file that is locked through the new one already
   */
  replace(fd: number, locked?: string): void {
    const [oldFd, oldLocked] = [this.#fd, this.#locked]
    this.#fd = fd
    this.#locked = locked
    if (oldFd === undefined) add(this)
    else if (oldLocked === undefined) closeQuietly(oldFd)
    else closeLocked(oldFd, oldLocked)
  }

  /** Closes it without unlocking: what is locked on it stays so as long as other processes have copies of it. */
  leaveToCopies(): void {
    this.#locked = undefined
    this.close()
  }

  /** Closes it, and drops what is locked on it. */
  close(): void {
    const [fd, locked] = [this.#fd, this.#locked]
    this.#fd = undefined
    this.#locked = undefined
    if (fd === undefined) return
    remove(this)
    if (locked !== undefined) unlockQuietly(fd, locked)
    closeSync(fd)
  }
}
