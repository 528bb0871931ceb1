import { bytesSource, type Snapshot, type Source } from '../../store/snapshot.ts'

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
