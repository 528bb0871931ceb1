import { constants, existsSync, fstatSync } from 'node:fs'
import { CorruptStoreError, errnoOf, type LockMode, StoreIoError } from '../../errors.ts'
import { PsLock } from '../../lock/lock.ts'
import { isReadOnlyFolder } from '../../lock/lock-file.ts'
import { closeQuietly, orClose } from '../../os/flock.ts'
import { readNow } from '../../os/io.ts'
import { openFile } from '../../os/open-files.ts'
import { replaceFile, storeFailure } from '../../os/replace.ts'
import { DataFile, exclusiveToWrite, requireReadable, untilUnsplit } from '../../store/data-file.ts'
import type { Content, FileFormat, Settled } from './file-format.ts'
import { allOf, bytesSource, fileSource, piecesOf, type Source, Spliced } from './source.ts'

/** A data file, its lock, and what it must look like. */
export interface StoreFile {
  /** The real path. */
  readonly path: string
  readonly lock: PsLock
  readonly timeoutMs: number
  readonly format: FileFormat
  /** Reads it under the shared lock. @throws StoreIoError where there is none */
  read(): Promise<Content>
  /** Called before a restore with the new content. @throws where the store could not load it */
  tryOn?(content: Source): Promise<void>
}

/** A data file that no store object of this process has open. @param path the real one */
export function closedFile(path: string, lock: PsLock, timeoutMs: number, format: FileFormat): StoreFile {
  return { path, lock, timeoutMs, format, read: () => shared(lock, () => readStore(path, format)) }
}

/** Under the shared lock; without it where no lock file can be made: units and renames are whole. */
export async function shared<T>(lock: PsLock, run: () => Promise<T>): Promise<T> {
  try {
    return await lock.shared(run)
  } catch (error) {
    if (!isReadOnlyFolder(error)) throw error
    return run()
  }
}

/** The store in a file. Called under its lock. @throws StoreIoError */
export function readStore(path: string, format: FileFormat): Promise<Content> {
  return format.read ? format.read(path) : readFile(path, format)
}

/**
 * A file as it is now. Called under its lock.
 * @param format of one that can be read later as well: what is not complete yet is read now, since the next writer mends it
 * @throws StoreIoError
 */
export async function readFile(path: string, format?: Pick<FileFormat, 'endOf'>): Promise<Content> {
  const written = openWhole(path)
  if (format?.endOf) return contentOf(path, written, (source) => format.endOf?.(source) ?? 0)
  using content = opened(path, written)
  const { source, mode } = content
  return { source: bytesSource(await allOf(source)), mode, [Symbol.dispose]() {} }
}

/**
 * An open log, to be read without the lock.
 * @param endOf where what is complete ends
 * @throws StoreIoError
 */
export async function contentOf(
  path: string,
  written: Written,
  endOf: (source: Source) => Promise<number> | number,
): Promise<Content> {
  const content = opened(path, written)
  try {
    const { source } = content
    const end = await endOf(source)
    const rest = await source.read(end, source.length - end)
    return { ...content, source: new Spliced().add(source, 0, end).add(bytesSource(rest)) }
  } catch (error) {
    content[Symbol.dispose]()
    throw error
  }
}

/** A file that was opened, and how long it was then. A later rename does not take it away. */
export interface Written {
  readonly fd: number
  readonly length: number
  readonly mode: number
}

/** @throws StoreIoError */
export function openWhole(path: string): Written {
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

function opened(path: string, { fd, length, mode }: Written): Content {
  const { read } = fileSource(fd, length)
  const source: Source = {
    length,
    async read(position, wanted) {
      try {
        return await read(position, wanted)
      } catch (error) {
        throw readingFailed(path, error)
      }
    },
  }
  return { source, mode, [Symbol.dispose]: () => closeQuietly(fd) }
}

/** As `readFile`, blocking the thread: for what is beside a data file. */
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

/**
 * Replaces the content of a data file under its exclusive lock: temp file, fsync, rename, fsync of the folder. Every
 * process sees it at its next call.
 * @param change of the old content (undefined: there is no file) makes the new one; undefined leaves it as it is
 * @throws the errors of `PsLock#exclusive`, LockLostError, StoreIoError, LockUnsupportedError
 */
export async function replaceContent(
  { path, lock, timeoutMs, format }: StoreFile,
  newMode: number,
  change: (old: Source | undefined, settled: Settled) => Promise<Source | undefined>,
): Promise<void> {
  await exclusiveToWrite(path, lock, async () => {
    const settled = (await format.settle?.(path)) ?? { findings: [], kept: [] }
    const data = new DataFile(path, false)
    try {
      const found = await untilUnsplit(timeoutMs, () => data.look('exclusive'))
      data.requireWritable()
      const content = await change(found && fileSource(data.fd, found.size), settled)
      if (!content) return
      const how = { temp: format.temp(path), newMode, durable: true }
      data.adopt(await replaceFile(path, piecesOf(content), how), true)
    } finally {
      data.close()
    }
  })
}

/** A file that may be somebody's store: where it has a lock file, under that lock. */
export async function underItsLock<T>(path: string, mode: LockMode, run: () => Promise<T>): Promise<T> {
  const lock = new PsLock(path)
  if (!existsSync(lock.path)) return run()
  try {
    return await (mode === 'shared' ? shared(lock, run) : exclusiveToWrite(path, lock, run))
  } finally {
    await lock.close()
  }
}
