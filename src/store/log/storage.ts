import type { LogMemory, StraightOperation } from '../adapter.ts'
import type { Engine, Notes } from '../engine.ts'
import type { Pipeline } from '../pipeline.ts'
import type { Snapshot, Source } from '../snapshot.ts'
import type { StoreLock } from '../store-lock.ts'
import type { WriteSet } from '../write-set.ts'

/** What a storage works with. */
export interface StorageParts {
  readonly memory: LogMemory
  /** What the operations of the present batch have done. `refresh` begins a new batch; `commit` takes what is to be written. */
  readonly writeSet: WriteSet
  readonly queue: Pipeline
}

/**
 * Where the content of a log store is kept. It makes memory equal to that content, and puts into it what the operations of
 * a batch did.
 */
export interface LogStorage
  extends Required<
    Pick<Engine, 'refresh' | 'refreshUnlocked' | 'isFresh' | 'lookNow' | 'settle' | 'commit' | 'end'>
  > {
  /** For messages: the real path of the data file, or the name of whatever else the content is in. */
  readonly path: string
  /** The data file; undefined where the content is in no file. */
  readonly file: string | undefined
  /** How long an operation may wait, in milliseconds. */
  readonly timeoutMs: number
  readonly lock: StoreLock
  /** Called once, before the first operation. */
  start(parts: StorageParts): void
  /** Afterwards the user's serialization hooks are known. */
  prepare(): Promise<void>
  /** Memory may differ from the content: everything is read at the next look. */
  distrustMemory(): void
  /** Whether what was written may be lost: an exclusive batch, even an empty one, writes it anew, before anybody is shown it. */
  readonly mustRewrite: boolean
  /** Whether the content was read without the lock and ends in what a crash has left. */
  readonly endsTorn: boolean
  /** See `LogSession.straight`. */
  straight<T>(operation: StraightOperation<T>, general: () => Promise<T>): Promise<T> | undefined
  /** See `LogSession.straightLook`. */
  straightLook<T>(look: () => T): { readonly value: T } | undefined
  /** In an exclusive operation: makes sure that there is a place for the content. */
  create(): void
  /** In an exclusive operation: removes the content. @throws TransactionError inside a transaction */
  drop(): void
  /**
   * In an exclusive operation: replaces the content by the current lines of memory; in a transaction when that ends well.
   * @param ifStale only if there are also other lines
   */
  compact(ifStale: boolean): Promise<void>
  /** Everything written so far. @throws StoreIoError */
  snapshot(): Promise<Snapshot>
  /** What it keeps beside the records; left out where it keeps nothing. */
  readonly notes?: Notes
  /** Replaces all of it by the lines of a log. Left out where the content is in a file, which is replaced itself. */
  replace?(content: Source): Promise<void>
  /** Ends when everything that was issued has ended, and nothing is open any more. */
  close(): Promise<void>
}
