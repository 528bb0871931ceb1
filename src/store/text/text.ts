import { constants } from 'node:buffer'
import { asError, CorruptStoreError, errnoOf, StoreIoError } from '../../errors.ts'
import type { TreeFormat } from '../adapter.ts'

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
function isTooLong(error: unknown): boolean {
  return errnoOf(error) === 'ERR_STRING_TOO_LONG' || /^RangeError: Invalid string length/.test(String(error))
}

export function failureOf(parse: (text: string) => unknown, text: string): Error | undefined {
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
export function positionOf(
  parse: (text: string) => unknown,
  { message }: Error,
  text: string,
): number | undefined {
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
function failurePlace(parse: (text: string) => unknown, failure: Error, text: string): Place | undefined {
  const position = positionOf(parse, failure, text)
  return position === undefined ? undefined : placeOf(text, position)
}

export function placeOf(text: string, position: number): Place {
  const before = text.slice(0, position)
  return { line: before.split('\n').length, byte: Buffer.byteLength(before) }
}

/** The tree that a data file holds. @throws CorruptStoreError that says where it stops to be one */
export function treeOf(text: string, path: string, { name, parse }: TreeFormat): unknown {
  if (text.trim() === '') {
    throw new CorruptStoreError(
      `${path} is empty (line 1, byte 0). Remove it to start from the default data.`,
      { path, line: 1, byte: 0 },
    )
  }
  if (text.startsWith(BYTE_ORDER_MARK)) {
    throw new CorruptStoreError(
      `${path} begins with a byte order mark (line 1, byte 0), which is not ${name}. It was left as it is; \`pslock repair\` ` +
        'removes it.',
      { path, line: 1, byte: 0 },
    )
  }
  try {
    return parse(text)
  } catch (cause) {
    const failure = asError(cause)
    const place = failurePlace(parse, failure, text)
    const where = place ? `line ${place.line}, byte ${place.byte}: ` : ''
    throw new CorruptStoreError(
      `${path} is not valid ${name}: ${where}${failure.message}. It was left as it is; mend or remove it.`,
      { path, ...place, cause },
    )
  }
}

/**
 * A tree as the text of its file.
 * @throws TypeError for what is not to be written; StoreIoError for what is too large for one text
 */
export function treeText(tree: unknown, path: string, { name, stringify }: TreeFormat): string {
  let text: string | undefined
  try {
    text = stringify(tree) as string | undefined
  } catch (cause) {
    if (!isTooLong(cause)) throw cause
    throw new StoreIoError(`cannot write ${path}: ${TOO_LARGE}. Nothing was changed.`, { path, cause })
  }
  if (typeof text === 'string') return text
  throw new TypeError(`the data of ${path} cannot be written as ${name}: got ${String(tree)}`)
}
