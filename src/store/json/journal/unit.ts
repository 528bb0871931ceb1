import { zlib } from '../../../os/modules.ts'

/**
 * A unit of a journal: `<bytes of the JSON> <its crc32, hexadecimal> <JSON>\n`. One write(2) is not atomic: a crash leaves
 * a part of a unit, and power loss zeros, neither of which passes for one.
 */
const NEWLINE = 10
const HEAD = /^(\d{1,15}) ([0-9a-f]{8}) $/
const LONGEST_HEAD = 25

export function encodeUnit(json: string): Buffer {
  const body = Buffer.from(json)
  return Buffer.from(`${body.length} ${checksum(body)} ${json}\n`)
}

/** The whole units at the beginning of some bytes. */
export interface Scan {
  /** What each of them holds. */
  readonly units: readonly unknown[]
  /** Where they end. */
  readonly end: number
}

export function scanUnits(bytes: Buffer): Scan {
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
export function mayBeTorn(bytes: Buffer): boolean {
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
