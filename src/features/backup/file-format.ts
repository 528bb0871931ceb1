import type { Snapshot, Source } from '../../store/snapshot.ts'
import type { Finding } from './finding.ts'

/** What a look at all bytes of a data file says. */
export interface Inspection {
  readonly findings: readonly Finding[]
  /** The file as it should be, which are the same bytes where nothing was found; undefined: it cannot be mended. */
  readonly content: Source | undefined
  /** What `content` leaves out. */
  readonly removed: Source
}

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
