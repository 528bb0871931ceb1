import { constants, isUtf8 } from 'node:buffer'
import { fsyncSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { CorruptStoreError, LockLostError, type LockMode, StoreIoError } from '../../errors.ts'
import { TOO_LARGE, textOf } from '../../features/backup/text-format.ts'
import type { PathStat } from '../../os/file-stat.ts'
import { readRange, sync, syncNames, syncNamesSync } from '../../os/io.ts'
import { replaceFile, replaceFileSync, storeFailure } from '../../os/replace.ts'
import { DataFile } from '../data-file.ts'

/** What is new in the file. */
export type ImageNews =
  | { readonly kind: 'none' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'changed'; readonly size: number }

/** More cannot be one string, whatever the characters: one of its units takes three bytes at most. */
const MOST_BYTES = 3 * constants.MAX_STRING_LENGTH

/** A version of the file. */
type Known = Pick<PathStat, 'size' | 'changedUs'> & { readonly generation: number }

/**
 * The data file of an image or tree store: which version of it is loaded. Size and ctime tell rewriting in place
 * (never mtime: `cp -p`, rsync and tar set it).
 */
export class ImageFile {
  readonly path: string
  readonly #durable: boolean
  readonly #data: DataFile
  #known: Known | undefined
  #missing = false
  #mode = 0
  /** The known version that is on the disk, its name included. */
  #synced: object | undefined
  /** The one whose fsync failed: the page cache no longer tells what is on the disk. */
  #unsyncable: object | undefined

  readonly #isKnownText: (text: string) => boolean

  /** @param isKnownText whether this is the text that was read or written last */
  constructor(path: string, durable: boolean, isKnownText: (text: string) => boolean) {
    this.path = path
    this.#durable = durable
    this.#isKnownText = isKnownText
    this.#data = new DataFile(path, false)
  }

  /** Whether there was no file at the last look. */
  get isMissing(): boolean {
    return this.#missing
  }

  /** Type and permission bits of the file at the last look. */
  get mode(): number {
    return this.#mode
  }

  /** Does something with the open file that changes no content. Under the exclusive lock. */
  withOpen(run: (fd: number, mode: number) => void): void {
    const { isSynced } = this
    run(this.#data.fd, this.#mode)
    this.wrote()
    if (isSynced) this.#synced = this.#known
  }

  /**
   * Looks whether the file is still the version that was read last.
   * @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError
   */
  news(mode: LockMode): ImageNews {
    const found = this.#data.look(mode)
    this.#mode = found?.mode ?? 0
    const wasMissing = this.#missing
    this.#missing = !found
    if (!found) return wasMissing ? { kind: 'none' } : { kind: 'missing' }
    const known = this.#known
    const { generation } = this.#data
    if (
      known?.generation === generation &&
      known.size === found.size &&
      known.changedUs === found.changedUs
    ) {
      return { kind: 'none' }
    }
    this.#know(found)
    return { kind: 'changed', size: found.size }
  }

  /**
   * Whether the file still is what was read or written last; one of which only times or mode were changed (touch, chmod) is.
   * Where it is not, the next look reports it as changed.
   */
  isFresh(mode: LockMode): boolean | Promise<boolean> {
    const touched = this.#touched(mode)
    if (typeof touched === 'boolean') return touched
    const text = this.read(touched.size)
    return text instanceof Promise
      ? text.then((all) => this.#isSame(all, touched))
      : this.#isSame(text, touched)
  }

  #isFreshSync(): boolean {
    const touched = this.#touched('exclusive')
    return typeof touched === 'boolean' ? touched : this.#isSame(this.readSync(touched.size), touched)
  }

  /** The version that is there now, if it may have the text that is known. */
  #touched(mode: LockMode): boolean | Known {
    const known = this.#known
    const { kind } = this.news(mode)
    if (kind === 'none') return true
    const now = this.#known
    // Of the same content: what is on the disk of it, and what is not, is so still.
    if (known && this.#synced === known) this.#synced = now
    if (known && this.#unsyncable === known) this.#unsyncable = now
    this.forget()
    return kind === 'changed' && now && known?.generation === now.generation && known.size === now.size
      ? now
      : false
  }

  #isSame(text: string, now: Known): boolean {
    if (!this.#isKnownText(text)) return false
    this.#known = now
    return true
  }

  /** The text of the version that `news` reported as changed. */
  read(size: number): string | Promise<string> {
    if (size > MOST_BYTES) throw this.#tooLarge(size)
    const bytes = readRange(this.#data.fd, 0, size)
    return 'then' in bytes ? bytes.then((all) => this.#decode(all)) : this.#decode(bytes)
  }

  readSync(size: number): string {
    if (size > MOST_BYTES) throw this.#tooLarge(size)
    return this.#decode(readRange(this.#data.fd, 0, size, true) as Buffer)
  }

  /** The next look reports the file as changed, whatever it finds. */
  forget(): void {
    this.#known = undefined
    this.#missing = false
  }

  /**
   * Replaces the file. Only under the exclusive lock, after `news`. There is one more look, at the last moment: what was
   * written meanwhile would be lost.
   */
  async replace(text: string): Promise<void> {
    if (!(await this.isFresh('exclusive'))) throw this.changedMeanwhile()
    this.requireWritable()
    this.#know(this.#data.adopt(await replaceFile(this.path, Buffer.from(text), this.#how()), true))
    if (this.#durable) this.#synced = this.#known
  }

  replaceSync(text: string): void {
    if (!this.#isFreshSync()) throw this.changedMeanwhile()
    this.requireWritable()
    this.#know(this.#data.adopt(replaceFileSync(this.path, Buffer.from(text), this.#how()), true))
    if (this.#durable) this.#synced = this.#known
  }

  /** Whether what was read or written last is known to be on the disk; where there is no file, that is never known. */
  get isSynced(): boolean {
    return this.#known !== undefined && this.#synced === this.#known
  }

  /** An fsync of it has failed: only when it is written anew can it be known to be on the disk. */
  get isUnsyncable(): boolean {
    return this.#known !== undefined && this.#unsyncable === this.#known
  }

  /**
   * Makes what was read or written last survive power loss, or its removal. The lock need not be held.
   * @throws StoreIoError; where fsync fails, again and again until the file is another one
   */
  async sync(): Promise<void> {
    const known = this.#known
    try {
      if (this.isUnsyncable) throw unsyncable()
      if (known) await this.#syncContent(known)
      await syncNames(this.path)
      this.#synced = known
    } catch (cause) {
      throw storeFailure(this.path, 'sync', cause)
    }
  }

  /** As `sync`, blocking the thread. */
  syncBlocking(): void {
    const known = this.#known
    try {
      if (this.isUnsyncable) throw unsyncable()
      if (known) this.#syncContentBlocking(known)
      syncNamesSync(this.path)
      this.#synced = known
    } catch (cause) {
      throw storeFailure(this.path, 'sync', cause)
    }
  }

  #syncContentBlocking(known: object): void {
    const { generation } = this.#data
    this.#data.reopen()
    if (!this.#data.isOpen || this.#data.generation !== generation) return
    try {
      fsyncSync(this.#data.fd)
    } catch (error) {
      this.#unsyncable = known
      throw error
    }
  }

  async #syncContent(known: object): Promise<void> {
    const { generation } = this.#data
    this.#data.reopen()
    // It was replaced meanwhile, by what was synced before.
    if (!this.#data.isOpen || this.#data.generation !== generation) return
    const done = this.#data.keepOpen()
    try {
      await sync(this.#data.fd)
    } catch (error) {
      // Else it was replaced meanwhile, by what was synced before.
      if (!this.#data.isOpen || this.#data.generation !== generation) return
      this.#unsyncable = known
      throw error
    } finally {
      done()
    }
  }

  /** A mode without any write permission is respected. */
  requireWritable(): void {
    this.#data.requireWritable()
  }

  /** Somebody else (the store's own driver) has just written the file under our lock: this is the known version now. */
  wrote(): void {
    const found = this.#data.look('exclusive')
    this.#mode = found?.mode ?? 0
    if (found) this.#know(found)
  }

  changedMeanwhile(): LockLostError {
    return new LockLostError(
      `${this.path} was changed while an operation on it ran: by another store object inside that operation, or by a ` +
        'program that does not lock. Nothing was overwritten; do it again.',
      { path: this.path },
    )
  }

  unlockData(): void {
    this.#data.unlock()
  }

  close(): void {
    this.forget()
    this.#data.close()
  }

  /** Bytes that are no text would be read as U+FFFD, and the next write would make that final. */
  #decode(bytes: Buffer): string {
    if (isUtf8(bytes)) {
      const text = textOf(bytes)
      if (text === undefined) throw this.#tooLarge(bytes.length)
      return text
    }
    const { line, byte } = firstNoText(bytes)
    throw new CorruptStoreError(
      `${this.path} is not valid UTF-8 (line ${line}, byte ${byte}). It was left as it is; mend or remove it.`,
      {
        path: this.path,
        line,
        byte,
      },
    )
  }

  #tooLarge(size: number): StoreIoError {
    return new StoreIoError(
      `cannot read ${this.path}: with ${Math.round(size / 2 ** 20)} MB ${TOO_LARGE}. It was left as it is, and may be whole; ` +
        'divide it, or keep so much in a store of lines (NeDB).',
      { path: this.path },
    )
  }

  #know({ size, changedUs }: PathStat): void {
    this.#known = { generation: this.#data.generation, size, changedUs }
    this.#missing = false
  }

  #how(): { temp: string; newMode: number; durable: boolean } {
    // One name is enough under the lock; NeDB's and lowdb's own temp names are left alone.
    const temp = join(dirname(this.path), `.${basename(this.path)}.pslock.tmp`)
    return { temp, newMode: 0o666, durable: this.#durable }
  }
}

function unsyncable(): Error {
  return new Error('an fsync of this version has failed before')
}

/** Where the first bytes are that are no UTF-8: behind the longest beginning that is, decoded as far as it goes. */
function firstNoText(bytes: Buffer): { line: number; byte: number } {
  let line = 1
  for (let start = 0; ; line++) {
    const newline = bytes.indexOf(10, start)
    const end = newline === -1 ? bytes.length : newline + 1
    if (!isUtf8(bytes.subarray(start, end)) || newline === -1) {
      const text = bytes.toString('utf8', start, end)
      const same = Buffer.from(text)
      let byte = start
      while (byte < end && same[byte - start] === bytes[byte]) byte++
      return { line, byte }
    }
    start = end
  }
}
