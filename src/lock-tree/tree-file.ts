import { closeSync, constants, fstatSync } from 'node:fs'
import {
  errnoOf,
  LockIoError,
  LockLostError,
  LockUnsupportedError,
  orUndefined,
  type TreeLockMode,
} from '../errors.ts'
import { notAFile, openLockFile } from '../lock/lock-file.ts'
import { NamedFile } from '../os/file-stat.ts'
import { orClose } from '../os/flock.ts'
import { PIECE_BYTES, readNow, writeAtSync } from '../os/io.ts'
import { crypto } from '../os/modules.ts'
import { openToLook } from '../os/open-files.ts'
import { monotonicMs, ownId, type ProcessId } from '../os/processes.ts'
import { isRangeBlocked, type Range, tryLockRange, unlockRange } from '../os/range-lock.ts'
import { sleep } from '../os/steps.ts'

/** A power of two that divides a page, so that no write of one record is ever torn by kill -9. */
const RECORD_BYTES = 512
/** The last bytes of a record before its closing newline can be written by themselves. */
const FIELD_BYTES = 16
const FIELD_AT = RECORD_BYTES - 1 - FIELD_BYTES

/** As many records as a lock file may have, see `MOST_RECORDS` of the tree: none of ours is longer. */
const MOST_BYTES: number = RECORD_BYTES * 2 ** 20

/** A range and how it is locked: exclusively, if nothing is said. */
export interface Locked extends Range {
  readonly isShared?: boolean
}

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
  readonly #fd: number
  readonly #named: NamedFile
  /** Undefined where it is only looked at. */
  readonly #blockingMs: number | undefined

  private constructor(named: NamedFile, fd: number, blockingMs: number | undefined) {
    this.path = named.path
    this.#fd = fd
    this.#named = named
    this.#blockingMs = blockingMs
  }

  /**
   * @param blockingMs how long to block while another process appends (some 20 microseconds each time)
   * @throws LockIoError, LockUnsupportedError
   */
  static open({ path, guards }: TreeFile, blockingMs: number): RecordFile {
    const named = new NamedFile(path)
    return new RecordFile(named, openLockFile(named, guards), blockingMs)
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
      fd = openToLook(path)
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT') return undefined
      if (errnoOf(cause) === 'ENXIO' || errnoOf(cause) === 'ENODEV') throw notAFile(path, false, cause)
      throw failure(errnoOf(cause) ?? String(cause), cause)
    }
    const named = new NamedFile(path)
    const { mode } = orClose(fd, () => named.opened(fd))
    if ((mode & constants.S_IFMT) === constants.S_IFREG) return new RecordFile(named, fd, undefined)
    closeSync(fd)
    if ((mode & constants.S_IFMT) === constants.S_IFDIR) throw failure('it is not a regular file')
    throw notAFile(path, false)
  }

  /** See `tryLockRange`. */
  tryLock({ isShared, ...range }: Locked): boolean {
    return tryLockRange(this.#fd, isShared ? 'shared' : 'exclusive', range, this.path)
  }

  /** See `isRangeBlocked`. */
  isBlocked({ isShared, ...range }: Locked): boolean {
    return isRangeBlocked(this.#fd, isShared ? 'shared' : 'exclusive', range, this.path)
  }

  unlock(range: Range): void {
    unlockRange(this.#fd, range, this.path)
  }

  /** Runs while nobody else appends; undefined when somebody else does so for too long. */
  appending<T>(run: () => T): T | undefined {
    const end = performance.now() + (this.#blockingMs ?? 0)
    while (!this.tryLock(APPENDING)) {
      if (performance.now() > end) return undefined
      sleep(0.1)
    }
    try {
      return run()
    } finally {
      this.unlock(APPENDING)
    }
  }

  /** Whether the path still names this file. */
  isCurrent(): boolean {
    return this.#named.isCurrent === true
  }

  /** Whether there is nothing in it, or only the holes of a file that was emptied and then written to further on. */
  get isBlank(): boolean {
    return readNow(this.#fd, 0, RECORD_BYTES).every((byte) => byte === 0)
  }

  /** How many whole records there are. @throws LockUnsupportedError where there are more than there can be */
  get count(): number {
    const { size } = fstatSync(this.#fd)
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
    const bytes = readNow(this.#fd, index * RECORD_BYTES, RECORD_BYTES)
    return bytes.length === RECORD_BYTES ? textAt(bytes, 0) : ''
  }

  /** Tells the texts of the records from one number up to another, without it. However many they are, few are in memory. */
  readEach(from: number, to: number, each: (text: string, index: number) => void): void {
    for (let index = from; index < to; ) {
      const most = Math.min(to - index, PIECE_BYTES / RECORD_BYTES)
      const bytes = readNow(this.#fd, index * RECORD_BYTES, most * RECORD_BYTES)
      for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) each(textAt(bytes, at), index++)
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
    const { bytes, error } = writeAtSync(this.#fd, record, index * RECORD_BYTES)
    if (bytes === RECORD_BYTES) return
    throw new LockIoError(
      `cannot write to the lock file ${this.path}: ${errnoOf(error) ?? String(error)}. It keeps the names that are locked ` +
        'and who holds them.',
      { path: this.path, cause: error },
    )
  }

  /** The number in a record's field, or NaN. */
  readField(index: number): number {
    const bytes = readNow(this.#fd, index * RECORD_BYTES + FIELD_AT, FIELD_BYTES)
    return Number.parseFloat(bytes.toString('latin1'))
  }

  /** May fail: on a full disk the field stays as it was. */
  writeField(index: number, value: number): void {
    const text = value.toFixed(0).padStart(FIELD_BYTES)
    writeAtSync(this.#fd, Buffer.from(text, 'latin1'), index * RECORD_BYTES + FIELD_AT)
  }

  /** Ends all locks on it. */
  close(): void {
    try {
      // Else a child process that was just forked keeps them until it execs, see `closeLocked`.
      if (this.#blockingMs !== undefined) this.unlock(EVERYTHING)
    } finally {
      closeSync(this.#fd)
    }
  }
}

function textAt(bytes: Buffer, at: number): string {
  // First of all, or the search would go on through everything behind.
  if (bytes[at + RECORD_BYTES - 1] !== 0x0a) return ''
  return bytes.toString('utf8', at, bytes.indexOf(0x0a, at))
}

/**
 * Which bytes of the lock file stand for what. Every record has 2^21 bytes to lock (they are numbers, not content):
 *
 *  - record 0: byte 0 is locked by whoever appends a record
 *  - a name: byte 0 is *presence*, bytes 1 to 5 the *gate*, the upper half is *width*
 *  - a note: byte 0 is locked by whom the note belongs to (one hold or one waiter), byte 1 once it is written
 *
 * The five modes of a name (proved for all 25 pairs, and after kill -9 of each, in test/lock-tree/matrix.processes.test.ts):
 *
 *  - IS: presence shared             IX: that, and one byte of width exclusive: the one with the number of one's note
 *  - S: presence and width shared    SIX: presence shared, width exclusive    X: both exclusive
 */
const STRIDE: number = 2 ** 21
const WIDTH: number = 2 ** 20

/** The byte of width that a hold takes for IX has the number of its note, so there can be no more records than that. */
const MOST_RECORDS: number = WIDTH

const APPENDING: Range = { start: 0, length: 1 }
/** Everything but the byte of whoever appends. Length 0 reaches to the end of all offsets. */
const ALL_ELSE: Range = { start: 1, length: 0 }

function ownership(slot: number): Range {
  return { start: slot * STRIDE, length: 1 }
}

export function notedness(slot: number): Range {
  return { start: slot * STRIDE + 1, length: 1 }
}

export function presence(node: number): Range {
  return { start: node * STRIDE, length: 1 }
}

export function width(node: number): Range {
  return { start: node * STRIDE + WIDTH, length: WIDTH }
}

/** The first record: what the file is, and a name that it has for ever, however often it is emptied and refilled. */
const HEADER = 'pslock-tree 1 '
const NAME = 'name '
const NOTE = 'note '

/**
 * How many places of notes are tried before a new one is made. More would cost more than half a kilobyte is worth: the
 * kernel walks through all locks of the file at each try.
 */
const MOST_TRIES = 64

/**
 * What the records of a lock file are: each is a name, or the place of a note, and stays that for ever, so what was
 * read once needs no second look. Names are never hashed: two names never meet in one lock.
 */
export class NameTable {
  readonly #header: string
  readonly #indexes = new Map<string, number>()
  readonly #slots: number[] = []
  #count = 1

  private constructor(header: string) {
    this.#header = header
  }

  /**
   * The table of a file; of a new file it writes the header.
   * @param known the last one that was read: returned where it is that of this file
   * @returns undefined when another process was appending all the while
   * @throws LockUnsupportedError for a file of somebody else, LockLostError for one emptied under its holders
   */
  static of(file: RecordFile, known: NameTable | undefined): NameTable | undefined {
    if (known?.isOf(file)) return known
    if (file.isBlank && !file.appending(() => begin(file))) return undefined
    const header = file.read(0)
    if (header.startsWith(HEADER)) return new NameTable(header)
    if (file.isBlank) return undefined
    throw new LockUnsupportedError(
      `cannot lock ${file.path}: it is not the lock file of a LockTree. Remove it, or give the tree another path.`,
      { path: file.path },
    )
  }

  /** Whether the file is still the one that this was read from, and was not emptied. */
  isOf(file: RecordFile): boolean {
    return file.read(0) === this.#header
  }

  /** The record of a name, appended where it is new; undefined when another process was appending all the while. */
  indexOf(file: RecordFile, name: string): number | undefined {
    const known = this.#indexes.get(name)
    if (known !== undefined) return known
    return this.#appending(file, () => this.#indexes.get(name) ?? this.#append(file, `${NAME}${name}`))
  }

  /**
   * The record for a note of one's own, with its ownership locked on the file's descriptor; undefined when another
   * process was appending all the while.
   */
  takeSlot(file: RecordFile): number | undefined {
    const isTaken = (slot: number) => file.tryLock(ownership(slot))
    const slots = this.#slots
    const start = slots.length > MOST_TRIES ? Math.floor(Math.random() * slots.length) : 0
    for (let i = 0; i < Math.min(slots.length, MOST_TRIES); i++) {
      const slot = slots[(start + i) % slots.length] as number
      if (isTaken(slot)) return slot
    }
    const known = slots.length
    return this.#appending(file, () => {
      // Made by others since, and perhaps free again.
      const newest = slots.slice(known).slice(-MOST_TRIES).find(isTaken)
      if (newest !== undefined) return newest
      const slot = this.#append(file, NOTE)
      isTaken(slot)
      return slot
    })
  }

  #appending(file: RecordFile, run: () => number): number | undefined {
    return file.appending(() => {
      if (!this.isOf(file)) throw emptied(file)
      this.#readNew(file)
      return run()
    })
  }

  #append(file: RecordFile, text: string): number {
    const index = file.count
    if (index >= MOST_RECORDS) {
      throw new LockIoError(
        `cannot lock another name in ${file.path}: it has ${MOST_RECORDS} already, the most there can be. Names are ` +
          'for what a program has (tables, fields), not for what it stores; delete the file while nobody uses it.',
        { path: file.path },
      )
    }
    file.write(index, text)
    this.#readNew(file)
    return index
  }

  #readNew(file: RecordFile): void {
    const from = this.#count
    this.#count = file.count
    if (this.#count === from) return
    file.readEach(from, this.#count, (text, index) => {
      if (text.startsWith(NAME)) this.#indexes.set(text.slice(NAME.length), index)
      else if (text.startsWith(NOTE)) this.#slots.push(index)
    })
  }
}

/** The name that a record stands for, if it does. */
export function nameAt(file: RecordFile, index: number): string | undefined {
  const text = file.read(index)
  return text.startsWith(NAME) ? text.slice(NAME.length) : undefined
}

/** All places of notes, whether or not there is one now. */
export function slotsOf(file: RecordFile): number[] {
  const slots: number[] = []
  file.readEach(0, file.count, (text, index) => {
    if (text.startsWith(NOTE)) slots.push(index)
  })
  return slots
}

export function readNote(file: RecordFile, slot: number): Note | undefined {
  const note = orUndefined(() => JSON.parse(file.read(slot).slice(NOTE.length)) as Note | null)
  return typeof note?.pid === 'number' && typeof note.node === 'number' ? note : undefined
}

export function writeNote(
  file: RecordFile,
  slot: number,
  note: Pick<Note, 'state' | 'mode' | 'node' | 'reason'>,
): void {
  file.write(slot, NOTE + JSON.stringify({ ...ownId(), since: monotonicMs(), ...note }))
}

function begin(file: RecordFile): true {
  if (!file.isBlank) return true
  // Whoever holds something here knows the numbers of names that are gone: new numbers would be other locks.
  if (file.isBlocked(ALL_ELSE)) throw emptied(file)
  file.write(0, `${HEADER}${crypto().randomUUID()}`)
  return true
}

function emptied(file: RecordFile): LockLostError {
  return new LockLostError(
    `cannot lock ${file.path}: it was emptied while locks in it are held. What is held stays so; it can be used again ` +
      'when the holders have ended.',
    { path: file.path },
  )
}

/**
 * What a hold, or a waiter, leaves in the lock file about itself. Never the command line, which may hold secrets: that
 * is read from the live process. It counts only while its owner's byte is locked, so there are no ghosts.
 */
export interface Note extends ProcessId {
  /** Since when it holds or waits, in milliseconds on the monotonic clock, which nobody sets. */
  readonly since: number
  readonly state: 'holding' | 'waiting'
  readonly mode: TreeLockMode
  /** The record of the name. */
  readonly node: number
  readonly reason?: string | undefined
}

/** The lock file of a tree: where it is, and what is known of it. */
export interface TreeFile {
  readonly path: string
  /** The data file whose mode and group a new lock file takes over. */
  readonly guards: string | undefined
  table: NameTable | undefined
}
