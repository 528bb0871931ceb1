import { fsyncSync, ftruncateSync, type Stats, unlinkSync } from 'node:fs'
import { errnoOf } from '../../errors.ts'
import { keepAside } from '../../os/aside.ts'
import { type Pieces, sync, syncNames, type Written, writeAt, writeAtSync } from '../../os/data-io.ts'
import { keepOwner, replaceFile, storeFailure } from '../../os/replace.ts'
import { DataFile } from '../data-file.ts'
import { KnownLog, REMEMBERED_BYTES } from './known-log.ts'
import { LogView } from './log-view.ts'

/** The data file of a log store: how far it is loaded, and how to change it. */
export class LogFile {
  readonly path: string
  /** What is new in it. */
  readonly view: LogView
  readonly #fileMode: number
  readonly #data: DataFile
  readonly #known = new KnownLog()

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

  /** Changes whenever another file is open than before. */
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
