import { constants, fstatSync } from 'node:fs'
import { CorruptStoreError, errnoOf, StoreIoError } from '../errors.ts'
import { closeQuietly, orClose } from '../os/flock.ts'
import { PIECE_BYTES, readNow, readRange } from '../os/io.ts'
import { openFile } from '../os/open-files.ts'
import { storeFailure } from '../os/replace.ts'
import { requireReadable } from './data-file.ts'

/** Bytes that are read in pieces: those of a file, or what is put together of parts of others. */
export interface Source {
  readonly length: number
  /** @returns fewer bytes than asked for at the end */
  read(position: number, length: number): Buffer | Promise<Buffer>
}

export function bytesSource(bytes: Buffer): Source {
  return {
    length: bytes.length,
    read: (position, length) => bytes.subarray(position, position + length),
  }
}

/** The first bytes of an open file. */
export function fileSource(fd: number, length: number): Source {
  return { length, read: (position, wanted) => readRange(fd, position, Math.min(wanted, length - position)) }
}

interface Part {
  readonly source: Source
  /** Where in the source it begins, and how long it is. */
  readonly from: number
  readonly length: number
  /** Where in the whole it begins. */
  readonly at: number
}

/** Parts of other sources, one after the other. */
export class Spliced implements Source {
  readonly #parts: Part[] = []
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Adds the bytes of a source between two places. */
  add(source: Source, from = 0, to: number = source.length): this {
    if (to <= from) return this
    const last = this.#parts.at(-1)
    const isNext = last?.source === source && last.from + last.length === from
    if (isNext) this.#parts[this.#parts.length - 1] = { ...last, length: to - last.from }
    else this.#parts.push({ source, from, length: to - from, at: this.#length })
    this.#length += to - from
    return this
  }

  /** The same without its last bytes. */
  upTo(length: number): Spliced {
    const shorter = new Spliced()
    for (const { source, from, length: most, at } of this.#parts)
      shorter.add(source, from, from + Math.min(most, length - at))
    return shorter
  }

  async read(position: number, length: number): Promise<Buffer> {
    const found: Buffer[] = []
    const end = Math.min(position + length, this.#length)
    const first = this.#parts.findLastIndex((part) => part.at <= position)
    for (let at = position, index = first; at < end; index++) {
      const part = this.#parts[index] as Part
      const from = part.from + at - part.at
      const bytes = await part.source.read(from, Math.min(end - at, part.from + part.length - from))
      // The file became shorter.
      if (bytes.length === 0) break
      found.push(bytes)
      at += bytes.length
      if (at < part.at + part.length) index--
    }
    return found.length === 1 ? (found[0] as Buffer) : Buffer.concat(found)
  }
}

/** All of it, piece by piece. */
export async function* piecesOf(source: Source): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < source.length; ) {
    const piece = await source.read(at, Math.min(PIECE_BYTES, source.length - at))
    if (piece.length === 0) return
    yield piece
    at += piece.length
  }
}

/** All of it at once. */
export async function allOf(source: Source): Promise<Buffer> {
  return source.read(0, source.length)
}

/** All of a data file at one moment. */
export interface Snapshot extends Disposable {
  readonly source: Source
  /** The file's permission bits. */
  readonly mode: number
}

/** A text that is in no file. @param text undefined where there is none @throws StoreIoError */
export function textSnapshot(path: string, text: string | undefined): Snapshot {
  if (text !== undefined)
    return { source: bytesSource(Buffer.from(text)), mode: 0o600, [Symbol.dispose]() {} }
  throw new StoreIoError(`cannot read ${path}: nothing was written to it yet.`, { path })
}

/**
 * A file as it is now. Called under its lock.
 * @param endOf of a log, which is read later, without the lock: where what is complete ends. What is not complete yet is
 * read now, since the next writer mends it.
 * @throws StoreIoError
 */
export async function readSnapshot(
  path: string,
  endOf?: (source: Source) => Promise<number> | number,
): Promise<Snapshot> {
  const { fd, length, mode } = openWhole(path)
  const file = fileSource(fd, length)
  const source: Source = {
    length,
    async read(position, wanted) {
      try {
        return await file.read(position, wanted)
      } catch (error) {
        throw readingFailed(path, error)
      }
    },
  }
  try {
    if (!endOf) {
      const bytes = await allOf(source)
      closeQuietly(fd)
      return { source: bytesSource(bytes), mode, [Symbol.dispose]() {} }
    }
    const end = await endOf(source)
    const rest = bytesSource(await source.read(end, length - end))
    const whole = new Spliced().add(source, 0, end).add(rest)
    return { source: whole, mode, [Symbol.dispose]: () => closeQuietly(fd) }
  } catch (error) {
    closeQuietly(fd)
    throw error
  }
}

/** An open file, and how long it was then. A later rename does not take it away. @throws StoreIoError */
function openWhole(path: string): { fd: number; length: number; mode: number } {
  try {
    const fd = openFile(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const found = orClose(fd, () => fstatSync(fd))
    // A FIFO would pass for an empty file.
    if (!found.isFile()) {
      closeQuietly(fd)
      throw new CorruptStoreError(`${path} is not a regular file and cannot be a data file`, { path })
    }
    return { fd, length: found.size, mode: found.mode & 0o777 }
  } catch (error) {
    throw readingFailed(path, error)
  }
}

/** As `readSnapshot`, blocking the thread: for what is beside a data file. */
export function readWholeNow(path: string): Buffer {
  const { fd, length } = openWhole(path)
  try {
    requireReadable(path, length)
    return readNow(fd, 0, length)
  } catch (error) {
    throw readingFailed(path, error)
  } finally {
    closeQuietly(fd)
  }
}

/** What reading a file, which must be there, failed with. */
export function readingFailed(path: string, cause: unknown): Error {
  if (errnoOf(cause) !== 'ENOENT') return storeFailure(path, 'read', cause)
  return new StoreIoError(`cannot read ${path}: there is no such file (ENOENT).`, { path, cause })
}
