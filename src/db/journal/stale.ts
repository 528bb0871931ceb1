import { renameSync, unlinkSync } from 'node:fs'
import { errnoOf, harmless, StaleWriteError } from '../../errors.ts'
import { keepAside } from '../../os/aside.ts'
import { storeFailure } from '../../os/replace.ts'
import type { LogFile } from '../log/log-file.ts'
import type { Tree } from '../tree/json-tree.ts'
import { type Entries, journalOf } from './journal.ts'

/**
 * Puts a journal aside whose changes are of another content than the file has now: somebody replaced the file who knows
 * nothing of journals. Under the shared lock, too: nobody writes meanwhile, and of two readers one renames.
 */
export function keepStale(path: string, entries: Entries, tree: Tree): StaleWriteError {
  const kept = putAside(path)
  const where = kept === undefined ? 'another process has put it aside' : `it is kept in ${kept}`
  return new StaleWriteError(
    `${path} was replaced by a program that does not lock (an editor, the vanilla library) while changes of it were in its ` +
      `journal. They are not of what is in the file now: ${where}. The next call works on the file as it is; look ` +
      'whether you miss what is in the journal.',
    { path, paths: ['(root)'], base: undefined, mine: entries.changes, theirs: tree },
  )
}

/** @returns the new name; undefined where it is gone already */
export function putAside(path: string): string | undefined {
  let kept: string | undefined
  try {
    // The name stands for it first: nothing of that name is replaced.
    kept = keepAside(path, 'journal', Buffer.alloc(0))
    renameSync(journalOf(path), kept)
    return kept
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || kept === undefined)
      throw storeFailure(journalOf(path), 'put aside', error)
    unlinkSync(kept)
    return undefined
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
