import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { CorruptStoreError, errnoOf, LockLostError, type LockMode } from '../../errors.ts'
import { readRange } from '../../os/data-io.ts'
import { tryFlock, unflock } from '../../os/flock.ts'
import { noWritePermission, replaceFile, replaceFileSync, storeFailure } from '../../os/replace.ts'

/** What is new in the file. */
export type ImageNews =
  | { readonly kind: 'none' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'changed'; readonly size: number }

/**
 * The data file of an image store: which version of it is loaded. The descriptor of that version is held open, so that
 * its inode number cannot come back; size and ctime tell rewriting in place (never mtime: `cp -p`, rsync and tar set
 * it).
 */
export class ImageFile {
  readonly path: string
  readonly #durable: boolean
  #fd: number | undefined
  #known: { readonly size: bigint; readonly ctimeNs: bigint } | undefined
  #missing = false
  #dev = 0n
  #ino = 0n
  #locked = false
  #readOnly = false

  constructor(path: string, durable: boolean) {
    this.path = path
    this.#durable = durable
  }

  /**
   * Looks whether the file is still the version that was read last.
   * @throws LockLostError when a writer that uses another lock file has it locked, StoreIoError
   */
  news(mode: LockMode): ImageNews {
    for (;;) {
      if (this.#fd !== undefined && mode === 'exclusive') this.#lockData()
      const found = this.#stat()
      if (!found) {
        this.close()
        if (this.#missing) return { kind: 'none' }
        this.#missing = true
        return { kind: 'missing' }
      }
      this.#missing = false
      if (this.#fd !== undefined && found.ino === this.#ino && found.dev === this.#dev) {
        const known = this.#known
        this.#readOnly = (found.mode & 0o222n) === 0n
        if (known && known.size === found.size && known.ctimeNs === found.ctimeNs) return { kind: 'none' }
        this.#known = { size: found.size, ctimeNs: found.ctimeNs }
        return { kind: 'changed', size: Number(found.size) }
      }
      this.close()
      this.#open()
    }
  }

  /** Whether there was no file at the last look. */
  get isMissing(): boolean {
    return this.#missing
  }

  /** The text of the version that `news` reported as changed. */
  read(size: number): string | Promise<string> {
    const bytes = readRange(this.#fd as number, 0, size)
    return bytes instanceof Promise ? bytes.then((all) => this.#decode(all)) : this.#decode(bytes)
  }

  readSync(size: number): string {
    return this.#decode(readRange(this.#fd as number, 0, size, true) as Buffer)
  }

  /** The next look reports the file as changed, whatever it finds. */
  forget(): void {
    this.#known = undefined
    this.#missing = false
  }

  /** Replaces the file. Only under the exclusive lock, after `news`. */
  async replace(text: string): Promise<void> {
    this.#requireWritable()
    this.#adopt(await replaceFile(this.path, Buffer.from(text), this.#how()))
  }

  replaceSync(text: string): void {
    this.#requireWritable()
    this.#adopt(replaceFileSync(this.path, Buffer.from(text), this.#how()))
  }

  /** Somebody else (the store's own adapter) has just written the file under our lock: this is the known version now. */
  wrote(): void {
    this.close()
    if (this.#open()) {
      const found = fstatSync(this.#fd as number, { bigint: true })
      this.#known = { size: found.size, ctimeNs: found.ctimeNs }
    }
  }

  unlockData(): void {
    if (!this.#locked || this.#fd === undefined) return
    this.#locked = false
    unflock(this.#fd, this.path)
  }

  close(): void {
    if (this.#fd === undefined) return
    const fd = this.#fd
    this.#fd = undefined
    this.#known = undefined
    this.#locked = false
    closeSync(fd)
  }

  #how(): { temp: string; newMode: number; durable: boolean } {
    // One name is enough under the lock; NeDB's and lowdb's own temp names are left alone.
    const temp = join(dirname(this.path), `.${basename(this.path)}.pslock.tmp`)
    return { temp, newMode: 0o666, durable: this.#durable }
  }

  #adopt(fd: number): void {
    this.close()
    const found = fstatSync(fd, { bigint: true })
    this.#fd = fd
    this.#dev = found.dev
    this.#ino = found.ino
    this.#known = { size: found.size, ctimeNs: found.ctimeNs }
    this.#locked = true
    this.#missing = false
  }

  #decode(bytes: Buffer): string {
    return bytes.toString('utf8')
  }

  #requireWritable(): void {
    if (this.#readOnly && this.#fd !== undefined)
      throw storeFailure(this.path, 'write', noWritePermission(this.path))
  }

  #lockData(): void {
    if (this.#locked) return
    if (!tryFlock(this.#fd as number, 'exclusive', this.path)) {
      throw new LockLostError(
        `${this.path} is being written by a process that does not use our lock file: the lock file was deleted or ` +
          'differs (another lockPath, a hard link, a bind mount). Use the same path everywhere and leave the lock file.',
        { path: this.path },
      )
    }
    this.#locked = true
  }

  #stat(): BigIntStats | undefined {
    try {
      return statSync(this.path, { bigint: true, throwIfNoEntry: false })
    } catch (error) {
      throw storeFailure(this.path, 'look at', error)
    }
  }

  #open(): boolean {
    try {
      const fd = openSync(this.path, constants.O_RDONLY)
      const found = fstatSync(fd, { bigint: true })
      if (!found.isFile()) {
        closeSync(fd)
        throw new CorruptStoreError(`${this.path} is not a regular file and cannot be a data file`, {
          path: this.path,
        })
      }
      this.#fd = fd
      this.#dev = found.dev
      this.#ino = found.ino
      this.#known = undefined
      return true
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false
      throw storeFailure(this.path, 'open', error)
    }
  }
}
