import { fsyncSync, ftruncateSync, readSync, type Stats, unlinkSync } from 'node:fs'
import { errnoOf, type LockMode } from '../../errors.ts'
import type { PathStat } from '../../os/file-stat.ts'
import type { Descriptor } from '../../os/flock.ts'
import { type Pieces, readNow, readRange, sync, type Written, writeAt, writeAtSync } from '../../os/io.ts'
import { keepAside, keepOwner, replaceFile, storeFailure, syncNames } from '../../os/replace.ts'
import { runSteps, WAITING } from '../../os/steps.ts'
import { DataFile, requireReadable } from '../data-file.ts'
import { encodeUnit, isPlain } from './units.ts'

/**
 * What is new in the file since this process last looked, not read yet: nothing; there is no file; or these bytes, behind
 * what is applied (`tail`) or all of another content (`replaced`).
 */
export type Delta =
  | { readonly kind: 'none' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'tail' | 'replaced'; readonly from: number; readonly to: number }

/** The same with its bytes. */
export type News =
  | { readonly kind: 'none' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'tail'; readonly bytes: Buffer }
  | { readonly kind: 'replaced'; readonly bytes: Buffer }

/** How many of the last known bytes are compared to notice a file that was rewritten in place. */
export const REMEMBERED_BYTES: number = 32

/**
 * More than this is not read at once, with the lock or without: to read and parse it blocks the thread for some ten
 * milliseconds. The reading itself, of what was just written, takes 0.1 ms; by libuv's pool it takes half a millisecond in
 * a crowd, in each turn.
 */
const AT_ONCE_BYTES = 2 ** 20

/**
 * More than this is not skipped but applied. To search so much takes ten milliseconds, to apply it some hundred; so it
 * must be far more than a crowd writes between two turns of a process: with 4 MB each turn made the next ones longer, until
 * 50 processes inserted 400 records a second together.
 */
const PASS_OVER_BYTES = 64 * 2 ** 20

/**
 * A time of change that was as old as this when we looked tells of every later change. Kernels before 6.13 count file
 * times in steps of up to 10 ms: a change right after the look could have the same one ("racy git" is the classic).
 */
const QUIET_MS = 20

/** Places in the memory of a log file, which the addon shares (native/pslock.c). */
const APPLIED = 0
const END = 1
const REMEMBERED = 2
/** The time of change at the last look; NaN after a change of our own, and where that was not asked for. */
const CHANGED_US = 3
/** The same, where it was old enough then to tell of every later change. */
const QUIET_US = 4
const JUST_CHANGED = 5
const NUMBERS = 6
const LAST_AT = 64

const NOTHING: Buffer = Buffer.alloc(0)
const scratch = Buffer.alloc(REMEMBERED_BYTES)

/**
 * The data file of a log store: what is new in it, how far it is in memory, and how to change it.
 *
 * Rewriting in place (`cp backup db`) keeps the inode, so the last known bytes are read again, in the same call as what
 * follows them, and compared. Every look opens the file that the path names now.
 */
export class LogFile {
  readonly path: string
  readonly #fileMode: number
  readonly #data: DataFile
  /** The generation of the data file that the rest is about; -1: nothing is known. */
  #generation = -1
  /** The numbers below and the last known bytes: one piece of memory, for the addon reads and writes them too. */
  readonly memory: ArrayBuffer = new ArrayBuffer(LAST_AT + REMEMBERED_BYTES)
  readonly #numbers = new Float64Array(this.memory, 0, NUMBERS).fill(Number.NaN, CHANGED_US, JUST_CHANGED)
  readonly #last = Buffer.from(this.memory, LAST_AT)
  #synced = 0
  /** How often it was found written anew in place. */
  #renewals = 0
  #isNameSynced = false

  /** @param durable whether what is written is synced: then it stays open until that is done, for it tells what has failed */
  constructor(path: string, fileMode: number, durable: boolean) {
    this.path = path
    this.#fileMode = fileMode
    this.#data = new DataFile(path, true, () => !durable || this.#isKnownSynced)
  }

  get exists(): boolean {
    return this.#data.exists
  }

  /** The data file, if it is open and what is known of it is of this very file. */
  get known(): Descriptor | undefined {
    const { descriptor, generation } = this.#data
    return descriptor.fd !== undefined && generation === this.#generation ? descriptor : undefined
  }

  /** Where that begins which is not in memory yet. */
  get applied(): number {
    return this.#numbers[APPLIED] as number
  }

  /**
   * Where what is known ends, and the next unit goes: the end of the file while we hold the lock. What lies between `applied`
   * and here was skipped: it is read when somebody needs it.
   */
  get end(): number {
    return this.#numbers[END] as number
  }

  /** So many of the last known bytes are remembered. */
  get #remembered(): number {
    return this.#numbers[REMEMBERED] as number
  }

  /** Right after a change of our own there is no time to compare, and who changes all the time need not ask for one. */
  get #isJustChanged(): boolean {
    return this.#numbers[JUST_CHANGED] === 1
  }

  /** Changes whenever another file is open than before. */
  get generation(): number {
    return this.#data.generation
  }

  // --- What is new ---

  /**
   * Looks at the file. What is new may be too much to be read at once.
   * @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError
   */
  delta(mode: LockMode): Delta {
    const found = this.#data.look(mode)
    if (!found) return { kind: 'missing' }
    const isSame =
      this.#generation === this.#data.generation && !this.#isEdited(found) && found.size >= this.end
    this.#looked(found)
    if (!isSame || !this.#readBehind(this.end)) {
      // What was synced of it before it was written anew in place says nothing.
      this.#synced = 0
      this.#renewals++
      return { kind: 'replaced', from: 0, to: found.size }
    }
    return found.size === this.applied
      ? { kind: 'none' }
      : { kind: 'tail', from: this.applied, to: found.size }
  }

  /**
   * Looks at the file and reads what is new, at once, and in mode 'shared' also without the lock.
   * @returns what is not in memory yet, nothing where there is nothing; undefined where that takes the lock, or too long
   * @throws as `delta`
   */
  tailNow(mode: LockMode): Buffer | undefined {
    let found = this.#data.look(mode, mode === 'shared' || !this.#isJustChanged)
    // An append sets the time first, then the size: it is over in a moment.
    for (let again = 0; again < 4 && found && this.#isEdited(found); again++) found = this.#data.look(mode)
    if (!found || this.#generation !== this.#data.generation || this.#isEdited(found)) return undefined
    const { applied, end } = this
    const { size, changedUs } = found
    // Not where the next write follows: what it costs is nothing beside that, and it is the same each time.
    const isUntouched = size === end && changedUs === this.#numbers[QUIET_US]
    if (mode === 'shared' && applied === end && isUntouched) return NOTHING
    if (size - applied > AT_ONCE_BYTES) return undefined
    const tail = this.#readBehind(size)
    if (!tail || (mode === 'shared' && !this.#isStill(tail))) return undefined
    this.#looked(found)
    return applied === end
      ? tail
      : Buffer.concat([readNow(this.#data.descriptor.fd as number, applied, end - applied), tail])
  }

  /**
   * Passes over what is new, so that an operation which needs none of it may append.
   * @returns false where that may be more than whole units of documents: see `tailNow`
   * @throws as `delta`
   */
  passOver(mode: LockMode): boolean {
    const found = this.#data.look(mode, !this.#isJustChanged)
    if (!found || this.#generation !== this.#data.generation || this.#isEdited(found)) return false
    if (found.size - this.end > PASS_OVER_BYTES) return false
    const tail = this.#readBehind(found.size)
    if (!tail || (tail.length > 0 && !isPlain(tail))) return false
    this.#looked(found)
    this.#moveEnd(tail)
    return true
  }

  /** Looks at the file, and reads what is new. @throws as `delta` */
  async news(mode: LockMode): Promise<News> {
    const delta = this.delta(mode)
    if (delta.kind === 'none' || delta.kind === 'missing') return delta
    const { kind, from, to } = delta
    requireReadable(this.path, to - from)
    return { kind, bytes: await this.read(from, to - from) }
  }

  /** Reads a part of the file that was looked at. @returns fewer bytes at its end */
  read(position: number, length: number, blocking = false): Buffer | Promise<Buffer> {
    return readRange(this.#data.descriptor.fd as number, position, length, blocking)
  }

  /** Whether the file is, to its end, what was read or written here. */
  isFresh(): boolean {
    const { exists } = this.#data
    const { kind } = this.delta('exclusive')
    // What was rewritten in place has been looked at now, but not read.
    if (kind === 'replaced') this.forget()
    return kind === 'none' || (kind === 'missing' && !exists)
  }

  /** See `DataFile.besideNoWriter`. */
  besideNoWriter<T>(run: () => Promise<T>): Promise<T | undefined> {
    return this.#data.besideNoWriter(run)
  }

  /** Whether there is no byte more or fewer, and yet it was changed since we looked: somebody edited it in place. */
  #isEdited({ size, changedUs }: PathStat): boolean {
    const known = this.#numbers[CHANGED_US] as number
    return size === this.end && !Number.isNaN(known) && known !== changedUs
  }

  #looked({ changedUs }: PathStat): void {
    const us = changedUs ?? Number.NaN
    this.#numbers[CHANGED_US] = us
    this.#numbers[QUIET_US] = us / 1000 + QUIET_MS < Date.now() ? us : Number.NaN
    this.#numbers[JUST_CHANGED] = 0
  }

  /** Reads what is behind the end; undefined where the end is not what it was. @param size of the file */
  #readBehind(size: number): Buffer | undefined {
    const [last, remembered] = [this.#last, this.#remembered]
    const length = size - this.end + remembered
    if (length < remembered) return undefined
    let bytes: Buffer = scratch
    if (size === this.end) {
      const fd = this.#data.descriptor.fd as number
      const got = remembered === 0 ? 0 : readSync(fd, scratch, 0, remembered, size - remembered)
      if (got < remembered) return undefined
    } else {
      bytes = readNow(this.#data.descriptor.fd as number, size - length, length)
      if (bytes.length < length) return undefined
    }
    for (let at = 0; at < remembered; at++) if (bytes[at] !== last[at]) return undefined
    return size === this.end ? NOTHING : bytes.subarray(remembered)
  }

  /**
   * Whether the same bytes are still behind the end. A read without the lock may be interrupted half-way: when a torn unit
   * was cut off meanwhile, and another written there, it has the beginning of the one and the end of the other. But what
   * was cut off is not found a second time.
   */
  #isStill(tail: Buffer): boolean {
    return (
      tail.length === 0 || readNow(this.#data.descriptor.fd as number, this.end, tail.length).equals(tail)
    )
  }

  // --- What is known ---

  /** What follows the last complete unit is not applied. @param bytes what `tailNow` gave, up to there */
  applyTail(bytes: Buffer): void {
    // What was skipped is in memory now, and what follows it.
    this.#numbers[REMEMBERED] = Math.max(0, this.#remembered - (this.end - this.applied))
    this.#numbers[END] = this.applied
    this.#add(bytes)
  }

  /** Whether these bytes, all of a file, begin with what is known, as far as the last known bytes tell. */
  isBeginningOf(bytes: Buffer): boolean {
    if (bytes.length < this.end) return false
    return this.#last.compare(bytes, this.end - this.#remembered, this.end, 0, this.#remembered) === 0
  }

  /** Whether the file that is open is known, and these bytes, all of it, say that only its times or mode have changed. */
  isOnlyTouched(bytes: Buffer): boolean {
    const isKnown = this.#generation === this.#data.generation
    return isKnown && bytes.length === this.end && this.isBeginningOf(bytes)
  }

  /** The complete units of the delta end after `length` bytes; what follows is not applied. */
  apply(bytes: Buffer, kind: 'replaced' | 'tail', length: number): void {
    const whole = firstOf(bytes, length)
    if (kind === 'replaced') this.applyUpTo(length, whole)
    else this.applyTail(whole)
  }

  /** Everything up to `end` is in memory. @param last the bytes before it, as many as are remembered */
  applyUpTo(end: number, last: Buffer): void {
    const { generation } = this.#data
    if (this.#generation !== generation) {
      // What was synced of another file says nothing of this one.
      this.#synced = 0
      this.#isNameSynced = false
      this.#generation = generation
    }
    this.#numbers[APPLIED] = end - last.length
    this.#numbers[END] = this.applied
    this.#numbers[REMEMBERED] = 0
    this.#add(last)
  }

  /** Forgets what was applied: the next look reads everything. */
  forget(): void {
    this.#generation = -1
  }

  /** These bytes behind the end are in memory too, unless what is before them was skipped. */
  #add(bytes: Buffer): void {
    if (this.applied === this.end) this.#numbers[APPLIED] = this.applied + bytes.length
    this.#moveEnd(bytes)
  }

  /** @param bytes behind the end */
  #moveEnd(bytes: Buffer): void {
    const stays = Math.max(0, Math.min(this.#remembered, REMEMBERED_BYTES - bytes.length))
    this.#last.copyWithin(0, this.#remembered - stays, this.#remembered)
    bytes.copy(this.#last, stays, Math.max(0, bytes.length - REMEMBERED_BYTES))
    this.#numbers[REMEMBERED] = Math.min(REMEMBERED_BYTES, stays + bytes.length)
    this.#numbers[END] = this.end + bytes.length
  }

  /** A change of our own is no edit of others. */
  #changing(): void {
    this.#numbers[JUST_CHANGED] = 1
    this.#numbers.fill(Number.NaN, CHANGED_US, JUST_CHANGED)
  }

  // --- Changes ---

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

  /** Adds bytes at the end. Creates the file if there is none. @returns how much is in the file now */
  append(data: Buffer): Written | Promise<Written> {
    this.#data.requireWritable()
    if (!this.exists) this.create()
    return writeAt(this.#data.descriptor.fd as number, data, this.end)
  }

  /**
   * Adds a line, a unit of its own, at once, to a file that exists.
   * @throws StoreIoError, and it is not in the file
   */
  appendLine(line: string): void {
    const { end } = this
    this.#data.requireWritable()
    const data = encodeUnit([line], end)
    const { bytes, error } = writeAtSync(this.#data.descriptor.fd as number, data, end)
    if (bytes === data.length) {
      this.#changing()
      this.#add(data)
      return
    }
    try {
      this.appended(data, 0, bytes)
    } catch {
      // It could not be cut off now: the next writer finds a torn tail and mends it.
      this.forget()
    }
    throw storeFailure(this.path, 'write', error)
  }

  /** The first `length` bytes of what was appended are whole units and stay; a rest is cut off. */
  appended(data: Buffer, length: number, written: number): void {
    this.#changing()
    this.#add(firstOf(data, length))
    if (written > length) ftruncateSync(this.#data.descriptor.fd as number, this.end)
  }

  /** Gives the last line, which was applied, the line feed that it lacks. */
  terminate(): void {
    const feed = Buffer.from('\n')
    const { error } = writeAtSync(this.#data.descriptor.fd as number, feed, this.end)
    if (error !== undefined) throw storeFailure(this.path, 'mend the end of', error)
    this.appended(feed, 1, 1)
  }

  /** Cuts off what follows the last complete unit. @returns where it is kept */
  cutTail(tail: Buffer): string {
    try {
      const kept = keepAside(this.path, 'torn', tail)
      this.#changing()
      ftruncateSync(this.#data.descriptor.fd as number, this.end)
      fsyncSync(this.#data.descriptor.fd as number)
      return kept
    } catch (error) {
      throw storeFailure(this.path, 'mend the end of', error)
    }
  }

  /** Creates an empty file. Only under the exclusive lock. @param like the file that it belongs to */
  create(like?: Stats): void {
    // Who may read that one may do so from the first moment on; its group is given by `keepOwner`.
    this.#data.create(like ? like.mode & 0o707 : this.#fileMode)
    if (like) keepOwner(this.#data.descriptor.fd as number, like, like.mode & 0o6777)
    this.#changing()
    this.applyUpTo(0, NOTHING)
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
    this.#changing()
    this.applyUpTo(size, last)
    this.#syncedUpTo(size)
  }

  /** So much is on the disk, and the name of the file. */
  #syncedUpTo(end: number): void {
    this.#synced = Math.max(this.#synced, end)
    this.#isNameSynced = true
  }

  get #isKnownSynced(): boolean {
    return this.#synced >= this.end && this.#isNameSynced
  }

  /**
   * Whether everything that was read or written through this descriptor is known to be on the disk, and its name; where
   * there is no file, that is never known.
   */
  get isSynced(): boolean {
    return this.exists && this.#isKnownSynced
  }

  /** Makes what is written so far survive power loss. It may run after the lock is released. */
  async syncNow(): Promise<void> {
    this.#data.reopen()
    // That it is gone is a change of a name, too.
    if (!this.exists) return runSteps(syncNames(this.path, WAITING))
    const upTo = this.end
    const { generation, fd } = this.#data
    const isStillOpen = () => this.exists && this.generation === generation
    const renewals = this.#renewals
    const done = this.#data.keepOpen()
    try {
      await sync(fd)
    } catch (error) {
      // Else it was replaced meanwhile, by what has all of it and was synced.
      if (isStillOpen()) throw error
    } finally {
      done()
    }
    if (!this.#isNameSynced || this.#generation !== generation) await runSteps(syncNames(this.path, WAITING))
    if (isStillOpen() && renewals === this.#renewals) this.#syncedUpTo(upTo)
  }

  /** As `syncNow`, blocking the thread. */
  syncBlocking(): void {
    fsyncSync(this.#data.descriptor.fd as number)
    this.#syncedUpTo(this.end)
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
