import type { LockMode } from '../../errors.ts'
import type { StoreLock } from '../store-lock.ts'
import type { FileContent } from './text-file.ts'

/** Where the text of a store is kept. */
export interface TextStorage {
  /** For messages: the real path of the data file, or the name of whatever else the text is in. */
  readonly path: string
  /** The data file; undefined where the text is in no file. */
  readonly file: string | undefined
  readonly lock: StoreLock
  /** With durability 'disk': whether what was read or written last is known to be on the disk. */
  readonly isSynced: boolean
  /**
   * Looks for what is new.
   * @returns undefined where there is nothing new
   * @throws CorruptStoreError, what the place itself fails with
   */
  refresh(mode: LockMode): Promise<FileContent | undefined>
  /** Whether it still is what was read or written last. Under the exclusive lock. */
  isFresh(timeoutMs: number): Promise<boolean>
  /** @throws TypeError for a text that cannot be kept here */
  requireText(text: string): void
  /**
   * Replaces the text. Only under the exclusive lock, after `refresh`.
   * @returns what must still happen before anything resolves
   * @throws where it was not replaced
   */
  replace(text: string): Promise<(() => Promise<void>) | undefined>
  /** Makes what was read or written last survive power loss. The lock need not be held. */
  sync(): Promise<void>
  /** The next look reports the text as changed, whatever it finds. */
  forget(): void
  /** The last act under the lock. */
  end(): void
  close(): Promise<void> | void
}
