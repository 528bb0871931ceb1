import { renameSync, unlinkSync } from 'node:fs'
import { CorruptStoreError, errnoOf, harmless, StaleWriteError, StoreIoError } from '../../../errors.ts'
import { keepAside, storeFailure } from '../../../os/replace.ts'
import type { LogFile } from '../../log/log-file.ts'
import type { Tree } from '../json-tree.ts'
import { type Entries, journalOf } from './journal.ts'
import { unmark } from './mark.ts'

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
