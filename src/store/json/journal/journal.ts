import { constants, fchmodSync, fsyncSync, renameSync, statSync, unlinkSync } from 'node:fs'
import { CorruptStoreError, errnoOf, harmless, StaleWriteError, StoreIoError } from '../../../errors.ts'
import { closeQuietly } from '../../../os/flock.ts'
import { crypto, zlib } from '../../../os/modules.ts'
import { openFile } from '../../../os/open-files.ts'
import { keepAside, storeFailure } from '../../../os/replace.ts'
import type { LogFile } from '../../log/log-file.ts'
import type { Tree } from '../values.ts'
import type { Change } from './changes.ts'

/**
 * A unit of a journal: `<bytes of the JSON> <its crc32, hexadecimal> <JSON>\n`. One write(2) is not atomic: a crash leaves
 * a part of a unit, and power loss zeros, neither of which passes for one.
 */
const NEWLINE = 10
const HEAD = /^(\d{1,15}) ([0-9a-f]{8}) $/
const LONGEST_HEAD = 25

function encodeUnit(json: string): Buffer {
  const body = Buffer.from(json)
  return Buffer.from(`${body.length} ${checksum(body)} ${json}\n`)
}

/** The whole units at the beginning of some bytes. */
interface Scan {
  /** What each of them holds. */
  readonly units: readonly unknown[]
  /** Where they end. */
  readonly end: number
}

function scanUnits(bytes: Buffer): Scan {
  const units: unknown[] = []
  let end = 0
  for (;;) {
    const newline = bytes.indexOf(NEWLINE, end)
    const json = newline === -1 ? undefined : jsonIn(bytes.subarray(end, newline))
    if (json === undefined) return { units, end }
    units.push(JSON.parse(json))
    end = newline + 1
  }
}

/** Whether bytes that begin with no whole unit may be the beginning of one, or what power loss leaves of it. */
function mayBeTorn(bytes: Buffer): boolean {
  const [head = ''] = bytes.toString('latin1', 0, LONGEST_HEAD).split('\0')
  return /^(\d{1,15}( ([0-9a-f]{0,7}|[0-9a-f]{8}( .*)?))?)?$/s.test(head)
}

function jsonIn(line: Buffer): string | undefined {
  const space = line.indexOf(' ', line.indexOf(' ') + 1)
  const head = HEAD.exec(line.toString('latin1', 0, Math.min(space + 1, LONGEST_HEAD)))
  const body = line.subarray(space + 1)
  const isWhole = head && Number(head[1]) === body.length && head[2] === checksum(body)
  return isWhole ? body.toString() : undefined
}

function checksum(bytes: Buffer): string {
  return zlib().crc32(bytes).toString(16).padStart(8, '0')
}

/**
 * The journal of a data file: `<file>.journal`, what was changed since the file was written. Its first unit names the
 * *base*, the content that the changes are of, by its hash; so does one that is added before the file is replaced
 * by its new content, in which all of them are. Then whoever finds the two knows, wherever a crash has come between:
 * a file that is the base lacks the changes; one that is the new content has them.
 */
export function journalOf(path: string): string {
  return `${path}.journal`
}

/** A store must not look past a journal, whether it would write one or not. @param path of the data file */
export function hasJournal(path: string): boolean {
  const journal = journalOf(path)
  try {
    return statSync(journal, { throwIfNoEntry: false }) !== undefined
  } catch (error) {
    // Not knowing is no answer, which `existsSync` would make a no.
    throw storeFailure(journal, 'look at', error)
  }
}

/** What a content is known by. */
export function hashOf(text: string | Buffer): string {
  return crypto().createHash('sha256').update(text).digest('hex')
}

interface Marker {
  /** The hash of the content that the changes are of. */
  readonly base?: string
  /** The hash of the content that has all changes so far. */
  readonly folded?: string
}

export const firstUnit = (base: string): Buffer => encodeUnit(JSON.stringify({ base } satisfies Marker))
export const lastUnit = (folded: string): Buffer => encodeUnit(JSON.stringify({ folded } satisfies Marker))
export const unitOf = (changes: string): Buffer => encodeUnit(changes)

/** What stands in a part of a journal. */
export interface Entries {
  readonly changes: readonly Change[]
  /** Left out where the part does not begin at the beginning of a journal. */
  readonly base: string | undefined
  /** Left out where it does not end so. */
  readonly folded: string | undefined
  /** Where its whole units end. */
  readonly end: number
}

export function entriesOf(bytes: Buffer): Entries {
  const { units, end } = scanUnits(bytes)
  const changes: Change[] = []
  for (const unit of units) if (Array.isArray(unit)) for (const change of unit) changes.push(change as Change)
  const { base } = (units[0] ?? {}) as Marker
  const { folded } = (units.at(-1) ?? {}) as Marker
  return { changes, base, folded, end }
}

/** What a journal is to a content: its changes are to be applied to that, or are in it, or are of another. */
export type Relation = 'current' | 'spent' | 'stale'

/** @param hash of the content; undefined where there is no file */
export function relationTo(hash: string | undefined, { base, folded }: Entries): Relation {
  // A crash, before the first unit was whole.
  if (base === undefined) return 'spent'
  if (hash === undefined) return 'stale'
  if (hash === base) return 'current'
  return hash === folded ? 'spent' : 'stale'
}

/** @throws CorruptStoreError for a file that only has the name of a journal */
export function requireJournal(path: string, bytes: Buffer, entries: Entries): void {
  if (isJournal(bytes, entries)) return
  throw new CorruptStoreError(
    `${journalOf(path)} is no journal of pslock, and has the name of the one of ${path}. It was left as it is; move it away.`,
    { path: journalOf(path) },
  )
}

/** Whether it is one, or what a crash has left of one. */
export function isJournal(bytes: Buffer, { base, end }: Entries): boolean {
  return base !== undefined || (end === 0 && mayBeTorn(bytes))
}

/**
 * A data file that has a journal is marked: without its journal it is not whole, and nothing in it says so. The mark is the
 * sticky bit (S_ISVTX), which Linux does not look at in files, which leaves the content as it is, and which neither git nor a
 * plain `cp` takes along. It is set when the first unit of the journal is on the disk, name included, and is not on the file
 * that replaces this one; so whoever finds it, and no journal, knows that somebody has taken that away.
 */
const MARK = 0o1000

export function isMarked({ mode }: { readonly mode: number }): boolean {
  return (mode & MARK) !== 0
}

/**
 * Marks an open file. Only its owner and root may do so, and not every file system has the bit: then, as after any failure,
 * nothing tells later that a journal is missing, to processes that have not seen it. No operation fails of that.
 * @param mode of the file
 */
export function mark(fd: number, mode: number): void {
  try {
    fchmodSync(fd, (mode & 0o7777) | MARK)
  } catch {
    // Then it is without the mark.
  }
}

/**
 * The journal counts no more.
 * @throws what the system says; EPERM to who is neither the owner nor root
 */
export function unmark(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found || !isMarked(found)) return
  const fd = openFile(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    fchmodSync(fd, found.mode & 0o6777)
    // With the mark back after power loss a journal would be missed that was put aside.
    fsyncSync(fd)
  } finally {
    closeQuietly(fd)
  }
}

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
