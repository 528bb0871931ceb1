import { isUtf8 } from 'node:buffer'
import { scanUnits, scanUnitsWith } from '../log/scan.ts'
import { isMarker, type LineCoder, UNIT_ID } from '../log/unit.ts'
import type { FileFormat, Inspection } from './file-format.ts'
import type { Finding } from './finding.ts'
import { readSeal, seal } from './seal.ts'

/** A line of a log that is a record, or should be one. */
export interface LogLine {
  /** From 1. */
  readonly line: number
  /** Where it begins, from 0. */
  readonly byte: number
  /** Decoded, without the spaces that tell where a unit ends. */
  readonly text: string
  /** As it stands in the file. */
  readonly raw: string
}

/** What is wrong with some lines of a log. */
export interface LineProblem {
  readonly what: 'unreadable-line' | 'duplicate-key' | 'twin-id'
  readonly message: string
  readonly mend: string
  /** Where it shows. */
  readonly at: LogLine
  /** Without these lines it is gone. */
  readonly without: readonly LogLine[]
}

/** What a store makes of its lines; all of them are of complete units. */
export type InspectLines = (lines: readonly LogLine[]) => Promise<readonly LineProblem[]>

/** For a store that says no more of its lines. */
export const inspectJsonLines: InspectLines = async (lines) =>
  lines.filter(({ text }) => !isJsonObject(text)).map((line) => unreadableLine(line))

/** A line that is no record of the store. */
export function unreadableLine(at: LogLine, why = 'it is not a JSON object'): LineProblem {
  const shown = at.text.length > 40 ? `${at.text.slice(0, 40)}...` : at.text
  return {
    what: 'unreadable-line',
    message: `unreadable, since ${why}: ${JSON.stringify(shown)}`,
    mend: 'Mend the line by hand, or `pslock repair` takes it out and keeps it.',
    at,
    without: [at],
  }
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null
  } catch {
    return false
  }
}

const REPAIR = '`pslock repair` cuts it off and keeps it; so does the next process that writes.'

/** An append-only log of lines. @param coderOf the user's serialization hooks, where there are any */
export function logFormat(
  name: string,
  inspectLines: InspectLines,
  coderOf: () => Promise<LineCoder | undefined> = async () => undefined,
): FileFormat {
  return {
    name,
    temp: (path) => `${path}~`,
    inspect: async (bytes) => inspectLog(name, inspectLines, await coderOf(), bytes),
    seal: async (content) => seal(content, await coderOf()),
  }
}

async function inspectLog(
  name: string,
  inspectLines: InspectLines,
  coder: LineCoder | undefined,
  whole: Buffer,
): Promise<Inspection> {
  const dump = await readSeal(whole, coder)
  const all = whole.subarray(dump.length)
  const { end, rest, zerosAt } = coder ? await scanUnitsWith(coder, all) : scanUnits(all)
  const bytes = all.subarray(0, zerosAt)
  const lines = await linesOf(whole, dump.length, dump.length + (rest === 'torn' ? end : bytes.length), coder)
  const problems = await inspectLines(lines)
  const findings: Finding[] = problems.map(({ what, message, mend, at: { line, byte } }) => {
    return { what, message, mend, line, byte }
  })
  if (isForeign(lines, problems, rest === 'torn' ? bytes.subarray(end) : undefined, coder)) {
    const message = `most of it is no ${name} data: it is another kind of file`
    const mend = 'Say which with --store, or use another file.'
    return {
      findings: [{ what: 'foreign', message, mend, byte: 0 }],
      content: undefined,
      removed: Buffer.alloc(0),
    }
  }
  if (!dump.intact) {
    const message = 'it is a dump that was cut short, or changed, after it was made'
    const mend = 'Take another dump. `pslock repair` drops the seal and keeps what is readable.'
    findings.unshift({ what: 'damaged-dump', message, mend, line: 1, byte: 0 })
  }
  if (rest !== 'none') findings.push(endOf(whole, dump.length + end, rest))
  if (zerosAt !== undefined) findings.push(endOf(whole, dump.length + zerosAt, 'torn'))
  const leftOut = new Set(problems.flatMap(({ without }) => without))
  const removed: Buffer[] = [...leftOut]
    .sort((a, b) => a.byte - b.byte)
    .map(({ raw }) => Buffer.from(`${raw}\n`))
  if (rest === 'torn') removed.push(bytes.subarray(end))
  if (zerosAt !== undefined) removed.push(all.subarray(zerosAt))
  return { findings, content: mended(bytes, lines, leftOut, end, rest), removed: Buffer.concat(removed) }
}

/** The records of a stretch that ends with a complete unit. */
async function linesOf(
  bytes: Buffer,
  from: number,
  to: number,
  coder: LineCoder | undefined,
): Promise<LogLine[]> {
  const lines: LogLine[] = []
  let line = from === 0 ? 1 : 2
  for (let byte = from; byte < to; line++) {
    const newline = bytes.indexOf(10, byte)
    const next = newline === -1 || newline >= to ? to : newline
    const slice = bytes.subarray(byte, next)
    // Bytes that are no text must not be taken for U+FFFD.
    const raw = isUtf8(slice) ? slice.toString() : slice.toString('latin1')
    const decoded = coder && raw !== '' ? await coder.decode(raw).catch(() => raw) : raw
    const text = trimmed(decoded)
    if (text !== '' && !(isUtf8(slice) && isMarker(decoded))) {
      lines.push({ line, byte, raw, text: isUtf8(slice) ? text : `\0${text}` })
    }
    byte = next + 1
  }
  return lines
}

/** Without what JSON passes over; `trim()` would take a byte order mark off too, which no reader does. */
function trimmed(line: string): string {
  return line.replace(/^[ \t\r]+|[ \t\r]+$/g, '')
}

function isForeign(
  lines: readonly LogLine[],
  problems: readonly LineProblem[],
  torn: Buffer | undefined,
  coder: LineCoder | undefined,
): boolean {
  const unreadable = problems.filter(({ what }) => what === 'unreadable-line').length
  if (lines.length > 0) return unreadable > lines.length - unreadable
  // A first unit that was cut short begins like a record.
  return torn !== undefined && !coder && !/^ ?(?:\{"|\{?$)/.test(torn.toString('latin1', 0, 3))
}

function endOf(bytes: Buffer, end: number, rest: 'torn' | 'unterminated'): Finding {
  let line = 1
  for (let at = bytes.indexOf(10); at !== -1 && at < end; at = bytes.indexOf(10, at + 1)) line++
  const length = bytes.length - end
  if (rest === 'unterminated') {
    const message = 'the last record lacks its line feed: the store by itself would glue the next one to it'
    return {
      what: 'unterminated',
      message,
      mend: '`pslock repair` adds it; so does the next process that writes.',
      line,
      byte: end,
    }
  }
  if (bytes.toString('utf8', end, end + 32).startsWith(`{"_id":"${UNIT_ID}"`)) {
    const message = `a unit of several records was cut short by a crash (${length} bytes). It was never acknowledged, and the store by itself refuses the file`
    return { what: 'unclosed-unit', message, mend: REPAIR, line, byte: end }
  }
  const message = `the last ${length} bytes are no complete record: a write was cut short. It was never acknowledged`
  return { what: 'torn-tail', message, mend: REPAIR, line, byte: end }
}

function mended(
  bytes: Buffer,
  lines: readonly LogLine[],
  leftOut: ReadonlySet<LogLine>,
  end: number,
  rest: 'none' | 'torn' | 'unterminated',
): Buffer {
  if (leftOut.size > 0) {
    // Units that lost a line are none any more: each record becomes one of its own, as compaction leaves them.
    const kept = lines.filter((line) => !leftOut.has(line)).map(({ raw }) => `${trimmed(raw)}\n`)
    return Buffer.from(kept.join(''))
  }
  if (rest === 'unterminated') return Buffer.concat([bytes, Buffer.from('\n')])
  return rest === 'torn' ? bytes.subarray(0, end) : bytes
}
