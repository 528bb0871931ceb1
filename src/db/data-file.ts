import { accessSync, constants, openSync } from 'node:fs'
import { CorruptStoreError, errnoOf, LockLostError, type LockMode } from '../errors.ts'
import { closeLocked, Descriptor } from '../os/descriptor.ts'
import { type Named, NamedFile } from '../os/named-file.ts'
import { noWritePermission, storeFailure } from '../os/replace.ts'

/**
 * The data file of a store, held open.
 *
 * "Is it still the file I know?" is asked of the *held* descriptor: as long as it is open its inode number cannot be
 * given to another file (bare numbers came back in 10 of 20 replacements).
 *
 * Under an exclusive lock the data file itself is locked too: a deleted lock file, a hard link or a bind mount give two
 * lock files for one data file, and this is where that shows.
 */
export class DataFile {
  readonly path: string
  readonly #appends: boolean
  readonly #descriptor = new Descriptor()
  readonly #named: NamedFile
  #readOnly = false
  /** It was opened for reading only, since writing was not permitted. */
  #isFallback = false
  #generation = 0

  constructor(path: string, appends: boolean) {
    this.path = path
    this.#named = new NamedFile(path)
    this.#appends = appends
  }

  get isOpen(): boolean {
    return this.#descriptor.fd !== undefined
  }

  /** The open descriptor. Only while `isOpen`. */
  get fd(): number {
    return this.#descriptor.fd as number
  }

  /** Changes whenever another file is open than before: what was known of the old one means nothing. */
  get generation(): number {
    return this.#generation
  }

  /**
   * Opens the file that the path names now, if it is not the one that is open; undefined where there is none.
   * @param withTime see `NamedFile.look`
   * @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError
   */
  look(mode: LockMode, withTime = true): Named | undefined {
    // The permission to write may have come back meanwhile.
    if (this.#isFallback && mode === 'exclusive' && isWritable(this.path)) this.close()
    for (;;) {
      if (this.isOpen && mode === 'exclusive') this.#lock()
      const found = this.#stat(() => this.#named.look(withTime))
      if (!found) {
        this.close()
        return undefined
      }
      if (this.isOpen && found.isOpenHere) {
        this.#readOnly = (found.mode & 0o222) === 0
        return found
      }
      this.close()
      this.#open()
    }
  }

  /** Creates the file, empty. Only under the exclusive lock, when there is none. */
  create(mode: number): void {
    try {
      const { O_RDWR, O_APPEND, O_CREAT, O_EXCL } = constants
      this.adopt(openSync(this.path, O_RDWR | O_APPEND | O_CREAT | O_EXCL, mode), false)
    } catch (error) {
      throw storeFailure(this.path, 'create', error)
    }
    this.#lock()
  }

  /** This descriptor is the file now. */
  adopt(fd: number, locked: boolean): Named {
    let found: Named
    try {
      found = this.#stat(() => this.#named.opened(fd))
      if ((found.mode & constants.S_IFMT) !== constants.S_IFREG) {
        throw new CorruptStoreError(`${this.path} is not a regular file and cannot be a data file`, {
          path: this.path,
        })
      }
    } catch (error) {
      closeLocked(fd, this.path)
      throw error
    }
    this.#descriptor.replace(fd, locked ? this.path : undefined)
    this.#readOnly = false
    this.#isFallback = false
    this.#generation++
    return found
  }

  /** A mode without any write permission is respected, also where a rename, or root, could get past it. */
  requireWritable(): void {
    if (this.isOpen && this.#readOnly) throw storeFailure(this.path, 'write', noWritePermission(this.path))
  }

  /** The last act of a writer under the lock. */
  unlock(): void {
    this.#descriptor.unlock()
  }

  close(): void {
    this.#isFallback = false
    try {
      this.#descriptor.close()
    } catch (error) {
      throw storeFailure(this.path, 'close', error)
    }
  }

  #lock(): void {
    if (this.#descriptor.isLocked) return
    if (!this.#descriptor.tryLock('exclusive', this.path)) {
      throw new LockLostError(
        `${this.path} is being written by a process that does not use our lock file: the lock file was deleted or ` +
          'differs (another lockPath, a hard link, a bind mount). Use the same path everywhere and leave the lock file.',
        { path: this.path },
      )
    }
  }

  #stat<T>(look: () => T): T {
    try {
      return look()
    } catch (error) {
      throw storeFailure(this.path, 'look at', error)
    }
  }

  #open(): void {
    // O_NONBLOCK: to open a FIFO for reading would block the thread until somebody writes into it.
    const { O_RDWR, O_RDONLY, O_APPEND, O_NONBLOCK } = constants
    try {
      this.adopt(openSync(this.path, (this.#appends ? O_RDWR | O_APPEND : O_RDONLY) | O_NONBLOCK), false)
    } catch (error) {
      const code = errnoOf(error) ?? ''
      if (code === 'ENOENT') return
      // A read-only file can be read; a write to it fails with what the system says.
      if (this.#appends && ['EACCES', 'EROFS', 'EPERM'].includes(code)) {
        this.adopt(openSync(this.path, O_RDONLY | O_NONBLOCK), false)
        this.#isFallback = true
        return
      }
      throw storeFailure(this.path, 'open', error)
    }
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}
