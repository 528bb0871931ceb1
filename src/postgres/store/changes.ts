import type { LogMemory, RecordLine } from '../../store/adapter.ts'
import type { Segment } from '../../store/write-set.ts'
import type { Connection, Row } from '../server/connection.ts'
import { NOTE } from './rows.ts'

const PUT = 'select * from pslock.put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)'

/** So much is sent as one statement at most: V8 has no texts above 512 MB, and the server no values above 1 GB. */
const PIECE = { records: 20_000, chars: 32 * 2 ** 20 }

/** What a commit changes: records, each with its line, or that it is gone. */
export interface Changes {
  readonly keys: string[]
  readonly gone: boolean[]
  readonly lines: string[]
  /** Whether an index is among it. */
  readonly isFence: boolean
}

/** A commit as `pslock.put` wants to know it. */
export interface CommitOf {
  /** The number of the store in the database. */
  readonly store: number
  readonly incarnation: string | undefined
  /** How often an index was changed that this process knows of, or everything replaced. */
  readonly fence: number
  readonly client: string
  readonly number: number
}

/**
 * The rows of all lines: of each record the last.
 * @param notes what is to be kept beside the records, by its name
 */
export async function changesOf(
  segments: readonly Segment[],
  { coder, recordOf }: LogMemory,
  notes: ReadonlyMap<string, string>,
): Promise<Changes> {
  const records = new Map<string, RecordLine & { line: string }>()
  for (const { lines } of segments) {
    for (const line of lines) {
      const record = recordOf?.(coder ? await coder.decode(line) : line)
      if (!record) throw new Error('the adapter does not say which record a line is of')
      records.set(record.key, { ...record, line })
    }
  }
  for (const [name, line] of notes)
    records.set(NOTE + name, { key: NOTE + name, isGone: false, isIndex: false, line })
  const all = [...records.values()]
  return {
    keys: all.map(({ key }) => key),
    gone: all.map(({ isGone }) => isGone),
    lines: all.map(({ line }) => line),
    isFence: all.some(({ isIndex }) => isIndex),
  }
}

/** The same in pieces of which each can be sent as one statement. */
export function piecesOf(changes: Changes): Changes[] {
  const { keys, gone, lines, isFence } = changes
  const pieces: Changes[] = []
  for (let from = 0, to = 0; to < keys.length; from = to) {
    for (let chars = 0; to < keys.length && to - from < PIECE.records && chars < PIECE.chars; to++)
      chars += (lines[to] as string).length
    if (from === 0 && to === keys.length) return [changes]
    pieces.push({
      keys: keys.slice(from, to),
      gone: gone.slice(from, to),
      lines: lines.slice(from, to),
      isFence,
    })
  }
  return pieces
}

/**
 * Sends a commit in one piece.
 * @param reads the numbers of the records that were read, which must not have changed, all that are written among them; without
 *   it the lock is held by whoever sends it
 */
export async function put(
  connection: Connection,
  { store, incarnation, fence, client, number }: CommitOf,
  { keys, gone, lines, isFence }: Changes,
  reads?: ReadonlyMap<string, number>,
): Promise<Row> {
  let [read, versions]: [string[] | null, number[] | null] = [null, null]
  if (reads) {
    // Those that are written come first.
    read = reads.size === keys.length ? keys : [...new Set([...keys, ...reads.keys()])]
    versions = read.map((key) => reads.get(key) as number)
  }
  const values = [store, incarnation, fence, read, versions, keys, gone, lines, isFence, client, number]
  const [row] = await connection.query({ name: 'pslock.put', text: PUT, values })
  return row as Row
}

/** Sends a commit under the lock. @returns what the last piece answers */
export async function putAll(connection: Connection, commit: CommitOf, changes: Changes): Promise<Row> {
  const pieces = piecesOf(changes)
  if (pieces.length === 0) pieces.push(changes)
  const answers = await Promise.all(pieces.map((piece) => put(connection, commit, piece)))
  return answers.find(([status]) => status !== '0') ?? (answers.at(-1) as Row)
}
