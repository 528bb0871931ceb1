import { constants, isUtf8 } from 'node:buffer'
import { basename, dirname, join } from 'node:path'
import { asError, errnoOf } from '../../errors.ts'
import type { FileFormat, Inspection } from './file-format.ts'
import type { Finding } from './finding.ts'
import { allOf, bytesSource } from './source.ts'

const NOTHING = bytesSource(Buffer.alloc(0))
const RESTORE = 'Restore a dump of it.'

/** A file that is one text, whole if it can be parsed. @param parse throws where it cannot */
export function textFormat(name: string, parse: (text: string) => unknown): FileFormat {
  return {
    name,
    temp: (path) => join(dirname(path), `.${basename(path)}.pslock.tmp`),
    inspect: async (source) => inspectText(name, parse, await allOf(source)),
  }
}

/** A file that only the store itself can read: it is copied as it is. */
export function unreadText(name: string): FileFormat {
  return {
    ...textFormat(name, () => {}),
    inspect: async (source) => ({ findings: [], content: source, removed: NOTHING }),
  }
}

/** What lowdb writes. */
export const jsonFormat: FileFormat = textFormat('JSON', JSON.parse)

function inspectText(name: string, parse: (text: string) => unknown, bytes: Buffer): Inspection {
  if (!isUtf8(bytes)) return hopeless({ what: 'not-text', message: 'it is not valid UTF-8', mend: RESTORE })
  const text = textOf(bytes)
  if (text === undefined) {
    const mend = 'It may be whole all the same, and was left as it is.'
    return hopeless({ what: 'too-large', message: TOO_LARGE, mend })
  }
  if (text.trim() === '') {
    const mend = `${RESTORE} Or remove it, to begin with the default data.`
    return hopeless({ what: 'unreadable', message: 'it is empty', mend, byte: 0 })
  }
  const failure = failureOf(parse, text)
  if (failure === undefined) return { findings: [], content: bytesSource(bytes), removed: NOTHING }
  if (text.startsWith(BYTE_ORDER_MARK)) {
    const message = `it begins with a byte order mark, which is not ${name}`
    const mend = '`pslock repair` removes it.'
    const { length } = Buffer.from(BYTE_ORDER_MARK)
    return {
      findings: [{ what: 'byte-order-mark', message, mend, line: 1, byte: 0 }],
      content: bytesSource(bytes.subarray(length)),
      removed: bytesSource(bytes.subarray(0, length)),
    }
  }
  const position = positionOf(parse, failure, text)
  const whole = position === undefined ? '' : text.slice(0, position).trimEnd()
  const at = position === undefined ? {} : placeOf(text, position)
  if (whole !== '' && failureOf(parse, whole) === undefined) {
    const content = bytesSource(Buffer.from(whole))
    const removed = bytesSource(bytes.subarray(content.length))
    const message = `behind the end of the ${name} there are ${removed.length} bytes more`
    const mend = '`pslock repair` cuts them off and keeps them.'
    return { findings: [{ what: 'trailing-bytes', message, mend, ...at }], content, removed }
  }
  return hopeless({
    what: 'unreadable',
    message: `it is not valid ${name}: ${failure.message}`,
    mend: `${RESTORE} Or mend it by hand.`,
    ...at,
  })
}

/** Some editors write it at the beginning of a file. */
export const BYTE_ORDER_MARK = '\ufeff'

/** What is said of more than one string of JavaScript holds: 2 ** 29 - 24 characters (V8, 64 bit). */
export const TOO_LARGE: string = `it is too large for one text in Node.js (${Math.round(constants.MAX_STRING_LENGTH / 2 ** 20)} MB)`

/** The text of bytes that are UTF-8; undefined where they are too many for one string. */
export function textOf(bytes: Buffer): string | undefined {
  try {
    return bytes.toString()
  } catch (error) {
    if (isTooLong(error)) return undefined
    throw error
  }
}

/** Whether a string would have been longer than one can be: of bytes that were decoded, or of JSON. */
export function isTooLong(error: unknown): boolean {
  return errnoOf(error) === 'ERR_STRING_TOO_LONG' || /^RangeError: Invalid string length/.test(String(error))
}

function hopeless(finding: Finding): Inspection {
  return { findings: [finding], content: undefined, removed: NOTHING }
}

function failureOf(parse: (text: string) => unknown, text: string): Error | undefined {
  try {
    parse(text)
    return undefined
  } catch (error) {
    return asError(error)
  }
}

/**
 * JSON.parse says in its message where it stopped, but not of an unexpected token: that is the end of the shortest
 * beginning that has one.
 */
function positionOf(parse: (text: string) => unknown, { message }: Error, text: string): number | undefined {
  const found = /position (\d+)/.exec(message)?.[1]
  if (found !== undefined) return Number(found)
  if (/end of JSON input/.test(message)) return text.length
  if (!NO_POSITION.test(message)) return undefined
  let [without, having] = [0, text.length]
  while (having - without > 1) {
    const middle = (without + having) >> 1
    if (NO_POSITION.test(failureOf(parse, text.slice(0, middle))?.message ?? '')) having = middle
    else without = middle
  }
  return without
}

const NO_POSITION = /is not valid JSON/

interface Place {
  /** From 1. */
  readonly line: number
  /** From 0. */
  readonly byte: number
}

/** Where in a text its parser stopped; undefined where that does not show. */
export function failurePlace(
  parse: (text: string) => unknown,
  failure: Error,
  text: string,
): Place | undefined {
  const position = positionOf(parse, failure, text)
  return position === undefined ? undefined : placeOf(text, position)
}

function placeOf(text: string, position: number): Place {
  const before = text.slice(0, position)
  return { line: before.split('\n').length, byte: Buffer.byteLength(before) }
}
