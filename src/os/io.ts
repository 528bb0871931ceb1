import fs, { fsync, read, readSync, write, writeSync } from 'node:fs'
import { promisify } from 'node:util'

/**
 * Reading and writing by numeric descriptor. Never a FileHandle: a collected FileHandle closes itself, and the lock on
 * it is gone. Small work is synchronous (a trip to libuv's pool costs more than the call); bulk work is not.
 */

/** Up to this much is read or written synchronously while a lock is held. */
const SMALL_BYTES: number = 64 * 1024

/** A large file is read and written in pieces of this size. Between two of them other work of the process gets its turn. */
export const PIECE_BYTES: number = 2 ** 20

const readAsync = promisify(read)
const writeAsync = promisify(write)

/** Reads `length` bytes at `position`, fewer at the end of the file; `blocking` however many they are. */
export function readRange(
  fd: number,
  position: number,
  length: number,
  blocking = false,
): Buffer | Promise<Buffer> {
  if (length > SMALL_BYTES && !blocking) return readBulk(fd, Buffer.allocUnsafe(length), position)
  return readNow(fd, position, length)
}

/** As `readRange`, always blocking the thread: for what is in the page cache, since it has just been written. */
export function readNow(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length)
  let done = 0
  while (done < length) {
    const got = readSync(fd, buffer, done, length - done, position + done)
    if (got === 0) break
    done += got
  }
  return done === length ? buffer : buffer.subarray(0, done)
}

/** Reads into a buffer from `position` on, as much as there is. @returns how many bytes */
export function readInto(fd: number, buffer: Buffer, position: number): number {
  return readSync(fd, buffer, 0, buffer.length, position)
}

async function readBulk(fd: number, buffer: Buffer, position: number): Promise<Buffer> {
  let done = 0
  while (done < buffer.length) {
    const most = Math.min(buffer.length - done, 1 << 24)
    const { bytesRead } = await readAsync(fd, buffer, done, most, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return buffer.subarray(0, done)
}

/** What came of a write: how many bytes are in the file, and what stopped it. */
export interface Written {
  readonly bytes: number
  readonly error: unknown
}

/** Writes it all at `position` (ignored by descriptors opened O_APPEND); reports a short write instead of throwing. */
export function writeAt(fd: number, data: Buffer, position: number): Written | Promise<Written> {
  return data.length > SMALL_BYTES ? writeBulk(fd, data, position) : writeAtSync(fd, data, position)
}

export function writeAtSync(fd: number, data: Buffer, position: number): Written {
  let bytes = 0
  try {
    while (bytes < data.length) bytes += writeSync(fd, data, bytes, data.length - bytes, position + bytes)
    return { bytes, error: undefined }
  } catch (error) {
    return { bytes, error }
  }
}

async function writeBulk(fd: number, data: Buffer, position: number): Promise<Written> {
  let bytes = 0
  try {
    while (bytes < data.length) {
      const { bytesWritten } = await writeAsync(fd, data, bytes, data.length - bytes, position + bytes)
      bytes += bytesWritten
    }
    return { bytes, error: undefined }
  } catch (error) {
    return { bytes, error }
  }
}

/** A content that is made as it is written, in pieces of about a mebibyte. */
export type Pieces = Iterable<Buffer> | AsyncIterable<Buffer>

/** Writes the whole content of a new file. */
async function writePieces(fd: number, content: Pieces): Promise<void> {
  let position = 0
  for await (const piece of content) position += whole(await writeAt(fd, piece, position), piece)
}

/** As `writePieces`; one small piece at once. */
export function writeNew(fd: number, content: Pieces): void | Promise<void> {
  const isSmall = Array.isArray(content) && content.length === 1 && content[0].length <= SMALL_BYTES
  return isSmall ? writePiecesSync(fd, content) : writePieces(fd, content)
}

/** As `writePieces`, blocking. */
export function writePiecesSync(fd: number, content: Pieces): void {
  let position = 0
  for (const piece of content as Iterable<Buffer>) position += whole(writeAtSync(fd, piece, position), piece)
}

function whole({ bytes, error }: Written, piece: Buffer): number {
  if (bytes < piece.length) throw error
  return bytes
}

/**
 * Writes the whole content of a new file. Through `fs.createWriteStream`, looked up when it is called: that is how NeDB
 * writes, and its own crash test replaces that function to die after 5000 bytes.
 */
export async function writeAsStream(fd: number, path: string, content: Pieces): Promise<void> {
  // The descriptor carries our lock, so the stream must not close it.
  const keepOpen = {
    write: fs.write,
    writev: fs.writev,
    close: (_fd: number, done: (error: null) => void) => done(null),
  }
  const stream = fs.createWriteStream(path, { fd, fs: keepOpen as typeof fs })
  // Each write, and the closing, is told of a failure.
  stream.on('error', () => {})
  const done = (call: (settle: (error?: Error | null) => void) => void) =>
    new Promise<void>((resolve, reject) => call((error) => (error ? reject(error) : resolve())))
  for await (const piece of content) await done((settle) => stream.write(piece, settle))
  await done((settle) => stream.close(settle))
}

/** fsync on libuv's pool: it ends by itself, so it may be there; on the main thread it would block the event loop. */
export const sync: (fd: number) => Promise<void> = promisify(fsync)
