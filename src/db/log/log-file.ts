import { type BigIntStats, fstatSync, fsyncSync, ftruncateSync, type Stats, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, type LockMode } from '../../errors.ts'
import { keepAside } from '../../os/aside.ts'
import { readNow, readRange, sync, syncFolder, type Written, writeAt, writeAtSync } from '../../os/data-io.ts'
import { keepOwner, replaceFile, storeFailure } from '../../os/replace.ts'
import { DataFile } from '../data-file.ts'
import { isPlain } from './scan.ts'

/** How many of the last applied bytes are compared to notice a file that was rewritten in place. */
const REMEMBERED_BYTES = 32

/** More than this is not passed over but applied: a read of this much blocks the thread for half a millisecond. */
const PASS_OVER_BYTES = 4 * 2 ** 20

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
 * The data file of a log store: which version of it is loaded, how far, and how to add to it. Rewriting in place (`cp
 * backup db`) keeps the inode, so the last applied bytes are read again, in the same call as the tail, and compared.
 */
export class LogFile {
  readonly path: string
  readonly #fileMode: number
  readonly #data: DataFile
  /** The generation of the data file whose content was applied, up to `#applied`; -1: none. */
  #known = -1
  #applied = 0
  /** What lies between `#applied` and here has been passed over: it is read when somebody needs it. */
  #end = 0
  #remembered: Buffer = Buffer.alloc(0)
  #synced = 0
  /** The ctime of the last look; undefined after a change of our own. */
  #changedNs: bigint | undefined

  constructor(path: string, fileMode: number) {
    this.path = path
    this.#fileMode = fileMode
    this.#data = new DataFile(path, true)
  }

  /** Where the next unit goes: the end of what is known, which is the end of the file while we hold the lock. */
  get end(): number {
    return this.#end
  }

  /** Where that begins which the next `tail` brings. */
  get applied(): number {
    return this.#applied
  }

  get exists(): boolean {
    return this.#data.isOpen
  }

  /** Whether everything that was read or written through this descriptor is known to be on the disk. */
  get isSynced(): boolean {
    return this.#synced >= this.#end
  }

  /** Looks at the file. @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError */
  news(mode: LockMode): News | Promise<News> {
    const found = this.#data.look(mode)
    if (!found) return { kind: 'missing' }
    const size = Number(found.size)
    const isKnown = this.#known === this.#data.generation
    const isEdited = isKnown && this.#isEdited(found)
    this.#changedNs = found.ctimeNs
    return isKnown && !isEdited ? this.#tail(size) : this.#all(size)
  }

  /**
   * Passes over what is new, so that an operation which needs none of it may append.
   * @returns false where that may be more than whole units of documents: look at `news`
   */
  passOver(mode: LockMode): boolean {
    const found = this.#data.look(mode)
    if (!found || this.#known !== this.#data.generation) return false
    const size = Number(found.size)
    const from = this.#end - this.#remembered.length
    if (size < this.#end || size - from > PASS_OVER_BYTES || this.#isEdited(found)) return false
    const tail = this.#behindKnown(readNow(this.#data.fd, from, size - from))
    if (tail?.length !== size - this.#end || (tail.length > 0 && !isPlain(tail))) return false
    this.#changedNs = found.ctimeNs
    this.#end = size
    this.#remember(tail, false)
    return true
  }

  /** All of the file, blocking the thread; undefined where there is none. What of it is whole must be applied. */
  readBlocking(mode: LockMode): Buffer | undefined {
    const found = this.#data.look(mode)
    return found && readNow(this.#data.fd, 0, Number(found.size))
  }

  /** Whether the file is, to its end, what was read or written here. */
  async isFresh(): Promise<boolean> {
    const { exists } = this
    const { kind } = await this.news('exclusive')
    // What was rewritten in place has been looked at now, but not read.
    if (kind === 'replaced') this.forget()
    return kind === 'none' || (kind === 'missing' && !exists)
  }

  /** The complete units of the news end after `length` bytes; what follows is not applied. */
  apply(bytes: Buffer, kind: 'replaced' | 'tail', length: number): void {
    const anew = kind === 'replaced'
    if (anew && this.#known !== this.#data.generation) this.#synced = 0
    this.#known = this.#data.generation
    this.#applied = (anew ? 0 : this.#applied) + length
    this.#end = this.#applied
    this.#remember(bytes.subarray(0, length), anew)
  }

  /** Removes the file, and what a crashed compaction of vanilla's may have left beside it. */
  remove(): void {
    this.close()
    for (const path of [this.path, `${this.path}~`]) {
      try {
        unlinkSync(path)
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw storeFailure(path, 'remove', error)
      }
    }
  }

  /** Forgets what was applied: the next look reads everything. */
  forget(): void {
    this.#known = -1
  }

  /** Adds bytes at the end. Creates the file if there is none. @returns how much is in the file now */
  append(data: Buffer): Written | Promise<Written> {
    this.#data.requireWritable()
    if (!this.exists) this.create()
    return writeAt(this.#data.fd, data, this.#end)
  }

  /** The first `length` bytes of what was appended are whole units and stay; a rest is cut off. */
  appended(data: Buffer, length: number, written: number): void {
    if (this.#applied === this.#end) this.#applied += length
    this.#end += length
    this.#changedNs = undefined
    this.#remember(data.subarray(0, length), false)
    if (written > length) ftruncateSync(this.#data.fd, this.#end)
  }

  /** Gives the last line, which was applied, the line feed that it lacks. */
  terminate(): void {
    const feed = Buffer.from('\n')
    const { error } = writeAtSync(this.#data.fd, feed, this.#end)
    if (error !== undefined) throw storeFailure(this.path, 'mend the end of', error)
    this.appended(feed, 1, 1)
  }

  /** Cuts off what follows the last complete unit. @returns where it is kept */
  cutTail(tail: Buffer): string {
    try {
      const kept = keepAside(this.path, 'torn', tail)
      this.#changedNs = undefined
      ftruncateSync(this.#data.fd, this.#end)
      fsyncSync(this.#data.fd)
      return kept
    } catch (error) {
      throw storeFailure(this.path, 'mend the end of', error)
    }
  }

  /** Creates an empty file. Only under the exclusive lock. @param like the file that it belongs to */
  create(like?: Stats): void {
    this.#data.create(this.#fileMode)
    if (like) keepOwner(this.#data.fd, like, like.mode & 0o7777)
    this.#changedNs = undefined
    this.apply(Buffer.alloc(0), 'replaced', 0)
  }

  /** Replaces the whole file (compaction). */
  async replace(content: Buffer, durable: boolean): Promise<void> {
    this.#data.requireWritable()
    const fd = await replaceFile(this.path, content, {
      temp: `${this.path}~`,
      newMode: this.#fileMode,
      durable,
    })
    this.#data.adopt(fd, true)
    this.#changedNs = undefined
    this.apply(content, 'replaced', content.length)
    this.#synced = content.length
  }

  /** Changes whenever another file is open than before. */
  get generation(): number {
    return this.#data.generation
  }

  /** Makes what is written so far survive power loss. It may run after the lock is released. */
  async syncNow(newName: boolean): Promise<void> {
    if (!this.exists) return
    const upTo = this.#end
    const { generation, fd } = this.#data
    const isStillOpen = () => this.exists && this.generation === generation
    try {
      await sync(fd)
    } catch (error) {
      // Else it was replaced meanwhile, by what has all of it and was synced.
      if (isStillOpen()) throw error
    }
    if (newName) await syncFolder(dirname(this.path))
    if (isStillOpen()) this.#synced = Math.max(this.#synced, upTo)
  }

  /** As `syncNow`, blocking the thread. */
  syncBlocking(): void {
    fsyncSync(this.#data.fd)
    this.#synced = this.#end
  }

  /** Drops the lock on the data file; the last act of a writer under the lock. */
  unlockData(): void {
    this.#data.unlock()
  }

  close(): void {
    this.forget()
    this.#data.close()
  }

  /** No byte more or fewer, and yet changed since we looked: somebody edited it in place. */
  #isEdited({ size, ctimeNs }: BigIntStats): boolean {
    return Number(size) === this.#end && (this.#changedNs ?? ctimeNs) !== ctimeNs
  }

  async #tail(size: number): Promise<News> {
    const { fd } = this.#data
    const from = this.#end - this.#remembered.length
    // One call reads what must be unchanged and what is new.
    const tail = this.#behindKnown(await readRange(fd, from, Math.max(size, this.#end) - from))
    if (!tail) return this.#all(fstatSync(fd).size)
    if (this.#applied === this.#end)
      return tail.length === 0 ? { kind: 'none' } : { kind: 'tail', bytes: tail }
    const passedOver = await readRange(fd, this.#applied, this.#end - this.#applied)
    return { kind: 'tail', bytes: Buffer.concat([passedOver, tail]) }
  }

  /** What follows the last known bytes; undefined where those are not what they were. */
  #behindKnown(bytes: Buffer): Buffer | undefined {
    const known = this.#remembered.length
    if (bytes.length < known || !bytes.subarray(0, known).equals(this.#remembered)) return undefined
    return bytes.subarray(known)
  }

  #all(size: number): News | Promise<News> {
    const reading = readRange(this.#data.fd, 0, size)
    return reading instanceof Promise
      ? reading.then((bytes) => ({ kind: 'replaced', bytes }))
      : { kind: 'replaced', bytes: reading }
  }

  #remember(bytes: Buffer, anew: boolean): void {
    const known = anew || bytes.length >= REMEMBERED_BYTES ? bytes : Buffer.concat([this.#remembered, bytes])
    this.#remembered = Buffer.from(known.subarray(Math.max(0, known.length - REMEMBERED_BYTES)))
  }
}
