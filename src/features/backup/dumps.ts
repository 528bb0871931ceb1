import { resolve } from 'node:path'
import { requireKnown } from '../../arguments.ts'
import { StoreIoError } from '../../errors.ts'
import type { OpenOptions } from '../../store/options.ts'
import type { Pipeline } from '../../store/pipeline.ts'
import type { Snapshot, Source } from '../../store/snapshot.ts'
import { DUMP_NAMES, type DumpOptions, dump, restore } from './dump.ts'
import type { FileFormat } from './file-format.ts'
import { readStore, type StoreFile } from './store-file.ts'

export type { DumpOptions }

/** Copying and replacing the file of a locked store as a whole. */
export interface Dumps {
  /**
   * Writes a consistent copy of the store to another file, in the store's own format. It has everything that was
   * acknowledged before, and of every operation all or nothing. Only writers wait, and only while the file is read. The
   * copy appears whole and on the disk, or not at all.
   * @param path a new file; with `overwrite` also an existing one
   * @throws StoreIoError (the file exists, the disk is full, the store is in memory), CorruptStoreError for a damaged store,
   * TransactionError inside a transaction, TypeError, the errors of `PsLock#shared`
   */
  dump(path: string, options?: DumpOptions): Promise<void>
  /**
   * Replaces the content of the store by that of a dump, or of any other file of the unmodified library, under the exclusive
   * lock. Unsaved edits in memory are dropped. Every process sees the new content at its next call. The old content is
   * in `<file>.before-restore-<n>` until the new content is on the disk.
   * @throws CorruptStoreError for a damaged dump, before anything is changed; StoreIoError; TransactionError inside a
   * transaction; TypeError; the errors of `PsLock#exclusive`
   */
  restore(path: string): Promise<void>
}

/** What an open store gives for its file as a whole; what it leaves out is done as its file format says. */
export interface BackupSource {
  readonly queue: Pipeline
  /** All of the store at one moment, read under the shared lock. @throws StoreIoError where there is no file */
  snapshot?(): Promise<Snapshot>
  /** Makes memory equal to the file. */
  reload?(): Promise<void>
  /** Called before a restore with the new content. @throws where the store could not load it */
  tryOn?(content: Source): Promise<void>
}

const STEP = { isInternal: true }

/**
 * `Dumps` of an open store.
 * @param path the real one of the data file that the queue's operations work on
 * @param formatOf asked when it is needed: few programs load what is behind it
 */
export function dumps(
  path: string,
  { lock, timeoutMs }: OpenOptions,
  source: BackupSource,
  formatOf: () => FileFormat,
): Dumps {
  const { queue } = source
  const fileOf = (): StoreFile => {
    const format = formatOf()
    const read = () => queue.push('shared', () => readStore(path, format), { ...STEP, kind: 'transaction' })
    return {
      path,
      lock,
      timeoutMs,
      format,
      read: () => source.snapshot?.() ?? read(),
      tryOn: async (content) => source.tryOn?.(content),
    }
  }
  return {
    dump: async (to, options) => {
      requireKnown(options, DUMP_NAMES)
      const target = resolved(to)
      const call = { name: 'dump', args: [to, options] }
      return queue.beside('shared', call, () => dump(fileOf(), target, options))
    },
    restore: (from) => {
      const origin = resolved(from)
      return queue.beside('exclusive', { name: 'restore', args: [from] }, async () => {
        await restore(fileOf(), origin)
        await (source.reload?.() ?? queue.push('shared', () => {}, STEP))
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
