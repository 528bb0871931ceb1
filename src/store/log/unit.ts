import { zlib } from '../../os/builtin.ts'

/**
 * Units: what an append log gains in one piece. One write(2) is not atomic: kill -9 cut 54 of 60 writes of 400 KB,
 * always at a multiple of 4096 bytes. And the file must stay the vanilla library's own. So:
 *
 *  - A unit of up to 4096 bytes never crosses a multiple of 4096: blank lines, which vanilla skips, pad it into the
 *    next block. Every line of it but the last ends in a space: more follows. Of several lines the first also begins
 *    with one: cut short before its line feed it must not pass for a record of its own that only lacks that.
 *  - A larger unit of several lines stands between two marker lines. Closed, vanilla loads it and the marker deletes
 *    itself; unclosed, vanilla *refuses* the file, because a field name may not begin with `$`. It never loads half.
 *  - A larger unit of one line needs no marker: a JSON object cut short never parses.
 *
 * A reader applies complete units only. With serialization hooks a space cannot be relied on, so there any unit of
 * several lines is marked, and the markers go through the hooks like every line.
 */
const BLOCK_BYTES = 4096
export const NEWLINE: number = 10
export const SPACE: number = 32

export const UNIT_ID = '$$pslock'
export const CLOSING: string = `{"$$deleted":true,"_id":"${UNIT_ID}"}`
export const OPENING: RegExp = /^\{"_id":"\$\$pslock","\$\$unit":\{"bytes":(\d+),"crc":(\d+)\}\}$/

/** The user's serialization hooks, if any: a line as JSON <-> a line as it stands in the file. */
export interface LineCoder {
  encode(line: string): Promise<string>
  decode(line: string): Promise<string>
  /** What a hook has thrown last: it is the user's, and is passed on as it is. */
  readonly thrown?: { readonly error: unknown } | undefined
}

/** Whether a hook of the user's has thrown this. */
export function isThrownByHook(coder: LineCoder | undefined, error: unknown): boolean {
  return coder?.thrown !== undefined && coder.thrown.error === error
}

/** The bytes of one unit, as they must be written at `offset` of the file. */
export function encodeUnit(lines: readonly string[], offset: number): Buffer {
  const unit = Buffer.from(`${lines.length > 1 ? ' ' : ''}${lines.join(' \n')}\n`)
  if (unit.length <= BLOCK_BYTES) {
    const used = offset % BLOCK_BYTES
    return used + unit.length <= BLOCK_BYTES
      ? unit
      : Buffer.concat([Buffer.alloc(BLOCK_BYTES - used, NEWLINE), unit])
  }
  return lines.length === 1 ? unit : Buffer.from(marked(lines.join('\n')))
}

function marked(body: string): string {
  const bytes = Buffer.from(`${body}\n`)
  return `{"_id":"${UNIT_ID}","$$unit":{"bytes":${bytes.length},"crc":${zlib().crc32(bytes)}}}\n${body}\n${CLOSING}\n`
}

/** The units of several changes one after the other. */
export interface Units {
  readonly data: Buffer
  /** Where in it the unit of each change ends; a change without lines has none. */
  readonly ends: readonly number[]
}

/** The units of several changes, as they must be written at `offset` of the file. */
export function encodeUnits(changes: readonly (readonly string[])[], offset: number): Units {
  const units: Buffer[] = []
  let at = offset
  for (const lines of changes) {
    const unit = lines.length === 0 ? NONE : encodeUnit(lines, at)
    units.push(unit)
    at += unit.length
  }
  return joined(units)
}

/** As `encodeUnits` for a store with hooks, by which the lines have come already. */
export async function encodeUnitsWith(
  coder: LineCoder,
  changes: readonly (readonly string[])[],
  offset: number,
): Promise<Units> {
  const units: Buffer[] = []
  let at = offset
  for (const lines of changes) {
    const unit = lines.length === 0 ? NONE : await encodeUnitWith(coder, lines, at)
    units.push(unit)
    at += unit.length
  }
  return joined(units)
}

const NONE = Buffer.alloc(0)

function joined(units: readonly Buffer[]): Units {
  let end = 0
  const ends = units.map((unit) => {
    end += unit.length
    return end
  })
  return { data: units.length === 1 ? (units[0] as Buffer) : Buffer.concat(units, end), ends }
}

/** As `encodeUnit` for a store with hooks, by which the lines have come already; the crc is of the encoded body. */
export async function encodeUnitWith(
  coder: LineCoder,
  encoded: readonly string[],
  offset: number,
): Promise<Buffer> {
  if (encoded.length === 1) return encodeUnit(encoded, offset)
  const body = Buffer.from(`${encoded.join('\n')}\n`)
  const opening = `{"_id":"${UNIT_ID}","$$unit":{"bytes":${body.length},"crc":${zlib().crc32(body)}}}`
  const text = `${await coder.encode(opening)}\n${body.toString()}${await coder.encode(CLOSING)}\n`
  return Buffer.from(text)
}
