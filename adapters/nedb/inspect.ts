import { setImmediate } from 'node:timers/promises'
import { type LineProblem, type LogLine, unreadableLine } from '../../src/db/dump/log-format.ts'
import { isForeign, twinOf } from './records.ts'
import { uniqueKeys } from './unique-keys.ts'

type Doc = Record<string, unknown>

/** A document as the file leaves it, with all lines of its id. */
interface Living {
  readonly doc: Doc
  readonly lines: readonly LogLine[]
}

/** After so many lines other work of the process gets its turn. */
const LINES_AT_ONCE = 2000

/** What in lines of a NeDB file keeps NeDB from loading it, or from loading all of it. */
export async function inspectNedbLines(lines: readonly LogLine[]): Promise<LineProblem[]> {
  const problems: LineProblem[] = []
  const byId = new Map<unknown, { doc: Doc | undefined; lines: LogLine[] }>()
  const unique = new Map<string, { sparse: boolean }>()
  for (const [index, line] of lines.entries()) {
    if (index % LINES_AT_ONCE === LINES_AT_ONCE - 1) await setImmediate()
    const record = parse(line.text)
    const objection = record && objectionTo(record)
    if (!record || objection !== undefined) problems.push(unreadableLine(line, objection))
    else if (record._id !== undefined) {
      const known = byId.get(record._id) ?? { doc: undefined, lines: [] }
      known.doc = record.$$deleted === true ? undefined : record
      known.lines.push(line)
      byId.set(record._id, known)
    } else readIndexLine(record, unique)
  }
  const living = new Map<unknown, Living>()
  for (const [id, { doc, lines: of }] of byId) if (doc) living.set(id, { doc, lines: of })
  const all = [problems, twins(living)]
  for (const [field, { sparse }] of unique) all.push(await duplicates(living, field, sparse))
  return all.flat()
}

function parse(text: string): Doc | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Doc) : undefined
  } catch {
    return undefined
  }
}

/** Why a record is none of NeDB's; undefined: it is one. */
function objectionTo(record: Doc): string | undefined {
  if (isForeign(record)) return 'it has no _id'
  if (record._id === undefined || record.$$deleted === true) return undefined
  const field = forbiddenField(record)
  return field === undefined ? undefined : `NeDB refuses a field of the name ${JSON.stringify(field)}`
}

/** One such name, and vanilla refuses the whole file. */
function forbiddenField(value: object): string | undefined {
  for (const [name, inner] of Object.entries(value)) {
    const isDate = name === '$$date' && typeof inner === 'number'
    if ((name.startsWith('$') && !isDate) || name.includes('.')) return name
    const found = typeof inner === 'object' && inner !== null ? forbiddenField(inner) : undefined
    if (found !== undefined) return found
  }
  return undefined
}

function readIndexLine(record: Doc, unique: Map<string, { sparse: boolean }>): void {
  const created = record.$$indexCreated as
    | { fieldName?: unknown; unique?: unknown; sparse?: unknown }
    | undefined
  if (typeof created?.fieldName === 'string') {
    if (created.unique) unique.set(created.fieldName, { sparse: Boolean(created.sparse) })
    else unique.delete(created.fieldName)
  }
  const removed = record.$$indexRemoved
  if (removed !== undefined) unique.delete([removed].flat().sort().join(','))
}

/** Two ids that NeDB takes for one: it loads the later document only. */
function twins(living: Map<unknown, Living>): LineProblem[] {
  const problems: LineProblem[] = []
  for (const [id, { lines }] of living) {
    const twin = twinOf(id)
    const other = living.get(twin)
    const at = lines.at(-1)
    const from = other?.lines.at(-1)
    // Told once, of the earlier one, which NeDB loses.
    if (!at || !from || at.line > from.line) continue
    problems.push({
      what: 'twin-id',
      message: `_id ${JSON.stringify(id)} and ${JSON.stringify(twin)} (line ${from.line}) are one to NeDB, which loses this document`,
      mend: 'Give it another _id by hand, or `pslock repair` takes it out and keeps it.',
      at,
      without: lines,
    })
  }
  return problems
}

/** What NeDB itself would refuse to load: of two documents the later one came in without a lock. */
async function duplicates(
  living: Map<unknown, Living>,
  field: string,
  sparse: boolean,
): Promise<LineProblem[]> {
  const problems: LineProblem[] = []
  const owners = new Map<string, Living>()
  let count = 0
  const inOrder = [...living.values()].sort((a, b) => lineOf(a) - lineOf(b))
  for (const document of inOrder) {
    if (++count % LINES_AT_ONCE === 0) await setImmediate()
    const keys = uniqueKeys(document.doc, field, sparse)
    const taken = keys.find((key) => owners.has(key))
    const at = document.lines.at(-1)
    if (taken === undefined || !at) {
      for (const key of keys) owners.set(key, document)
      continue
    }
    const first = owners.get(taken) as Living
    problems.push({
      what: 'duplicate-key',
      message:
        `the unique index ${JSON.stringify(field)} has ${taken} twice: in _id ${JSON.stringify(document.doc._id)}, and in ` +
        `_id ${JSON.stringify(first.doc._id)} (line ${lineOf(first)})`,
      mend: 'Change one of them by hand, or `pslock repair` takes this one out and keeps it.',
      at,
      without: document.lines,
    })
  }
  return problems
}

function lineOf({ lines }: Living): number {
  return lines.at(-1)?.line ?? 0
}
