import { resolve } from 'node:path'
import { requireKnown } from '../../arguments.ts'
import { StoreIoError } from '../../errors.ts'
import type { Copyable } from './copyable.ts'
import { DUMP_NAMES, type DumpOptions, dump, restore } from './dump.ts'

export type { DumpOptions }

/** What every locked store can do with its file as a whole. */
export interface Dumps {
  /**
   * Writes a consistent copy of the store to another file, in the store's own format: everything that was acknowledged
   * before, and of every operation all or nothing. Others wait only while the file is read, writers alone. The copy
   * appears when it is whole and on the disk; after a crash there is none, or one.
   * @param path a new file; with `overwrite` also one that is there already
   * @throws StoreIoError (a file of this name is there, disk full, the store has no file), CorruptStoreError for a damaged
   * store, TransactionError inside a transaction, TypeError, the errors of `PsLock#shared`
   */
  dump(path: string, options?: DumpOptions): Promise<void>
  /**
   * Replaces the whole content of the store by that of a dump, or of any other file of the vanilla library, under the
   * exclusive lock; unsaved edits in memory are dropped. Every process sees it at its next call. The old content is
   * kept in `<file>.before-restore-<n>` until the new one is on the disk.
   * @throws CorruptStoreError for a damaged dump, before anything is touched; StoreIoError, TransactionError inside a
   * transaction, TypeError, the errors of `PsLock#exclusive`
   */
  restore(path: string): Promise<void>
}

/** The two doors of a store, over what its kind offers. */
export function dumps({ file, queue, refresh }: Copyable): Dumps {
  return {
    dump: async (path, options) => {
      requireKnown(options, DUMP_NAMES)
      const to = resolved(path)
      return queue.beside('shared', { name: 'dump', args: [path, options] }, () => dump(file, to, options))
    },
    restore: (path) => {
      const from = resolved(path)
      return queue.beside('exclusive', { name: 'restore', args: [path] }, async () => {
        await restore(file, from)
        await refresh()
      })
    },
  }
}

/** Hooks may keep it waiting, and a chdir meanwhile must not make it another file. What is no path is refused later. */
function resolved(path: string): string {
  return typeof path === 'string' && path !== '' ? resolve(path) : path
}

/** For a store without a file. */
export const withoutFile: Dumps = { dump: () => refuse(), restore: () => refuse() }

function refuse(): Promise<never> {
  const message = 'a store in memory only has no file that could be dumped or restored'
  return Promise.reject(new StoreIoError(message, { path: ':memory:' }))
}
