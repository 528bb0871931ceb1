import { fstatSync, fsyncSync, ftruncateSync, type Stats, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, type LockMode } from '../../errors.ts'
import { keepAside } from '../../os/aside.ts'
import { readNow, readRange, sync, syncFolder, type Written, writeAt, writeAtSync } from '../../os/data-io.ts'
import type { Named } from '../../os/named-file.ts'
import { keepOwner, replaceFile, storeFailure } from '../../os/replace.ts'
import { DataFile } from '../data-file.ts'
import { KnownLog } from './known-log.ts'
import { type News, NONE, type None, type Tail } from './news.ts'
import { isPlain } from './scan.ts'

/**
 * More than this is not read at once, with the lock or without: to read and parse it blocks the thread for some ten
 * milliseconds. The reading itself, of what was just written, takes 0.1 ms; by libuv's pool it takes half a millisecond in
 * a crowd, in each turn.
 */
const AT_ONCE_BYTES = 2 ** 20

/**
 * More than this is not passed over but applied. To search so much takes ten milliseconds, to apply it some hundred; so it
 * must be far more than a crowd writes between two turns of a process: with 4 MB each turn made the next ones longer, until
 * 50 processes inserted 400 records a second together.
 */
const PASS_OVER_BYTES = 64 * 2 ** 20

/**
 * The data file of a log store: which version of it is loaded, how far, and how to add to it. Rewriting in place (`cp
 * backup db`) keeps the inode, so the last applied bytes are read again, in the same call as the tail, and compared.
 */
export class LogFile {
  readonly path: string
  readonly #fileMode: number
  readonly #data: DataFile
  readonly #known = new KnownLog()

  constructor(path: string, fileMode: number) {
    this.path = path
    this.#fileMode = fileMode
    this.#data = new DataFile(path, true)
  }

  /** Where the next unit goes: the end of what is known, which is the end of the file while we hold the lock. */
  get end(): number {
    return this.#known.end
  }

  /** Where that begins which the next `tail` brings. */
  get applied(): number {
    return this.#known.applied
  }

  get exists(): boolean {
    return this.#data.isOpen
  }

  /** Whether everything that was read or written through this descriptor is known to be on the disk. */
  get isSynced(): boolean {
    return this.#known.isSynced
  }

  /** Looks at the file. @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError */
  news(mode: LockMode): News | Promise<News> {
    const found = this.#data.look(mode)
    if (!found) return { kind: 'missing' }
    const isSame = this.#isKnown && !this.#known.isEdited(found)
    this.#known.looked(found)
    return isSame ? this.#tail(found.size) : this.#all(found.size)
  }

  /** As `news`, at once, and in mode 'shared' also without the lock; undefined where that takes the lock, or too long. */
  newsNow(mode: LockMode): None | Tail | undefined {
    const known = this.#known
    let found = this.#data.look(mode, mode === 'shared' || known.needsTime)
    // An append sets the time first, then the size: it is over in a moment.
    for (let again = 0; again < 4 && found && known.isEdited(found); again++) found = this.#data.look(mode)
    if (!found || !this.#isKnown || known.isEdited(found)) return undefined
    // Not where the next write follows: what it costs is nothing beside that, and it is the same each time.
    if (mode === 'shared' && known.applied === known.end && known.isUntouched(found)) return NONE
    if (found.size - known.applied > AT_ONCE_BYTES) return undefined
    const tail = this.#tailNow(found, AT_ONCE_BYTES)
    if (!tail || (mode === 'shared' && !this.#isStill(tail))) return undefined
    known.looked(found)
    if (known.applied === known.end) return tail.length === 0 ? NONE : { kind: 'tail', bytes: tail }
    const passedOver = readNow(this.#data.fd, known.applied, known.end - known.applied)
    return { kind: 'tail', bytes: Buffer.concat([passedOver, tail]) }
  }

  /**
   * Passes over what is new, so that an operation which needs none of it may append.
   * @returns false where that may be more than whole units of documents: look at `news`
   */
  passOver(mode: LockMode): boolean {
    const found = this.#data.look(mode, this.#known.needsTime)
    if (!found || !this.#isKnown || this.#known.isEdited(found)) return false
    const tail = this.#tailNow(found, PASS_OVER_BYTES)
    if (!tail || (tail.length > 0 && !isPlain(tail))) return false
    this.#known.looked(found)
    this.#known.passedOver(tail)
    return true
  }

  /** All of the file, blocking the thread; undefined where there is none. What of it is whole must be applied. */
  readBlocking(mode: LockMode): Buffer | undefined {
    const found = this.#data.look(mode)
    return found && readNow(this.#data.fd, 0, found.size)
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
    const whole = firstOf(bytes, length)
    if (kind === 'replaced') this.#known.replaced(this.#data.generation, whole)
    else this.#known.caughtUp(whole)
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
    this.#known.forget()
  }

  /** Adds bytes at the end. Creates the file if there is none. @returns how much is in the file now */
  append(data: Buffer): Written | Promise<Written> {
    this.#data.requireWritable()
    if (!this.exists) this.create()
    return writeAt(this.#data.fd, data, this.#known.end)
  }

  /** The first `length` bytes of what was appended are whole units and stay; a rest is cut off. */
  appended(data: Buffer, length: number, written: number): void {
    this.#known.changing()
    this.#known.added(firstOf(data, length))
    if (written > length) ftruncateSync(this.#data.fd, this.#known.end)
  }

  /** Gives the last line, which was applied, the line feed that it lacks. */
  terminate(): void {
    const feed = Buffer.from('\n')
    const { error } = writeAtSync(this.#data.fd, feed, this.#known.end)
    if (error !== undefined) throw storeFailure(this.path, 'mend the end of', error)
    this.appended(feed, 1, 1)
  }

  /** Cuts off what follows the last complete unit. @returns where it is kept */
  cutTail(tail: Buffer): string {
    try {
      const kept = keepAside(this.path, 'torn', tail)
      this.#known.changing()
      ftruncateSync(this.#data.fd, this.#known.end)
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
    this.#known.changing()
    this.apply(Buffer.alloc(0), 'replaced', 0)
  }

  /** Replaces the whole file (compaction). */
  async replace(content: Buffer, durable: boolean): Promise<void> {
    this.#data.requireWritable()
    const fd = await replaceFile(this.path, content, {
      temp: `${this.path}~`,
      newMode: this.#fileMode,
      durable,
      asStream: true,
    })
    this.#data.adopt(fd, true)
    this.#known.changing()
    this.apply(content, 'replaced', content.length)
    this.#known.synced(content.length)
  }

  /** Changes whenever another file is open than before. */
  get generation(): number {
    return this.#data.generation
  }

  /** Makes what is written so far survive power loss. It may run after the lock is released. */
  async syncNow(newName: boolean): Promise<void> {
    if (!this.exists) return
    const upTo = this.#known.end
    const { generation, fd } = this.#data
    const isStillOpen = () => this.exists && this.generation === generation
    try {
      await sync(fd)
    } catch (error) {
      // Else it was replaced meanwhile, by what has all of it and was synced.
      if (isStillOpen()) throw error
    }
    if (newName) await syncFolder(dirname(this.path))
    if (isStillOpen()) this.#known.synced(upTo)
  }

  /** As `syncNow`, blocking the thread. */
  syncBlocking(): void {
    fsyncSync(this.#data.fd)
    this.#known.synced(this.#known.end)
  }

  /** Drops the lock on the data file; the last act of a writer under the lock. */
  unlockData(): void {
    this.#data.unlock()
  }

  close(): void {
    this.forget()
    this.#data.close()
  }

  /** Whether something is known of the file that is open. */
  get #isKnown(): boolean {
    return this.#known.isOf(this.#data.generation)
  }

  /** What is behind the end; undefined where the end is not what it was, or where it is too much to read at once. */
  #tailNow({ size }: Named, most: number): Buffer | undefined {
    const { compareFrom, end } = this.#known
    if (size < end || size - compareFrom > most) return undefined
    const tail = this.#known.behind(readNow(this.#data.fd, compareFrom, size - compareFrom))
    return tail?.length === size - end ? tail : undefined
  }

  /**
   * Whether the same bytes are still behind the end. A read without the lock may be interrupted half-way: when a torn unit
   * was cut off meanwhile, and another written there, it has the beginning of the one and the end of the other. But what
   * was cut off is not found a second time.
   */
  #isStill(tail: Buffer): boolean {
    return tail.length === 0 || readNow(this.#data.fd, this.#known.end, tail.length).equals(tail)
  }

  async #tail(size: number): Promise<News> {
    const { fd } = this.#data
    const { applied, end, compareFrom } = this.#known
    // One call reads what must be unchanged and what is new.
    const tail = this.#known.behind(await readRange(fd, compareFrom, Math.max(size, end) - compareFrom))
    if (!tail) return this.#all(fstatSync(fd).size)
    if (applied === end) return tail.length === 0 ? { kind: 'none' } : { kind: 'tail', bytes: tail }
    const passedOver = await readRange(fd, applied, end - applied)
    return { kind: 'tail', bytes: Buffer.concat([passedOver, tail]) }
  }

  #all(size: number): News | Promise<News> {
    const reading = readRange(this.#data.fd, 0, size)
    return reading instanceof Promise
      ? reading.then((bytes) => ({ kind: 'replaced', bytes }))
      : { kind: 'replaced', bytes: reading }
  }
}

function firstOf(bytes: Buffer, length: number): Buffer {
  return length === bytes.length ? bytes : bytes.subarray(0, length)
}
