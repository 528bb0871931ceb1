import type { LockMode } from '../../errors.ts'
import type { FileCalls, Steps } from '../../os/steps.ts'
import type { Notes } from '../engine.ts'
import type { Change } from './journal/changes.ts'
import type { Tree } from './values.ts'

/** What is new in the storage. */
export type Delta =
  | { readonly kind: 'none' }
  | { readonly kind: 'changes'; readonly changes: readonly Change[] }
  /** `tree` is undefined where there is nothing yet; `text` where the storage does not have it in one piece. */
  | { readonly kind: 'tree'; readonly tree: Tree; readonly text: string | undefined }

/** What the storage shall hold at the end of this batch, as whichever of the two is needed. */
export interface Head {
  readonly text: string
  readonly tree: Tree
}

/** How a write ended: so many of its changes are in the storage, and what stopped the next. */
export interface Written {
  readonly done: number
  readonly error?: unknown
  /** They are, but whether they survive power loss is unknown. */
  readonly unsynced?: unknown
  /** What must still happen before anything resolves. By default `sync`, where the storage is not synced. */
  readonly settle?: (() => Promise<void>) | undefined
}

/** Texts that are kept beside a tree, and change in one step with it. */
export interface TreeNotes extends Pick<Notes, 'get' | 'set'> {
  /** @returns what undoes those that were set since */
  mark(): () => void
}

/**
 * Where a tree is kept: its text and, where it keeps a journal, what was changed since that was written. What waits does so as
 * the calls that it is given; where there is no file, it always waits by a promise.
 */
export interface TreeStorage {
  /** For messages: the real path of the data file, or the name of whatever else the tree is in. */
  readonly path: string
  /** The data file; undefined where the tree is in no file, and so cannot be had while the thread is blocked. */
  readonly file: string | undefined
  /** Whether changes are added to a journal; else the text is written anew each time. */
  readonly keepsJournal: boolean
  /** Whether there was nothing at the last look. */
  readonly isMissing: boolean
  /** Whether there are changes that are not in the text yet. */
  readonly hasJournal: boolean
  /** Whether the last look has put such changes into the text. */
  readonly tookJournal: boolean
  /** Whether changes are to be put into the text before the storage is closed. */
  readonly endsWithCheckpoint: boolean
  /** Whether what was written may be lost: an exclusive batch, even an empty one, writes it anew, before anybody is shown it. */
  readonly mustRewrite: boolean
  /** Whether the durability is 'disk'. */
  readonly isDurable: boolean
  /** With durability 'disk': whether all that was read or written last is known to be on the disk. */
  readonly isSynced: boolean
  /** Looks for what is new. @throws CorruptStoreError, StaleWriteError, what the place itself fails with */
  refresh(mode: LockMode, calls: FileCalls): Steps<Delta>
  /** Whether nothing has changed since it was read or written here. Under the exclusive lock. */
  isFresh(calls: FileCalls): Steps<boolean>
  /** The next look reads everything. */
  forget(): void
  /**
   * Writes what it shall hold. Only under the exclusive lock, after `refresh`.
   * @param changes of each operation that made any, as JSON. Without any the text is written anew, with the journal in it
   * @throws where nothing was written
   */
  write(changes: readonly string[], head: Head, calls: FileCalls): Steps<Written>
  /** Makes what was read or written so far survive power loss. The lock need not be held. */
  sync(calls: FileCalls): Steps<void>
  /** Left out where nothing is kept beside the tree. */
  readonly notes?: TreeNotes
  /** The last act under the lock. */
  end(): void
  close(): Promise<void> | void
}
