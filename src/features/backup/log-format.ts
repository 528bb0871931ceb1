import { zlib } from '../../os/modules.ts'
import type {
  InspectLines,
  LineCoder,
  LineInspector,
  LineProblem,
  LogLine,
  Place,
} from '../../store/adapter.ts'
import { type Batch, type Ending, scanFile } from '../../store/log/scan.ts'
import { UNIT_ID } from '../../store/log/units.ts'
import { bytesSource, piecesOf, type Source, Spliced } from '../../store/snapshot.ts'
import type { FileFormat, Finding, Inspection } from './format.ts'

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
    inspect: async (source) => new LogInspection(name, inspectLines(), await coderOf(), source).run(),
    seal: async (content) => seal(content, await coderOf()),
    endOf: async (source) => (await scanSource(source, 0, await coderOf(), () => {})).end,
  }
}

function scanSource(
  source: Source,
  from: number,
  coder: LineCoder | undefined,
  take: (batch: Batch) => void,
): Promise<Ending> {
  const read = (position: number, length: number) => source.read(position, length)
  return scanFile(read, { from, to: source.length }, coder, take)
}

/** One look at a log. */
class LogInspection {
  readonly #name: string
  readonly #inspector: LineInspector
  readonly #coder: LineCoder | undefined
  readonly #source: Source
  /** Where the log itself begins, behind the seal of a dump. */
  #start = 0
  #lines = 0
  readonly #problems: LineProblem[] = []
  readonly #markers: Place[] = []
  readonly #odd: LogLine[] = []

  constructor(name: string, inspector: LineInspector, coder: LineCoder | undefined, source: Source) {
    this.#name = name
    this.#inspector = inspector
    this.#coder = coder
    this.#source = source
  }

  async run(): Promise<Inspection> {
    const dump = await readSeal(this.#source, this.#coder)
    this.#start = dump.length
    const ending = await this.#eachLine((line, isOdd) => {
      this.#lines++
      if (isOdd) this.#odd.push(line)
      const problem = this.#inspector.add(line)
      if (problem) this.#problems.push(problem)
    })
    for (const problem of await this.#inspector.finish(async (visit) => {
      await this.#eachLine(visit)
    }))
      this.#problems.push(problem)
    if (this.#isForeign(ending)) return foreign(this.#name)
    return { findings: this.#findings(ending, dump.intact), ...(await this.#mended(ending)) }
  }

  /** Every record, and a last one that lacks its line feed. */
  async #eachLine(visit: (line: LogLine, isOdd: boolean) => void): Promise<Ending> {
    const isFirst = this.#lines === 0 && this.#markers.length === 0
    const ending = await scanSource(this.#source, this.#start, this.#coder, (batch) => {
      const places = batch.places()
      const odd = new Set(batch.odd.map(({ byte }) => byte))
      if (isFirst) for (const place of batch.markers) this.#markers.push(place)
      for (const [index, text] of batch.lines.entries()) {
        const place = this.#inFile(places[index] as Place)
        visit({ ...place, text: trimmed(text) }, odd.has(place.byte))
      }
    })
    const { last } = ending
    if (last) visit({ ...this.#inFile(last.place), text: trimmed(last.text) }, !last.isText)
    return ending
  }

  /** The seal is a line of the file, too. */
  #inFile(place: Place): Place {
    return this.#start === 0 ? place : { ...place, line: place.line + 1 }
  }

  #isForeign({ rest, first }: Ending): boolean {
    const unreadable = this.#problems.filter(({ what }) => what === 'unreadable-line').length
    if (this.#lines > 0) return unreadable > this.#lines - unreadable
    // A first unit that was cut short begins like a record.
    return (
      rest === 'torn' &&
      this.#markers.length === 0 &&
      !this.#coder &&
      !/^ ?(?:\{"|\{?$)/.test(first.text.slice(0, 3))
    )
  }

  #findings(ending: Ending, isIntact: boolean): Finding[] {
    const findings: Finding[] = []
    if (!isIntact) {
      const message = 'it is a dump that was cut short, or changed, after it was made'
      const mend = 'Take another dump. `pslock repair` drops the seal and keeps what is readable.'
      findings.push({ what: 'damaged-dump', message, mend, line: 1, byte: 0 })
    }
    const unreadable = this.#problems.filter(({ what }) => what === 'unreadable-line')
    const other = this.#problems.filter(({ what }) => what !== 'unreadable-line')
    const readable = this.#lines - unreadable.length
    for (const [index, { what, message, mend, at }] of [...unreadable, ...other].entries()) {
      const more =
        index === 0 && unreadable.length > 0 ? ` (${readable} of ${this.#lines} records are readable)` : ''
      findings.push({ what, message: message + more, mend, line: at.line, byte: at.byte })
    }
    for (const { line, byte } of this.#odd) {
      const message = 'some bytes of the record are not UTF-8; they are read as U+FFFD'
      const mend =
        'Mend the line by hand, or `pslock repair` writes U+FFFD there, and keeps the line as it was.'
      findings.push({ what: 'odd-bytes', message, mend, line, byte })
    }
    for (const place of ending.changedUnits) {
      const { line, byte } = this.#inFile(place)
      const message =
        'a unit of several records was edited by hand, or damaged: its length, checksum or end is not what it was. ' +
        'Every line of it that can be read counts'
      const mend = '`pslock repair` leaves its records without what made them a unit.'
      findings.push({ what: 'changed-unit', message, mend, line, byte })
    }
    for (const finding of this.#endFindings(ending)) findings.push(finding)
    return findings
  }

  #endFindings({ end, line: number, rest, zerosAt, first }: Ending): Finding[] {
    const line = this.#start === 0 ? number : number + 1
    if (rest === 'none') return []
    if (rest === 'torn') return [tornTail(line, end, this.#source.length - end, first.text)]
    const message = 'the last record lacks its line feed: the store by itself would glue the next one to it'
    const mend = '`pslock repair` adds it; so does the next process that writes.'
    const unterminated: Finding = { what: 'unterminated', message, mend, line, byte: end }
    if (zerosAt === undefined) return [unterminated]
    return [unterminated, tornTail(line, zerosAt, this.#source.length - zerosAt, '')]
  }

  /** The file as it should be, and what that leaves out. */
  async #mended(ending: Ending): Promise<Pick<Inspection, 'content' | 'removed'>> {
    const source = this.#source
    const cutAt = ending.rest === 'torn' ? ending.end : (ending.zerosAt ?? source.length)
    const removed = new Spliced()
    const content = new Spliced()
    let at = this.#start
    const leftOut = this.#leftOut(ending)
    for (const [byte, { length, instead, isKept }] of leftOut) {
      const next = Math.min(byte + length + 1, cutAt)
      content.add(source, at, byte)
      if (instead) content.add(bytesSource(Buffer.from(instead.map((text) => `${text}\n`).join(''))))
      if (isKept) removed.add(source, byte, byte + length).add(FEED)
      at = next
    }
    content.add(source, at, cutAt)
    removed.add(source, cutAt)
    if (leftOut.length > 0) return { content: await this.#closed(content), removed }
    if (ending.rest === 'unterminated') content.add(FEED)
    return { content, removed }
  }

  /** The lines that cannot stay as they are, in order; also the markers of what is no unit any more. */
  #leftOut({ changedUnits }: Ending): [number, LeftOut][] {
    const found = new Map<number, LeftOut>()
    for (const { byte, length, text } of this.#odd) found.set(byte, { length, instead: [text], isKept: true })
    for (const { without, instead } of this.#problems)
      for (const { byte, length } of without) found.set(byte, { length, instead, isKept: true })
    if (found.size > 0 || changedUnits.length > 0)
      for (const { byte, length } of this.#markers) found.set(byte, { length, isKept: false })
    return [...found].sort(([a], [b]) => a - b)
  }

  /** The last unit must not look as if more of it were to come. */
  async #closed(content: Spliced): Promise<Spliced> {
    let { length } = content
    while (length > 0) {
      const from = Math.max(0, length - 4096)
      const bytes = await content.read(from, length - from)
      const text = bytes.toString('latin1').trimEnd()
      length = from + text.length
      if (text !== '') break
    }
    const closed = content.upTo(length)
    return length === 0 ? closed : closed.add(FEED)
  }
}

interface LeftOut {
  readonly length: number
  /** What stands in its place. */
  readonly instead?: readonly string[] | undefined
  /** Whether it is worth keeping beside the file. */
  readonly isKept: boolean
}

const FEED = bytesSource(Buffer.from('\n'))

function foreign(name: string): Inspection {
  const message = `most of it is no ${name} data: it is another kind of file`
  const mend = 'Say which with --store, or use another file.'
  return {
    findings: [{ what: 'foreign', message, mend, byte: 0 }],
    content: undefined,
    removed: new Spliced(),
  }
}

function tornTail(line: number, byte: number, length: number, first: string): Finding {
  if (first.startsWith(`{"_id":"${UNIT_ID}"`)) {
    const message =
      `a unit of several records was cut short (${length} bytes), and nothing follows it: a crash leaves that of what was ` +
      'never acknowledged. The store by itself refuses the file'
    return { what: 'unclosed-unit', message, mend: REPAIR, line, byte }
  }
  const message =
    `the last ${length} bytes are no complete record, and nothing follows them: a write was cut short before it was ` +
    'acknowledged, or the end of the file was damaged'
  return { what: 'torn-tail', message, mend: REPAIR, line, byte }
}

/** Without what JSON passes over; `trim()` would take a byte order mark off too, which no reader does. */
function trimmed(line: string): string {
  return line.replace(/^[ \t\r]+|[ \t\r]+$/g, '')
}

/**
 * The first line of a dumped log: how long what follows is, and its checksum. Units end at multiples of 4096 bytes, and so
 * do copies cut short by a full disk: without this line such a copy would pass for a whole file. NeDB passes over lines
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
): Promise<{ readonly length: number; readonly intact: boolean }> {
  const bytes = await source.read(0, Math.min(LONGEST_BYTES, source.length))
  const newline = bytes.indexOf('\n')
  const first = bytes.toString('utf8', 0, Math.max(newline, 0))
  const [, length, crc] = SEAL.exec(coder ? await coder.decode(first).catch(() => '') : first) ?? []
  if (length === undefined) return { length: 0, intact: true }
  const from = newline + 1
  const to = from + Number(length)
  if (to > source.length) return { length: from, intact: false }
  return { length: from, intact: (await crcOf(new Spliced().add(source, from, to))) === Number(crc) }
}

async function crcOf(source: Source): Promise<number> {
  let crc = 0
  for await (const piece of piecesOf(source)) crc = zlib().crc32(piece, crc)
  return crc
}
