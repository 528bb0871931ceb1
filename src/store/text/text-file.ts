import { constants, isUtf8 } from 'node:buffer'
import { basename, dirname, join } from 'node:path'
import { CorruptStoreError, LockLostError, type LockMode, StoreIoError } from '../../errors.ts'
import type { PathStat } from '../../os/file-stat.ts'
import { replace, storeFailure, syncNames } from '../../os/replace.ts'
import type { FileCalls, Steps } from '../../os/steps.ts'
import { DataFile } from '../data-file.ts'
import { TOO_LARGE, textOf } from './text.ts'

/** More cannot be one string, whatever the characters: one of its units takes three bytes at most. */
const MOST_BYTES = 3 * constants.MAX_STRING_LENGTH

/** What a look at the file has found. `missing` and `changed` are said once. */
export type TextDelta =
  | { readonly kind: 'none' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'changed'; readonly size: number }

/** What is in the file. */
export interface FileContent {
  /** Undefined where there is no file. */
  readonly text: string | undefined
}

/** A version of the file. */
type Version = Pick<PathStat, 'size' | 'changedUs'> & { readonly generation: number }

/**
 * A data file that is one text: which version of it is loaded. Size and ctime tell rewriting in place (never mtime:
 * `cp -p`, rsync and tar set it).
 */
export class TextFile {
  readonly path: string
  /** Whether there was no file at the last look. */
  isMissing = false
  /** Type and permission bits of the file at the last look. */
  mode = 0
  readonly #isKnownText: (text: string) => boolean
  readonly #data: DataFile
  #known: Version | undefined
  /** The known version that is on the disk, its name included. */
  #synced: Version | undefined
  /** The one whose fsync failed: the page cache no longer tells what is on the disk. */
  #unsyncable: Version | undefined

  /** @param isKnownText whether this is the text that was read or written last */
  constructor(path: string, isKnownText: (text: string) => boolean) {
    this.path = path
    this.#isKnownText = isKnownText
    this.#data = new DataFile(path, false)
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
   * Whether the file is still the version that was read last.
   * @throws LockLostError when another writer has it locked, CorruptStoreError, StoreIoError
   */
  look(mode: LockMode): TextDelta {
    const found = this.#data.look(mode)
    this.mode = found?.mode ?? 0
    const wasMissing = this.isMissing
    this.isMissing = !found
    if (!found) return wasMissing ? NONE : { kind: 'missing' }
    const known = this.#known
    const { generation } = this.#data
    const { size, changedUs } = found
    if (known?.generation === generation && known.size === size && known.changedUs === changedUs) return NONE
    this.#known = { generation, size, changedUs }
    return { kind: 'changed', size }
  }

  /**
   * Looks, and reads what is new. A file of which only times or mode were changed (touch, chmod) has nothing new.
   * @returns undefined where there is nothing new
   * @throws as `look`
   */
  *refresh(mode: LockMode, calls: FileCalls): Steps<FileContent | undefined> {
    const before = this.#known
    const delta = this.look(mode)
    if (delta.kind === 'none') return undefined
    if (delta.kind === 'missing') return { text: undefined }
    const now = this.#known
    // Should it not be readable, nothing is known of it.
    this.forget()
    const text = yield* this.read(delta.size, calls)
    this.#known = now
    if (!before || before.generation !== now?.generation || !this.#isKnownText(text)) return { text }
    // Of the same content: what is on the disk of it, and what is not, is so still.
    if (this.#synced === before) this.#synced = now
    if (this.#unsyncable === before) this.#unsyncable = now
    return undefined
  }

  /** Whether the file still is what was read or written last. Where it is not, the next look reports it as changed. */
  *isFresh(mode: LockMode, calls: FileCalls): Steps<boolean> {
    if (!(yield* this.refresh(mode, calls))) return true
    this.forget()
    return false
  }

  /** The text of the version that `look` reported as changed. */
  *read(size: number, calls: FileCalls): Steps<string> {
    if (size > MOST_BYTES) throw this.#tooLarge(size)
    return this.#decode(yield calls.read(this.#data.fd, 0, size))
  }

  /** The next look reports the file as changed, whatever it finds. */
  forget(): void {
    this.#known = undefined
    this.isMissing = false
  }

  /**
   * Replaces the file. Only under the exclusive lock, after `look`. There is one more look, at the last moment: what was
   * written meanwhile would be lost.
   * @param isDurable the rename must survive power loss, too
   */
  *replace(text: string, isDurable: boolean, calls: FileCalls): Steps<void> {
    if (!(yield* this.isFresh('exclusive', calls))) throw this.changedMeanwhile()
    this.#data.requireWritable()
    // One name is enough under the lock; NeDB's and lowdb's own temp names are left alone.
    const temp = join(dirname(this.path), `.${basename(this.path)}.pslock.tmp`)
    const how = { temp, newMode: 0o666, durable: isDurable }
    const fd = yield* replace(this.path, [Buffer.from(text)], how, calls)
    const { size, changedUs } = this.#data.adopt(fd, true)
    this.#known = { generation: this.#data.generation, size, changedUs }
    this.isMissing = false
    if (isDurable) this.#synced = this.#known
  }

  /**
   * Makes what was read or written last survive power loss, or its removal. The lock need not be held.
   * @throws StoreIoError; where fsync fails, again and again until the file is another one
   */
  *sync(calls: FileCalls): Steps<void> {
    const known = this.#known
    try {
      if (this.isUnsyncable) throw new Error('an fsync of this version has failed before')
      if (known) yield* this.#syncContent(known, calls)
      yield* syncNames(this.path, calls)
      this.#synced = known
    } catch (cause) {
      throw storeFailure(this.path, 'sync', cause)
    }
  }

  *#syncContent(known: Version, calls: FileCalls): Steps<void> {
    const { generation } = this.#data
    const isStillOpen = () => this.#data.isOpen && this.#data.generation === generation
    this.#data.reopen()
    // Else it was replaced meanwhile, by what was synced before.
    if (!isStillOpen()) return
    const done = this.#data.keepOpen()
    try {
      yield calls.sync(this.#data.fd)
    } catch (error) {
      if (!isStillOpen()) return
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

  /** Does something with the open file that changes no content. Under the exclusive lock. */
  withOpen(run: (fd: number, mode: number) => void): void {
    const { isSynced } = this
    run(this.#data.fd, this.mode)
    this.wrote()
    if (isSynced) this.#synced = this.#known
  }

  /** Somebody else (the store's own driver) has just written the file under our lock: this is the known version now. */
  wrote(): void {
    if (this.look('exclusive').kind === 'missing') this.forget()
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
      { path: this.path, line, byte },
    )
  }

  #tooLarge(size: number): StoreIoError {
    return new StoreIoError(
      `cannot read ${this.path}: with ${Math.round(size / 2 ** 20)} MB ${TOO_LARGE}. It was left as it is, and may be whole; ` +
        'divide it, or keep so much in a store of lines (NeDB).',
      { path: this.path },
    )
  }
}

const NONE: TextDelta = { kind: 'none' }

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
