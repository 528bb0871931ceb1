import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { CorruptStoreError, errnoOf, LockLostError, type LockMode } from '../../errors.ts'
import { readRange, sync, syncFolder, type Written, writeAt, writeAtSync } from '../../os/data-io.ts'
import { tryFlock, unflock } from '../../os/flock.ts'
import { noWritePermission, replaceFile, storeFailure } from '../../os/replace.ts'

/** How many of the last applied bytes are compared to notice a file that was rewritten in place. */
const REMEMBERED_BYTES = 32

/** What is new in the file since this process last looked. */
export type News =
  | { readonly kind: 'none' }
  /** The store is empty: there is no file. */
  | { readonly kind: 'missing' }
  /** Another file, or another content: everything must be read anew. `bytes` is all of it. */
  | { readonly kind: 'replaced'; readonly bytes: Buffer }
  /** Only this came behind what is known. */
  | { readonly kind: 'tail'; readonly bytes: Buffer }

/**
 * The data file of a log store: which version of it is loaded, how far, and how to add to it.
 *
 * "Is it still the file I know?" is asked of a *held* descriptor: as long as it is open its inode number cannot be
 * given to another file (bare numbers came back in 10 of 20 replacements). Rewriting in place (`cp backup db`) keeps
 * the inode, so the last applied bytes are read again, in the same call as the tail, and compared.
 */
export class LogFile {
  readonly path: string
  readonly #fileMode: number
  #fd: number | undefined
  #dev = 0n
  #ino = 0n
  #applied = 0
  #remembered: Buffer = Buffer.alloc(0)
  #synced = 0
  #locked = false
  /** Marked read-only: respected even where the system would let root write. */
  #readOnly = false
  /** Whether this descriptor's content was applied, up to `#applied`. */
  #known = false

  constructor(path: string, fileMode: number) {
    this.path = path
    this.#fileMode = fileMode
  }

  /** Where the next unit goes: the end of what is known, which is the end of the file while we hold the lock. */
  get end(): number {
    return this.#applied
  }

  get exists(): boolean {
    return this.#fd !== undefined
  }

  /** Whether everything that was read or written through this descriptor is known to be on the disk. */
  get isSynced(): boolean {
    return this.#synced >= this.#applied
  }

  /**
   * Looks at the file. Under an exclusive lock the data file itself is locked too: a deleted lock file, a hard link or
   * a bind mount give two lock files for one data file, and this is where that shows.
   * @throws LockLostError when another writer has the data file locked, StoreIoError
   */
  news(mode: LockMode): News | Promise<News> {
    for (;;) {
      if (this.#fd !== undefined && mode === 'exclusive') this.#lockData()
      const found = this.#stat()
      if (!found) {
        this.close()
        return { kind: 'missing' }
      }
      if (this.#fd !== undefined && found.ino === this.#ino && found.dev === this.#dev) {
        this.#readOnly = (found.mode & 0o222n) === 0n
        return this.#known ? this.#tail(Number(found.size)) : this.#all(found)
      }
      this.close()
      if (!this.#open()) continue
    }
  }

  /** The complete units of the news end here; what follows is not applied. */
  applied(bytes: Buffer, kind: 'replaced' | 'tail', length: number): void {
    this.#applied = (kind === 'replaced' ? 0 : this.#applied) + length
    if (length > 0 || kind === 'replaced') this.#remember(bytes.subarray(0, length), kind === 'replaced')
    if (kind === 'replaced') this.#synced = 0
    this.#known = true
  }

  /** Forgets what was applied: the next look reads everything. */
  forget(): void {
    this.#known = false
    this.#applied = 0
    this.#remembered = Buffer.alloc(0)
  }

  /** Adds bytes at the end. Creates the file if there is none. @returns how much is in the file now */
  async append(data: Buffer): Promise<Written> {
    if (this.#fd === undefined) this.create()
    if (this.#readOnly) return { bytes: 0, error: noWritePermission(this.path) }
    const writing = writeAt(this.#fd as number, data, this.#applied)
    return writing instanceof Promise ? await writing : writing
  }

  /** The first `length` bytes of what was appended are whole units and stay; a rest is cut off. */
  appended(data: Buffer, length: number, written: number): void {
    this.#applied += length
    this.#remember(data.subarray(0, length), false)
    if (written > length) ftruncateSync(this.#fd as number, this.#applied)
  }

  /** Gives the last line, which was applied, the line feed that it lacks. */
  terminate(): void {
    const feed = Buffer.from('\n')
    const { error } = writeAtSync(this.#fd as number, feed, this.#applied)
    if (error !== undefined) throw storeFailure(this.path, 'mend the end of', error)
    this.appended(feed, 1, 1)
  }

  /** Cuts off what follows the last complete unit. @returns where it is kept */
  cutTail(tail: Buffer): string {
    const fd = this.#fd as number
    try {
      const kept = keepAside(this.path, 'torn', tail)
      ftruncateSync(fd, this.#applied)
      fsyncSync(fd)
      return kept
    } catch (error) {
      throw storeFailure(this.path, 'mend the end of', error)
    }
  }

  /** Creates an empty file. Only under the exclusive lock. */
  create(): void {
    try {
      const { O_RDWR, O_APPEND, O_CREAT, O_EXCL } = constants
      this.#adopt(openSync(this.path, O_RDWR | O_APPEND | O_CREAT | O_EXCL, this.#fileMode))
      this.#known = true
    } catch (error) {
      throw storeFailure(this.path, 'create', error)
    }
    this.#lockData()
  }

  /** Replaces the whole file (compaction). */
  async replace(content: Buffer, durable: boolean): Promise<void> {
    if (this.#readOnly && this.#fd !== undefined)
      throw storeFailure(this.path, 'write', noWritePermission(this.path))
    const fd = await replaceFile(this.path, content, {
      temp: `${this.path}~`,
      newMode: this.#fileMode,
      durable,
    })
    this.close()
    this.#adopt(fd)
    this.#locked = true
    this.#known = true
    this.#applied = content.length
    this.#synced = content.length
    this.#remember(content, true)
  }

  /** Makes what is written so far survive power loss. Allowed after the lock is released: see RELIABILITY in docs. */
  async syncNow(newName: boolean): Promise<void> {
    if (this.#fd === undefined) return
    const upTo = this.#applied
    await sync(this.#fd)
    if (newName) await syncFolder(dirname(this.path))
    this.#synced = Math.max(this.#synced, upTo)
  }

  /** Drops the lock on the data file; the last act of a writer under the lock. */
  unlockData(): void {
    if (!this.#locked || this.#fd === undefined) return
    this.#locked = false
    unflock(this.#fd, this.path)
  }

  close(): void {
    if (this.#fd === undefined) return
    const fd = this.#fd
    this.#fd = undefined
    this.#locked = false
    this.forget()
    closeSync(fd)
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
    const { O_RDWR, O_RDONLY, O_APPEND } = constants
    try {
      try {
        this.#adopt(openSync(this.path, O_RDWR | O_APPEND))
      } catch (error) {
        // A read-only file can be read; a write to it fails with what the system says.
        if (!['EACCES', 'EROFS', 'EPERM'].includes(errnoOf(error) ?? '')) throw error
        this.#adopt(openSync(this.path, O_RDONLY))
      }
      return true
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false
      throw storeFailure(this.path, 'open', error)
    }
  }

  #adopt(fd: number): void {
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
    this.forget()
    this.#synced = 0
  }

  #tail(size: number): News | Promise<News> {
    const known = this.#remembered.length
    const from = this.#applied - known
    const length = Math.max(size - from, known)
    // One call reads what must be unchanged and what is new.
    const reading = readRange(this.#fd as number, from, length)
    return reading instanceof Promise ? reading.then((bytes) => this.#judge(bytes)) : this.#judge(reading)
  }

  #judge(bytes: Buffer): News | Promise<News> {
    const known = this.#remembered.length
    if (bytes.length < known || !bytes.subarray(0, known).equals(this.#remembered)) {
      return this.#all(fstatSync(this.#fd as number, { bigint: true }))
    }
    return bytes.length === known ? { kind: 'none' } : { kind: 'tail', bytes: bytes.subarray(known) }
  }

  #all(found: BigIntStats): News | Promise<News> {
    const reading = readRange(this.#fd as number, 0, Number(found.size))
    return reading instanceof Promise
      ? reading.then((bytes) => ({ kind: 'replaced', bytes }))
      : { kind: 'replaced', bytes: reading }
  }

  #remember(bytes: Buffer, anew: boolean): void {
    const known = anew || bytes.length >= REMEMBERED_BYTES ? bytes : Buffer.concat([this.#remembered, bytes])
    this.#remembered = Buffer.from(known.subarray(Math.max(0, known.length - REMEMBERED_BYTES)))
  }
}

/** Keeps bytes that are about to leave the file in `<file>.<kind>-<n>`: evidence is never erased. */
export function keepAside(path: string, kind: 'torn' | 'corrupt', bytes: Buffer): string {
  const mode = (statSync(path, { throwIfNoEntry: false })?.mode ?? 0o600) & 0o666
  for (let n = 1; ; n++) {
    const name = `${path}.${kind}-${n}`
    try {
      writeFileSync(name, bytes, { flag: 'wx', flush: true, mode })
      return name
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || n > 9999) throw error
    }
  }
}
