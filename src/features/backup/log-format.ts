import { zlib } from '../../os/modules.ts'
import type {
  InspectLines,
  LineCoder,
  LineInspector,
  LineProblem,
  LogLine,
  Place,
} from '../../store/adapter.ts'
import { type Batch, type Ending, isJsonObject, scanFile } from '../../store/log/scan.ts'
import { UNIT_ID } from '../../store/log/units.ts'
import { bytesSource, piecesOf, type Source, Spliced } from '../../store/snapshot.ts'
import { type FileFormat, type Finding, finding, type Inspection, unmendable } from './format.ts'

/** For a store that says no more of its lines. */
export const inspectJsonLines: InspectLines = () => ({
  add: (line) => (isJsonObject(line.text) ? undefined : unreadableLine(line)),
  finish: async () => [],
})

/** A line that is no record of the store. @param instead what can be read of it */
export function unreadableLine(
  { text, ...at }: LogLine,
  why = 'it is not a JSON object',
  instead: readonly string[] = [],
): LineProblem {
  const shown = text.length > 40 ? `${text.slice(0, 40)}...` : text
  return {
    what: 'unreadable-line',
    message: `unreadable, since ${why}: ${JSON.stringify(shown)}`,
    mend: 'Mend the line by hand, or `pslock repair` takes it out and keeps it.',
    at,
    without: [at],
    instead,
  }
}

/** An append-only log of lines. @param coderOf the user's serialization hooks, where there are any */
export function logFormat(
  name: string,
  inspectLines: InspectLines,
  coderOf: () => Promise<LineCoder | undefined> = async () => undefined,
): FileFormat {
  return {
    name,
    temp: (path) => `${path}~`,
    inspect: async (source) => inspectLog(name, source, inspectLines(), await coderOf()),
    seal: async (content) => seal(content, await coderOf()),
    endOf: async (source) => (await scan(source, await coderOf(), () => {})).end,
  }
}

function scan(source: Source, coder: LineCoder | undefined, take: (batch: Batch) => void): Promise<Ending> {
  const read = (position: number, length: number) => source.read(position, length)
  return scanFile(read, { from: 0, to: source.length }, coder, take)
}

/** What a look at all lines of a log has shown. */
interface Look {
  readonly source: Source
  /** Where the log itself begins, behind the seal of a dump. */
  readonly start: number
  readonly ending: Ending
  /** How many records there are, with a last one that lacks its line feed. */
  readonly count: number
  readonly problems: readonly LineProblem[]
  /** Lines that are not UTF-8. */
  readonly odd: readonly LogLine[]
  readonly markers: readonly Place[]
}

async function inspectLog(
  name: string,
  source: Source,
  inspector: LineInspector,
  coder: LineCoder | undefined,
): Promise<Inspection> {
  const { length: start, isIntact } = await readSeal(source, coder)
  const eachLine = async (
    visit: (line: LogLine, isOdd: boolean) => void,
    seen: (batch: Batch) => void = () => {},
  ) => {
    const ending = await scan(source, coder, (batch) => {
      seen(batch)
      const places = batch.places()
      const odd = new Set(batch.odd.map(({ byte }) => byte))
      for (const [index, text] of batch.lines.entries()) {
        const place = places[index] as Place
        if (place.byte >= start) visit({ ...place, text: trimmed(text) }, odd.has(place.byte))
      }
    })
    const { last } = ending
    if (last) visit({ ...last.place, text: trimmed(last.text) }, !last.isText)
    return ending
  }
  const found: LineProblem[] = []
  const odd: LogLine[] = []
  const markers: Place[] = []
  let count = 0
  const take = (line: LogLine, isOdd: boolean) => {
    count++
    if (isOdd) odd.push(line)
    const problem = inspector.add(line)
    if (problem) found.push(problem)
  }
  const ending = await eachLine(take, (batch) => {
    for (const place of batch.markers) markers.push(place)
  })
  const late = await inspector.finish(async (visit) => void (await eachLine(visit)))
  const look = { source, start, ending, count, problems: [...found, ...late], odd, markers }
  if (isForeign(look, coder !== undefined)) {
    const message = `most of it is no ${name} data: it is another kind of file`
    return unmendable('foreign', message, 'Say which with --store, or use another file.', { byte: 0 })
  }
  return { findings: findingsOf(look, isIntact), ...(await mended(look)) }
}

function isForeign({ ending, count, problems, markers }: Look, hasCoder: boolean): boolean {
  const unreadable = problems.filter(isUnreadable).length
  if (count > 0) return unreadable > count - unreadable
  // A first unit that was cut short begins like a record.
  const isLikeRecord = /^ ?(?:\{"|\{?$)/.test(ending.first.text.slice(0, 3))
  return ending.rest === 'torn' && markers.length === 0 && !hasCoder && !isLikeRecord
}

function isUnreadable({ what }: LineProblem): boolean {
  return what === 'unreadable-line'
}

function findingsOf(look: Look, isIntact: boolean): Finding[] {
  const { count, problems, odd } = look
  const findings: Finding[] = []
  if (!isIntact) {
    const message = 'it is a dump that was cut short, or changed, after it was made'
    const mend = 'Take another dump. `pslock repair` drops the seal and keeps what is readable.'
    findings.push(finding('damaged-dump', message, mend, { line: 1, byte: 0 }))
  }
  const unreadable = problems.filter(isUnreadable)
  const other = problems.filter((problem) => !isUnreadable(problem))
  for (const { what, message, mend, at } of [...unreadable, ...other]) {
    const isFirst = at === unreadable[0]?.at
    const more = isFirst ? ` (${count - unreadable.length} of ${count} records are readable)` : ''
    findings.push(finding(what, message + more, mend, { line: at.line, byte: at.byte }))
  }
  for (const { line, byte } of odd) {
    const message = 'some bytes of the record are not UTF-8; they are read as U+FFFD'
    const mend =
      'Mend the line by hand, or `pslock repair` writes U+FFFD there, and keeps the line as it was.'
    findings.push(finding('odd-bytes', message, mend, { line, byte }))
  }
  for (const { line, byte } of look.ending.changedUnits) {
    const message =
      'a unit of several records was edited by hand, or damaged: its length, checksum or end is not what it was. ' +
      'Every line of it that can be read counts'
    const mend = '`pslock repair` leaves its records without what made them a unit.'
    findings.push(finding('changed-unit', message, mend, { line, byte }))
  }
  return [...findings, ...endFindings(look)]
}

function endFindings({ source, ending }: Look): Finding[] {
  const { end, line, rest, zerosAt, first } = ending
  if (rest === 'none') return []
  if (rest === 'torn') return [tornTail(line, end, source.length - end, first.text)]
  const message = 'the last record lacks its line feed: the store by itself would glue the next one to it'
  const mend = '`pslock repair` adds it; so does the next process that writes.'
  const unterminated = finding('unterminated', message, mend, { line, byte: end })
  return zerosAt === undefined
    ? [unterminated]
    : [unterminated, tornTail(line, zerosAt, source.length - zerosAt, '')]
}

function tornTail(line: number, byte: number, length: number, first: string): Finding {
  const isUnit = first.startsWith(`{"_id":"${UNIT_ID}"`)
  const message = isUnit
    ? `a unit of several records was cut short (${length} bytes), and nothing follows it: a crash leaves that of what was ` +
      'never acknowledged. The store by itself refuses the file'
    : `the last ${length} bytes are no complete record, and nothing follows them: a write was cut short before it was ` +
      'acknowledged, or the end of the file was damaged'
  const mend = '`pslock repair` cuts it off and keeps it; so does the next process that writes.'
  return finding(isUnit ? 'unclosed-unit' : 'torn-tail', message, mend, { line, byte })
}

/** The file as it should be, and what that leaves out. */
async function mended(look: Look): Promise<Pick<Inspection, 'content' | 'removed'>> {
  const { source, ending } = look
  const cutAt = ending.rest === 'torn' ? ending.end : (ending.zerosAt ?? source.length)
  const removed = new Spliced()
  const content = new Spliced()
  let at = look.start
  const leftOut = leftOutOf(look)
  for (const [byte, { length, instead, isKept }] of leftOut) {
    const next = Math.min(byte + length + 1, cutAt)
    content.add(source, at, byte)
    if (instead) content.add(bytesSource(Buffer.from(instead.map((text) => `${text}\n`).join(''))))
    if (isKept) removed.add(source, byte, byte + length).add(FEED)
    at = next
  }
  content.add(source, at, cutAt)
  removed.add(source, cutAt)
  if (leftOut.length > 0) return { content: await closed(content), removed }
  if (ending.rest === 'unterminated') content.add(FEED)
  return { content, removed }
}

interface LeftOut {
  readonly length: number
  /** What stands in its place. */
  readonly instead?: readonly string[] | undefined
  /** Whether it is worth keeping beside the file. */
  readonly isKept: boolean
}

/** The lines that cannot stay as they are, in order; also the markers of what is no unit any more. */
function leftOutOf({ ending, odd, problems, markers }: Look): [number, LeftOut][] {
  const found = new Map<number, LeftOut>()
  for (const { byte, length, text } of odd) found.set(byte, { length, instead: [text], isKept: true })
  for (const { without, instead } of problems)
    for (const { byte, length } of without) found.set(byte, { length, instead, isKept: true })
  if (found.size > 0 || ending.changedUnits.length > 0)
    for (const { byte, length } of markers) found.set(byte, { length, isKept: false })
  return [...found].sort(([a], [b]) => a - b)
}

const FEED = bytesSource(Buffer.from('\n'))

/** The last unit must not look as if more of it were to come. */
async function closed(content: Spliced): Promise<Spliced> {
  let { length } = content
  while (length > 0) {
    const from = Math.max(0, length - 4096)
    const bytes = await content.read(from, length - from)
    const text = bytes.toString('latin1').trimEnd()
    length = from + text.length
    if (text !== '') break
  }
  const shorter = content.upTo(length)
  return length === 0 ? shorter : shorter.add(FEED)
}

/** Without what JSON skips; `trim()` would take a byte order mark off too, which no reader does. */
function trimmed(line: string): string {
  return line.replace(/^[ \t\r]+|[ \t\r]+$/g, '')
}

/**
 * The first line of a dumped log: how long what follows is, and its checksum. Units end at multiples of 4096 bytes, and so
 * do copies cut short by a full disk: without this line such a copy would pass for a whole file. NeDB skips lines
 * of names that begin with `$$`, and leaves them out at its next load.
 */
const SEAL = /^\{"\$\$dump":\{"bytes":(\d+),"crc":(\d+)\}\}$/

/** No seal is longer, whatever a serialization hook makes of it. */
const LONGEST_BYTES = 64 * 1024

/** The content with a seal before it. */
async function seal(content: Source, coder: LineCoder | undefined): Promise<Source> {
  const line = `{"$$dump":{"bytes":${content.length},"crc":${await crcOf(content)}}}`
  const sealed = Buffer.from(`${coder ? await coder.encode(line) : line}\n`)
  return new Spliced().add(bytesSource(sealed)).add(content)
}

/** Where the content begins, 0 without a seal, and whether it is what was sealed; more may have been added to it. */
async function readSeal(
  source: Source,
  coder: LineCoder | undefined,
): Promise<{ readonly length: number; readonly isIntact: boolean }> {
  const bytes = await source.read(0, Math.min(LONGEST_BYTES, source.length))
  const newline = bytes.indexOf('\n')
  const first = bytes.toString('utf8', 0, Math.max(newline, 0))
  const [, length, crc] = SEAL.exec(coder ? await coder.decode(first).catch(() => '') : first) ?? []
  if (length === undefined) return { length: 0, isIntact: true }
  const from = newline + 1
  const to = from + Number(length)
  if (to > source.length) return { length: from, isIntact: false }
  return { length: from, isIntact: (await crcOf(new Spliced().add(source, from, to))) === Number(crc) }
}

async function crcOf(source: Source): Promise<number> {
  let crc = 0
  for await (const piece of piecesOf(source)) crc = zlib().crc32(piece, crc)
  return crc
}
