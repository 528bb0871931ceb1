import { constants, fchmodSync, fsyncSync, renameSync, statSync, unlinkSync } from 'node:fs'
import { CorruptStoreError, errnoOf, harmless, StaleWriteError, StoreIoError } from '../../../errors.ts'
import { closeQuietly } from '../../../os/flock.ts'
import { openFile } from '../../../os/open-files.ts'
import { keepAside, storeFailure } from '../../../os/replace.ts'
import type { LogFile } from '../../log/log-file.ts'
import type { Tree } from '../values.ts'
import { type Entries, journalOf } from './format.ts'

/**
 * A data file that has a journal is marked: without its journal it is not whole, and nothing in it says so. The mark is the
 * sticky bit (S_ISVTX), which Linux does not look at in files, which leaves the content as it is, and which neither git nor a
 * plain `cp` takes along. It is set when the first unit of the journal is on the disk, name included, and is not on the file
 * that replaces this one; so whoever finds it, and no journal, knows that somebody has taken that away.
 */
const MARK = 0o1000

export function isMarked({ mode }: { readonly mode: number }): boolean {
  return (mode & MARK) !== 0
}

/**
 * Marks an open file. Only its owner and root may do so, and not every file system has the bit: then, as after any failure,
 * nothing tells later that a journal is missing, to processes that have not seen it. No operation fails of that.
 * @param mode of the file
 */
export function mark(fd: number, mode: number): void {
  try {
    fchmodSync(fd, (mode & 0o7777) | MARK)
  } catch {
    // As said above.
  }
}

/**
 * The journal counts no more.
 * @throws what the system says; EPERM to who is neither the owner nor root
 */
export function unmark(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found || !isMarked(found)) return
  const fd = openFile(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    fchmodSync(fd, found.mode & 0o6777)
    // With the mark back after power loss a journal would be missed that was put aside.
    fsyncSync(fd)
  } finally {
    closeQuietly(fd)
  }
}

/**
 * Puts a journal aside whose changes are of another content than the file has now: somebody replaced the file who knows
 * nothing of journals. Under the shared lock, too: nobody writes meanwhile, and of two readers one renames.
 */
export function keepStale(path: string, entries: Entries, tree: Tree): StaleWriteError {
  let where: string
  try {
    const kept = putAside(path)
    where = `${kept === undefined ? 'another process has put it aside' : `it is kept in ${kept}`}. The next call works on the file as it is`
  } catch (error) {
    const code = error instanceof StoreIoError ? (errnoOf(error.cause) ?? '') : ''
    if (!['EACCES', 'EPERM', 'EROFS'].includes(code)) throw error
    where = `it is still ${journalOf(path)}, since this process may not put it aside (${code}). The next call of one that may does so`
  }
  return new StaleWriteError(
    `${path} was replaced by a program that does not lock (an editor, the vanilla library) while changes of it were in its ` +
      `journal. They are not of what is in the file now: ${where}; look whether you miss what is in the journal.`,
    { path, paths: ['(root)'], base: undefined, mine: entries.changes, theirs: tree },
  )
}

/** A journal was taken away that was not in its file yet. */
export function journalGone(path: string): CorruptStoreError {
  return new CorruptStoreError(
    `${journalOf(path)} is gone, or another one, and ${path} is as it was: what was changed since that was written, and ` +
      'acknowledged, is in neither. A journal is data. Nothing was written: put it back from a copy; or, to go on without ' +
      'those changes, run `pslock repair` on the file, and open the store anew.',
    { path },
  )
}

export function neverStill(path: string): StoreIoError {
  return new StoreIoError(
    `cannot read ${path} and its journal: they are replaced again and again, and without access to the lock file nobody waits ` +
      'for this reader. Give it read permission on the lock file.',
    { path },
  )
}

/** @returns the new name; undefined where it is gone already */
export function putAside(path: string): string | undefined {
  let kept: string | undefined
  try {
    unmark(path)
    // The name stands for it first: nothing of that name is replaced.
    kept = keepAside(path, 'journal', Buffer.alloc(0))
    renameSync(journalOf(path), kept)
    return kept
  } catch (error) {
    if (kept !== undefined) unlinkSync(kept)
    if (errnoOf(error) === 'ENOENT' && kept !== undefined) return undefined
    throw storeFailure(journalOf(path), 'put aside', error)
  }
}

/** Cuts off what a crash has left behind the last whole unit. */
export function cutTorn(log: LogFile, torn: Buffer): void {
  const kept = log.cutTail(torn)
  process.emitWarning(
    `${harmless(log.path)} ended in ${torn.length} bytes of an operation that was cut short by a crash. They were never acknowledged; ` +
      `they are kept in ${harmless(kept)}.`,
    { type: 'PsLockWarning', code: 'PSLOCK_TORN_TAIL' },
  )
}
