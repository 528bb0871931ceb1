import { existsSync } from 'node:fs'
import type { LockMode } from '../../errors.ts'
import { PsLock } from '../../lock/lock.ts'
import { isReadOnlyFolder } from '../../lock/lock-file.ts'
import { replaceFile } from '../../os/replace.ts'
import { DataFile, exclusiveToWrite, untilUnsplit } from '../../store/data-file.ts'
import type { Snapshot } from '../../store/snapshot.ts'
import { fileSource, piecesOf, readSnapshot, type Source } from '../../store/snapshot.ts'
import type { FileFormat, Settled } from './file-format.ts'

/** A data file, its lock, and what it must look like. */
export interface StoreFile {
  /** The real path. */
  readonly path: string
  readonly lock: PsLock
  readonly timeoutMs: number
  readonly format: FileFormat
  /** Reads it under the shared lock. @throws StoreIoError where there is none */
  read(): Promise<Snapshot>
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
export function readStore(path: string, format: FileFormat): Promise<Snapshot> {
  return format.read ? format.read(path) : readSnapshot(path, format.endOf)
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
