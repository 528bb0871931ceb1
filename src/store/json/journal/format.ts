import { statSync } from 'node:fs'
import { CorruptStoreError } from '../../../errors.ts'
import { crypto, zlib } from '../../../os/modules.ts'
import { storeFailure } from '../../../os/replace.ts'
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
