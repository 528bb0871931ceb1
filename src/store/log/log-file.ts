import { fsyncSync, ftruncateSync, type Stats, unlinkSync } from 'node:fs'
import { errnoOf, type LockMode } from '../../errors.ts'
import type { PathStat } from '../../os/file-stat.ts'
import {
  type Pieces,
  readNow,
  readRange,
  sync,
  syncNames,
  type Written,
  writeAt,
  writeAtSync,
} from '../../os/io.ts'
import { keepAside, keepOwner, replaceFile, storeFailure } from '../../os/replace.ts'
import { DataFile, requireReadable } from '../data-file.ts'
import { LogPosition, REMEMBERED_BYTES } from './log-position.ts'
import { isPlain } from './units.ts'

/** All that is in the file is known. */
export interface None {
  readonly kind: 'none'
}

const NONE: None = { kind: 'none' }

/** The store is empty: there is no file. */
export interface Missing {
  readonly kind: 'missing'
}

/** Only this came behind what is applied. */
export interface Tail {
  readonly kind: 'tail'
  readonly bytes: Buffer
}

/** What is new in the file since this process last looked. */
export type News =
  | None
  | Missing
  | Tail
  /** Another file, or another content: everything must be read anew. `bytes` is all of it. */
  | { readonly kind: 'replaced'; readonly bytes: Buffer }

/** The same, not read yet: where it begins, and where the file ends. */
export type Unread =
  | None
  | Missing
  | { readonly kind: 'tail' | 'replaced'; readonly from: number; readonly to: number }

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
 * What is new in the data file of a log. Rewriting in place (`cp backup db`) keeps the inode, so the last known bytes are
 * read again, in the same call as the tail, and compared. Every look opens the file that the path names now.
 */
export class LogView {
  readonly #data: DataFile
  readonly #known: LogPosition

  constructor(data: DataFile, known: LogPosition) {
    this.#data = data
    this.#known = known
  }

  /** Looks at the file, and reads what is new. @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError */
  async news(mode: LockMode): Promise<News> {
    const unread = this.unread(mode)
    if (unread.kind === 'none' || unread.kind === 'missing') return unread
    const { kind, from, to } = unread
    requireReadable(this.#data.path, to - from)
    return { kind, bytes: await this.read(from, to - from) }
  }

  /** Looks at the file. What is new may be too much to be read at once. @throws as `news` */
  unread(mode: LockMode): Unread {
    const found = this.#data.look(mode)
    if (!found) return { kind: 'missing' }
    const known = this.#known
    const isSame = this.#isKnown && !known.isEdited(found) && found.size >= known.end
    const length = known.end - known.compareFrom
    known.looked(found)
    if (!isSame || !known.behind(readNow(this.#data.fd, known.compareFrom, length)))
      return { kind: 'replaced', from: 0, to: found.size }
    return found.size === known.applied ? NONE : { kind: 'tail', from: known.applied, to: found.size }
  }

  /** Reads a part of the file that was looked at. @returns fewer bytes at its end */
  read(position: number, length: number, blocking = false): Buffer | Promise<Buffer> {
    return readRange(this.#data.fd, position, length, blocking)
  }

  /** As `news`, at once, and in mode 'shared' also without the lock; undefined where that takes the lock, or too long. */
  newsNow(mode: LockMode): None | Tail | undefined {
    const known = this.#known
    let found = this.#data.look(mode, mode === 'shared' || known.needsTime)
    // An append sets the time first, then the size: it is over in a moment.
    for (let again = 0; again < 4 && found && known.isEdited(found); again++) found = this.#data.look(mode)
    if (!found || !this.#isKnown || known.isEdited(found)) return undefined
    const isApplied = known.applied === known.end
    // Not where the next write follows: what it costs is nothing beside that, and it is the same each time.
    if (mode === 'shared' && isApplied && known.isUntouched(found)) return NONE
    if (found.size - known.applied > AT_ONCE_BYTES) return undefined
    const tail = this.#tailNow(found, AT_ONCE_BYTES)
    if (!tail || (mode === 'shared' && !this.#isStill(tail))) return undefined
    known.looked(found)
    return isApplied ? added(tail) : added(tail, readNow(...this.#passedOver))
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

  /** Whether the file is, to its end, what was read or written here. */
  isFresh(): boolean {
    const { exists } = this.#data
    const { kind } = this.unread('exclusive')
    // What was rewritten in place has been looked at now, but not read.
    if (kind === 'replaced') this.#known.forget()
    return kind === 'none' || (kind === 'missing' && !exists)
  }

  /** Whether something is known of the file that is open. */
  get #isKnown(): boolean {
    return this.#known.isOf(this.#data.generation)
  }

  /** Where that is which was passed over, as it is read. */
  get #passedOver(): [fd: number, position: number, length: number] {
    const { applied, end } = this.#known
    return [this.#data.fd, applied, end - applied]
  }

  /** What is behind the end; undefined where the end is not what it was, or where it is too much to read at once. */
  #tailNow({ size }: PathStat, most: number): Buffer | undefined {
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
}

/** What is not in memory yet. @param passedOver what lies before the tail, and is not either */
function added(tail: Buffer, passedOver?: Buffer): None | Tail {
  if (passedOver) return { kind: 'tail', bytes: Buffer.concat([passedOver, tail]) }
  return tail.length === 0 ? NONE : { kind: 'tail', bytes: tail }
}

/** The data file of a log store: how far it is loaded, and how to change it. */
export class LogFile {
  readonly path: string
  /** What is new in it. */
  readonly view: LogView
  readonly #fileMode: number
  readonly #data: DataFile
  readonly #known = new LogPosition()

  /** @param durable whether what is written is synced: then it stays open until that is done, for it tells what has failed */
  constructor(path: string, fileMode: number, durable: boolean) {
    this.path = path
    this.#fileMode = fileMode
    this.#data = new DataFile(path, true, () => !durable || this.#known.isSynced)
    this.view = new LogView(this.#data, this.#known)
  }

  /** Where the next unit goes: the end of what is known, which is the end of the file while we hold the lock. */
  get end(): number {
    return this.#known.end
  }

  /** Where that begins which the next tail brings. */
  get applied(): number {
    return this.#known.applied
  }

  get exists(): boolean {
    return this.#data.exists
  }

  /**
   * Whether everything that was read or written through this descriptor is known to be on the disk, and its name; where
   * there is no file, that is never known.
   */
  get isSynced(): boolean {
    return this.exists && this.#known.isSynced
  }

  /** Whether these bytes, all of a file, begin with what is known, as far as the last known bytes tell. */
  isBeginningOf(bytes: Buffer): boolean {
    const { compareFrom, end } = this.#known
    return bytes.length >= end && this.#known.behind(bytes.subarray(compareFrom)) !== undefined
  }

  /** Whether the file that is open is known, and these bytes, all of it, say that only its times or mode have changed. */
  isOnlyTouched(bytes: Buffer): boolean {
    return this.#known.isOf(this.#data.generation) && bytes.length === this.end && this.isBeginningOf(bytes)
  }

  /** The complete units of the news end after `length` bytes; what follows is not applied. */
  apply(bytes: Buffer, kind: 'replaced' | 'tail', length: number): void {
    const whole = firstOf(bytes, length)
    if (kind === 'replaced') this.#known.replaced(this.#data.generation, whole)
    else this.#known.caughtUp(whole)
  }

  /** Everything up to `end` is in memory, as it was read in pieces. @param last the bytes before it, as many as are remembered */
  applyUpTo(end: number, last: Buffer): void {
    this.#known.read(this.#data.generation, end, last)
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

  /** As `append`, at once, to a file that exists. */
  appendNow(data: Buffer): Written {
    this.#data.requireWritable()
    return writeAtSync(this.#data.fd, data, this.#known.end)
  }

  /** The first `length` bytes of what was appended are whole units and stay; a rest is cut off. */
  appended(data: Buffer, length: number, written: number): void {
    this.#known.changing()
    this.#known.added(firstOf(data, length))
    if (written > length) ftruncateSync(this.#data.fd, this.#known.end)
  }

  /** See `DataFile.besideNoWriter`. */
  besideNoWriter<T>(run: () => Promise<T>): Promise<T | undefined> {
    return this.#data.besideNoWriter(run)
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
    // Who may read that one may do so from the first moment on; its group is given by `keepOwner`.
    this.#data.create(like ? like.mode & 0o707 : this.#fileMode)
    if (like) keepOwner(this.#data.fd, like, like.mode & 0o6777)
    this.#known.changing()
    this.apply(Buffer.alloc(0), 'replaced', 0)
  }

  /** Replaces the whole file (compaction). */
  async replace(content: Pieces, durable: boolean): Promise<void> {
    this.#data.requireWritable()
    let last: Buffer = Buffer.alloc(0)
    async function* remembered(): AsyncGenerator<Buffer, void, undefined> {
      for await (const piece of content) {
        yield piece
        last = lastOf(piece.length < REMEMBERED_BYTES ? Buffer.concat([last, piece]) : piece)
      }
    }
    const fd = await replaceFile(this.path, remembered(), {
      temp: `${this.path}~`,
      newMode: this.#fileMode,
      durable,
      asStream: true,
    })
    const { size } = this.#data.adopt(fd, true)
    this.#known.changing()
    this.applyUpTo(size, last)
    this.#known.synced(size)
  }

  /** WriteSet whenever another file is open than before. */
  get generation(): number {
    return this.#data.generation
  }

  /** Makes what is written so far survive power loss. It may run after the lock is released. */
  async syncNow(): Promise<void> {
    this.#data.reopen()
    // That it is gone is a change of a name, too.
    if (!this.exists) return syncNames(this.path)
    const upTo = this.#known.end
    const { generation, fd } = this.#data
    const isStillOpen = () => this.exists && this.generation === generation
    const done = this.#data.keepOpen()
    try {
      await sync(fd)
    } catch (error) {
      // Else it was replaced meanwhile, by what has all of it and was synced.
      if (isStillOpen()) throw error
    } finally {
      done()
    }
    if (!this.#known.isNameSynced) await syncNames(this.path)
    if (isStillOpen()) this.#known.synced(upTo)
  }

  /** As `syncNow`, blocking the thread. */
  syncBlocking(): void {
    fsyncSync(this.#data.fd)
    this.#known.synced(this.#known.end)
  }

  /** The end of what began with a look: drops the lock on the data file, which may be closed from now on. */
  unlockData(): void {
    this.#data.unlock()
  }

  close(): void {
    this.forget()
    this.#data.close()
  }
}

function lastOf(bytes: Buffer): Buffer {
  return bytes.subarray(Math.max(0, bytes.length - REMEMBERED_BYTES))
}

function firstOf(bytes: Buffer, length: number): Buffer {
  return length === bytes.length ? bytes : bytes.subarray(0, length)
}
