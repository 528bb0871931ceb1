import type { LockMode } from '../../errors.ts'
import { readNow, readRange } from '../../os/data-io.ts'
import type { Named } from '../../os/named-file.ts'
import type { DataFile } from '../data-file.ts'
import { requireReadable } from '../read-failure.ts'
import type { KnownLog } from './known-log.ts'
import { isPlain } from './lines.ts'
import { type News, NONE, type None, type Tail, type Unread } from './news.ts'

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
  readonly #known: KnownLog

  constructor(data: DataFile, known: KnownLog) {
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
  read(position: number, length: number): Buffer | Promise<Buffer> {
    return readRange(this.#data.fd, position, length)
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

  /** All of the file, blocking the thread; undefined where there is none. What of it is whole must be applied. */
  readBlocking(mode: LockMode): Buffer | undefined {
    const found = this.#data.look(mode)
    if (!found) return undefined
    requireReadable(this.#data.path, found.size)
    return readNow(this.#data.fd, 0, found.size)
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
}

/** What is not in memory yet. @param passedOver what lies before the tail, and is not either */
function added(tail: Buffer, passedOver?: Buffer): None | Tail {
  if (passedOver) return { kind: 'tail', bytes: Buffer.concat([passedOver, tail]) }
  return tail.length === 0 ? NONE : { kind: 'tail', bytes: tail }
}
