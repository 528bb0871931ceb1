import { existsSync } from 'node:fs'
import type { LockMode } from '../../errors.ts'
import { PsLock } from '../../lock/lock.ts'
import { isReadOnlyFolder } from '../../lock/lock-file.ts'
import { replaceFile } from '../../os/replace.ts'
import { DataFile, exclusiveToWrite, untilUnsplit } from '../../store/data-file.ts'
import {
  bytesSource,
  fileSource,
  piecesOf,
  readSnapshot,
  type Snapshot,
  type Source,
} from '../../store/snapshot.ts'

/** What `check` looks for. The last three are files beside the data file. */
export type FindingKind =
  | 'torn-tail'
  | 'unclosed-unit'
  | 'unterminated'
  | 'unreadable-line'
  | 'odd-bytes'
  | 'changed-unit'
  | 'duplicate-key'
  | 'twin-id'
  | 'damaged-dump'
  | 'not-text'
  | 'unreadable'
  | 'too-large'
  | 'byte-order-mark'
  | 'trailing-bytes'
  | 'foreign'
  | 'journal-gone'
  | 'stale-journal'
  | 'leftover'
  | 'kept-aside'

/** One thing that `check` has found. */
export interface Finding {
  readonly what: FindingKind
  /** For people: what it is. */
  readonly message: string
  /** For people: what to do about it. */
  readonly mend: string
  /** Where, in the data file: the line, from 1. */
  readonly line?: number | undefined
  /** Where, in the data file: the byte, from 0. */
  readonly byte?: number | undefined
  /** Where, beside the data file: the path. */
  readonly file?: string | undefined
}

export function finding(
  what: FindingKind,
  message: string,
  mend: string,
  at: Pick<Finding, 'line' | 'byte' | 'file'> = {},
): Finding {
  return { what, message, mend, ...at }
}

/** What a crash leaves at the end of a log: never acknowledged, or whole but for its line feed. Every reader copes. */
export const OF_A_CRASH: ReadonlySet<FindingKind> = new Set(['torn-tail', 'unclosed-unit', 'unterminated'])

/** What every reader of a log reads all the same, as the store itself does: somebody may have edited it on purpose. */
export const READABLE: ReadonlySet<FindingKind> = new Set(['odd-bytes', 'changed-unit'])

/** What is kept as evidence is no damage: the file is whole beside it. */
export function isDamage({ what }: Finding): boolean {
  return what !== 'kept-aside'
}

/** A finding in one line. */
export function findingText({ message, line, byte, file }: Finding): string {
  const at = [line === undefined ? [] : `line ${line}`, byte === undefined ? [] : `byte ${byte}`].flat()
  const where = file ?? at.join(', ')
  return where === '' ? message : `${where}: ${message}`
}

/** What a look at all bytes of a data file says. */
export interface Inspection {
  readonly findings: readonly Finding[]
  /** The file as it should be, which are the same bytes where nothing was found; undefined: it cannot be mended. */
  readonly content: Source | undefined
  /** What `content` leaves out. */
  readonly removed: Source
}

/** A file that must be left as it is. */
export function unmendable(...found: Parameters<typeof finding>): Inspection {
  return { findings: [finding(...found)], content: undefined, removed: NOTHING }
}

export const NOTHING: Source = bytesSource(Buffer.alloc(0))

/** What was found beside a data file, and where that is kept of it which was put aside. */
export interface Settled {
  readonly findings: readonly Finding[]
  readonly kept: readonly string[]
}

/** What dump, restore, check and repair must know of a kind of file. */
export interface FileFormat {
  /** How it is called in messages. */
  readonly name: string
  /** The temp file of a replacement; only used under the file's lock. */
  temp(path: string): string
  /** Looks for everything that keeps the bytes from being a whole file of this kind. */
  inspect(source: Source): Promise<Inspection>
  /**
   * Where what is complete ends, and is never changed again: it can be read without the lock. Left out where the file is
   * replaced as a whole.
   */
  endOf?(source: Source): Promise<number>
  /** Reads the store, what lies beside the file included, under the shared lock; left out where that is the file. */
  read?(path: string): Promise<Snapshot>
  /** What is wrong with what belongs to the file and lies beside it. */
  beside?(path: string): Promise<Finding[]>
  /**
   * Called under the exclusive lock before the file is replaced: puts what lies beside it into it, or, what does not fit it,
   * aside.
   */
  settle?(path: string): Promise<Settled>
  /** @throws TypeError where nobody can tell whether a dump is whole, so that none is restored */
  requireRestorable?(path: string): void
  /** Marks a dump, so that one that was cut short afterwards is recognised; left out where that shows by itself. */
  seal?(content: Source): Promise<Source>
}

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
