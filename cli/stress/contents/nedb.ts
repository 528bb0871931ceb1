import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { parseRecordId } from '../record.ts'
import { vanilla } from '../stores/vanilla.ts'
import { type Content, trace } from './content.ts'

type Line = Record<string, unknown>

/** Reads a copy, since the vanilla library rewrites what it loads. */
export async function readNedb(path: string): Promise<Content> {
  const copy = `${path}.copy`
  if (!existsSync(path)) {
    return {
      unreadable: 'there is no file',
      damaged: [],
      records: [],
      counters: new Map(),
      claims: [],
      registers: [],
      trail: [],
    }
  }
  copyFileSync(path, copy)
  const { lines, damaged } = parseLines(readFileSync(copy, 'utf8'))
  let docs: Iterable<Line>
  let unreadable: string | undefined
  try {
    const db = new (vanilla())({ filename: copy, corruptAlertThreshold: 0 })
    await db.loadDatabaseAsync()
    docs = db.getAllData() as Line[]
  } catch (error) {
    unreadable = (error as Error).message
    docs = lastLines(lines)
  }
  return { unreadable, damaged, ...sorted(docs), trail: lines.flatMap(traceOf) }
}

function parseLines(text: string): { lines: Line[]; damaged: string[] } {
  const lines: Line[] = []
  const damaged: string[] = []
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    try {
      lines.push(JSON.parse(line) as Line)
    } catch {
      damaged.push(`line ${index + 1} (${line.length} characters): ${line.slice(0, 60)}...`)
    }
  }
  return { lines, damaged }
}

/** What NeDB would hold after these lines, if it took them: the last line of each `_id`. */
function lastLines(lines: readonly Line[]): Iterable<Line> {
  const docs = new Map<unknown, Line>()
  for (const line of lines) {
    if (line._id === undefined) continue
    if (line.$$deleted === true) docs.delete(line._id)
    else docs.set(line._id, line)
  }
  return docs.values()
}

function sorted(docs: Iterable<Line>): Pick<Content, 'records' | 'counters' | 'claims' | 'registers'> {
  const records: { id: string; record: unknown }[] = []
  const counters = new Map<string, number>()
  const claims: { key: string; id: string }[] = []
  const registers: { key: string; value: number }[] = []
  for (const doc of docs) {
    const id = String(doc._id)
    if (id.startsWith('counter-')) counters.set(id, Number(doc.value))
    else if (id.startsWith('register-')) registers.push({ key: id, value: Number(doc.value) })
    else if (id.startsWith('unique-')) registers.push({ key: String(doc.key), value: Number(doc.value) })
    else if (typeof doc.key === 'string') claims.push({ key: doc.key, id })
    else records.push({ id, record: doc })
  }
  return { records, counters, claims, registers }
}

function traceOf({ _id, $$deleted, v, value, key }: Line): string[] {
  const id = String(_id)
  if ($$deleted === true) return [trace.deletion(id)]
  if (parseRecordId(id)) return [trace.version(id, Number(v))]
  if (typeof value === 'number') return [trace.count(id, value)]
  return typeof key === 'string' ? [trace.claim(id)] : []
}
