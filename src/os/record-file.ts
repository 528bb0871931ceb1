import { closeSync, constants, fstatSync } from 'node:fs'
import { errnoOf, LockIoError, LockUnsupportedError } from '../errors.ts'
import { PIECE_BYTES, readNow, writeAtSync } from './data-io.ts'
import { orClose } from './descriptor.ts'
import { notAFile, openLockFile } from './lock-file.ts'
import { NamedFile } from './named-file.ts'
import { type Range, unlockRange } from './ofd.ts'
import { openFile } from './open-files.ts'

/** A power of two that divides a page, so that no write of one record is ever torn by kill -9. */
const RECORD_BYTES = 512
/** The last bytes of a record before its closing newline can be written by themselves. */
const FIELD_BYTES = 16
const FIELD_AT = RECORD_BYTES - 1 - FIELD_BYTES

/** As many records as a lock file may have, see `MOST_RECORDS` of the tree: none of ours is longer. */
const MOST_BYTES: number = RECORD_BYTES * 2 ** 20

/** Length 0 reaches to the end of all offsets. */
const EVERYTHING: Range = { start: 0, length: 0 }

/** How long the text of a record may be, in bytes of UTF-8. */
export const RECORD_TEXT_BYTES: number = FIELD_AT - 1

/**
 * One opening of a lock file that is an array of text records. Locks live on its descriptor: closing it drops them.
 * The file is never truncated, renamed or removed by us; others may do all three.
 */
export class RecordFile {
  readonly path: string
  readonly fd: number
  readonly #named: NamedFile
  readonly #mayBeLocked: boolean

  private constructor(named: NamedFile, fd: number, mayBeLocked: boolean) {
    this.path = named.path
    this.fd = fd
    this.#named = named
    this.#mayBeLocked = mayBeLocked
  }

  /**
   * @param guards the data file whose mode and group a new lock file takes over
   * @throws LockIoError, LockUnsupportedError
   */
  static open(path: string, guards: string | undefined): RecordFile {
    const named = new NamedFile(path)
    return new RecordFile(named, openLockFile(named, guards), true)
  }

  /**
   * For looking only: undefined where there is no such file.
   * @throws LockIoError, LockUnsupportedError for a FIFO, a device, or a socket
   */
  static openToLook(path: string): RecordFile | undefined {
    const failure = (why: string, cause?: unknown) =>
      new LockIoError(`cannot open the lock file ${path}: ${why}.`, { path, cause })
    let fd: number
    try {
      fd = openFile(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT') return undefined
      if (errnoOf(cause) === 'ENXIO' || errnoOf(cause) === 'ENODEV') throw notAFile(path, false, cause)
      throw failure(errnoOf(cause) ?? String(cause), cause)
    }
    const named = new NamedFile(path)
    const { mode } = orClose(fd, () => named.opened(fd))
    if ((mode & constants.S_IFMT) === constants.S_IFREG) return new RecordFile(named, fd, false)
    closeSync(fd)
    if ((mode & constants.S_IFMT) === constants.S_IFDIR) throw failure('it is not a regular file')
    throw notAFile(path, false)
  }

  /** Whether the path still names this file. */
  isCurrent(): boolean {
    return this.#named.isCurrent
  }

  /** Whether there is nothing in it, or only the holes of a file that was emptied and then written to further on. */
  get isBlank(): boolean {
    return readNow(this.fd, 0, RECORD_BYTES).every((byte) => byte === 0)
  }

  /** How many whole records there are. @throws LockUnsupportedError where there are more than there can be */
  get count(): number {
    const { size } = fstatSync(this.fd)
    if (size > MOST_BYTES) {
      throw new LockUnsupportedError(
        `cannot lock ${this.path}: it has ${size} bytes, and a lock file of names at most ${MOST_BYTES}. It is damaged, or ` +
          'not ours: remove it while nobody uses it.',
        { path: this.path },
      )
    }
    return Math.floor(size / RECORD_BYTES)
  }

  /** The text of a record. One that is not there, not whole, or not ours, is an empty text. */
  read(index: number): string {
    const bytes = readNow(this.fd, index * RECORD_BYTES, RECORD_BYTES)
    return bytes.length === RECORD_BYTES ? textAt(bytes, 0) : ''
  }

  /** Tells the texts of the records from one number up to another, without it. However many they are, few are in memory. */
  readEach(from: number, to: number, each: (text: string, index: number) => void): void {
    this.#inPieces(from, to, (bytes, at, index) => each(textAt(bytes, at), index))
  }

  /** The numbers of all records that begin with a word of ASCII letters. */
  find(word: string): number[] {
    const found: number[] = []
    this.#inPieces(0, this.count, (bytes, at, index) => {
      if (bytes.toString('latin1', at, at + word.length) === word) found.push(index)
    })
    return found
  }

  #inPieces(from: number, to: number, each: (bytes: Buffer, at: number, index: number) => void): void {
    for (let index = from; index < to; ) {
      const most = Math.min(to - index, PIECE_BYTES / RECORD_BYTES)
      const bytes = readNow(this.fd, index * RECORD_BYTES, most * RECORD_BYTES)
      for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) each(bytes, at, index++)
      // It has become shorter meanwhile.
      if (bytes.length < most * RECORD_BYTES) return
    }
  }

  /**
   * Writes one record, text and field.
   * @throws LockIoError
   */
  write(index: number, text: string): void {
    if (Buffer.byteLength(text) > RECORD_TEXT_BYTES) throw new RangeError(`a record cannot hold ${text}`)
    const record = Buffer.alloc(RECORD_BYTES, ' ')
    const end = record.write(text, 'utf8')
    record[end] = 0x0a
    record[RECORD_BYTES - 1] = 0x0a
    this.#write(record, index * RECORD_BYTES)
  }

  /** The number in a record's field, or NaN. */
  readField(index: number): number {
    return Number.parseFloat(
      readNow(this.fd, index * RECORD_BYTES + FIELD_AT, FIELD_BYTES).toString('latin1'),
    )
  }

  /** A courtesy: on a full disk the field stays as it was. */
  writeField(index: number, value: number): void {
    const text = value.toFixed(0).padStart(FIELD_BYTES)
    writeAtSync(this.fd, Buffer.from(text, 'latin1'), index * RECORD_BYTES + FIELD_AT)
  }

  /** Ends all locks on it. */
  close(): void {
    try {
      // Else a child process that was just forked keeps them until it execs, see `closeLocked`.
      if (this.#mayBeLocked) unlockRange(this.fd, EVERYTHING, this.path)
    } finally {
      closeSync(this.fd)
    }
  }

  #write(bytes: Buffer, position: number): void {
    const { bytes: written, error } = writeAtSync(this.fd, bytes, position)
    if (written === bytes.length) return
    const code = errnoOf(error) ?? String(error)
    throw new LockIoError(
      `cannot write to the lock file ${this.path}: ${code}. It keeps the names that are locked and who holds them.`,
      { path: this.path, cause: error },
    )
  }
}

function textAt(bytes: Buffer, at: number): string {
  // First of all, or the search would go on through everything behind.
  if (bytes[at + RECORD_BYTES - 1] !== 0x0a) return ''
  return bytes.toString('utf8', at, bytes.indexOf(0x0a, at))
}
