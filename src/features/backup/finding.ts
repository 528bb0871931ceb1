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
