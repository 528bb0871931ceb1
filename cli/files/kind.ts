import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs'
import { lowdbFormat } from '../../adapters/lowdb/format.ts'
import { nedbFormat } from '../../adapters/nedb/inspect.ts'
import { CorruptStoreError } from '../../src/errors.ts'
import type { FileFormat } from '../../src/features/backup/format.ts'
import { PIECE_BYTES, readNow } from '../../src/os/io.ts'

/** The kinds of files that the command line knows. */
export const KINDS = ['nedb', 'lowdb'] as const
export type Kind = (typeof KINDS)[number]

/** What dump, restore and check must know of each. */
export const FORMATS: Record<Kind, FileFormat> = { nedb: nedbFormat, lowdb: lowdbFormat }

/**
 * What a file is said to be, or what it looks like: one with a line that is a record of NeDB's is NeDB's; one that begins
 * like JSON is lowdb's. Of an empty one its name tells: `.db` and `.nedb` are NeDB's, `.json`, or a journal beside it, lowdb's.
 * @throws where it looks like neither
 */
export function kindOf(file: string, said: Kind | undefined): Kind {
  const kind = said ?? look(file)
  if (kind === 'empty') {
    throw new Error(
      `${file} is empty, which a file of NeDB may be and one of lowdb may not: say which it is, by --store nedb or --store lowdb`,
    )
  }
  if (kind) return kind
  throw new Error(
    `${file} looks neither like a file of NeDB nor like one of lowdb: say which it is, by --store nedb or --store lowdb`,
  )
}

/** Of this kind. @throws as `kindOf` */
export function formatOf(file: string, said: Kind | undefined): FileFormat {
  return FORMATS[kindOf(file, said)]
}

/** @throws where two files look like different kinds of stores, and nobody said what they are */
export function requireSameKind(file: string, dump: string, said: Kind | undefined): void {
  if (said || !existsSync(file)) return
  const [own, other] = [file, dump].map(look)
  // An empty file may be replaced by any.
  if (!own || !other || own === other || isEmpty(file)) return
  throw new Error(
    `${file} looks like a file of ${own}, and ${dump} like one of ${other}. If it shall be so: --store ${other}`,
  )
}

/** A longer line is not looked at: that is no record that anybody would write. */
const LONGEST_LINE_BYTES = 64 * PIECE_BYTES

/** What it looks like, and is called. To read a FIFO would wait until somebody writes into it. @throws CorruptStoreError */
function look(path: string): Kind | 'empty' | undefined {
  if (!statSync(path).isFile())
    throw new CorruptStoreError(`${path} is not a regular file and cannot be a data file`, { path })
  const fd = openSync(path, 'r')
  try {
    const first = readNow(fd, 0, PIECE_BYTES)
    if (isBlank(first)) return kindOfName(path) ?? 'empty'
    const found = some(linesOf(fd), isNedbRecord)
    if (found) return 'nedb'
    return /^\s*[[{]/.test(first.toString()) ? 'lowdb' : undefined
  } finally {
    closeSync(fd)
  }
}

function isBlank(bytes: Buffer): boolean {
  return bytes.length < PIECE_BYTES && /^[ \t\r\n]*$/.test(bytes.toString())
}

function isEmpty(path: string): boolean {
  const { size } = statSync(path)
  return size < PIECE_BYTES && isBlank(readFileSync(path))
}

function kindOfName(path: string): Kind | undefined {
  if (existsSync(`${path}.journal`)) return 'lowdb'
  if (/\.(db|nedb)$/i.test(path)) return 'nedb'
  return /\.json$/i.test(path) ? 'lowdb' : undefined
}

/** The lines of a file that are not too long. */
function* linesOf(fd: number): Generator<string, void, undefined> {
  let kept = Buffer.alloc(0)
  for (let at = 0; ; ) {
    const piece = readNow(fd, at, Math.max(PIECE_BYTES, kept.length))
    at += piece.length
    const bytes = Buffer.concat([kept, piece])
    const end = piece.length === 0 ? bytes.length : bytes.lastIndexOf('\n') + 1
    if (end <= LONGEST_LINE_BYTES) yield* bytes.toString('utf8', 0, end).split('\n')
    if (piece.length === 0) return
    kept = bytes.length - end > LONGEST_LINE_BYTES ? Buffer.from('x') : bytes.subarray(end)
  }
}

function some(lines: Iterable<string>, is: (line: string) => boolean): boolean {
  for (const line of lines) if (is(line)) return true
  return false
}

function isNedbRecord(line: string): boolean {
  if (!/^\s*\{.*\}\s*$/.test(line)) return false
  try {
    return Object.keys(JSON.parse(line) as object).some((key) => key === '_id' || key.startsWith('$$'))
  } catch {
    return false
  }
}
