import { LockIoError, LockLostError, LockUnsupportedError } from '../errors.ts'
import { crypto } from '../os/builtin.ts'
import { isRangeBlocked, tryLockRange, unlockRange } from '../os/ofd.ts'
import type { RecordFile } from '../os/record-file.ts'
import { ALL_ELSE, APPENDING, MOST_RECORDS, ownership } from './ranges.ts'

/** The first record: what the file is, and a name that it has for ever, however often it is emptied and refilled. */
const HEADER = 'pslock-tree 1 '
const NAME = 'name '
const NOTE = 'note '

/**
 * How many places of notes are tried before a new one is made. More would cost more than half a kilobyte is worth: the
 * kernel walks through all locks of the file at each try.
 */
const MOST_TRIES = 64

const sleeper = new Int32Array(new SharedArrayBuffer(4))

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
   * @param blockingMs how long to stay with it, blocking, while another process appends (some 20 microseconds each time)
   * @returns undefined when another process was appending all the while
   * @throws LockUnsupportedError for a file of somebody else, LockLostError for one emptied under its holders
   */
  static of(file: RecordFile, known: NameTable | undefined, blockingMs: number): NameTable | undefined {
    if (known?.isOf(file)) return known
    if (file.isBlank && !appending(file, blockingMs, () => begin(file))) return undefined
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
  indexOf(file: RecordFile, name: string, blockingMs: number): number | undefined {
    const known = this.#indexes.get(name)
    if (known !== undefined) return known
    return this.#appending(
      file,
      blockingMs,
      () => this.#indexes.get(name) ?? this.#append(file, `${NAME}${name}`),
    )
  }

  /**
   * The record for a note of one's own, with its ownership locked on the file's descriptor; undefined when another
   * process was appending all the while.
   */
  takeSlot(file: RecordFile, blockingMs: number): number | undefined {
    const isTaken = (slot: number) => tryLockRange(file.fd, 'exclusive', ownership(slot), file.path)
    const slots = this.#slots
    const start = slots.length > MOST_TRIES ? Math.floor(Math.random() * slots.length) : 0
    for (let i = 0; i < Math.min(slots.length, MOST_TRIES); i++) {
      const slot = slots[(start + i) % slots.length] as number
      if (isTaken(slot)) return slot
    }
    const known = slots.length
    return this.#appending(file, blockingMs, () => {
      // Made by others since, and perhaps free again.
      const newest = slots.slice(known).slice(-MOST_TRIES).find(isTaken)
      if (newest !== undefined) return newest
      const slot = this.#append(file, NOTE)
      isTaken(slot)
      return slot
    })
  }

  #appending(file: RecordFile, blockingMs: number, run: () => number): number | undefined {
    return appending(file, blockingMs, () => {
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
  return file.find(NOTE)
}

export function readNote(file: RecordFile, slot: number): string {
  return file.read(slot).slice(NOTE.length)
}

export function writeNote(file: RecordFile, slot: number, note: string): void {
  file.write(slot, `${NOTE}${note}`)
}

function begin(file: RecordFile): true {
  if (!file.isBlank) return true
  // Whoever holds something here knows the numbers of names that are gone: new numbers would be other locks.
  if (isRangeBlocked(file.fd, 'exclusive', ALL_ELSE, file.path)) throw emptied(file)
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

/** Runs while nobody else appends; undefined when somebody else does so for too long. */
function appending<T>(file: RecordFile, blockingMs: number, run: () => T): T | undefined {
  const end = performance.now() + blockingMs
  while (!tryLockRange(file.fd, 'exclusive', APPENDING, file.path)) {
    if (performance.now() > end) return undefined
    Atomics.wait(sleeper, 0, 0, 0.1)
  }
  try {
    return run()
  } finally {
    unlockRange(file.fd, APPENDING, file.path)
  }
}
