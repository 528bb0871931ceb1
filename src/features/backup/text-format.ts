import { isUtf8 } from 'node:buffer'
import { basename, dirname, join } from 'node:path'
import { allOf, bytesSource } from '../../store/snapshot.ts'
import { BYTE_ORDER_MARK, failureOf, placeOf, positionOf, TOO_LARGE, textOf } from '../../store/text/text.ts'
import type { FileFormat, Inspection } from './file-format.ts'
import type { Finding } from './finding.ts'

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
    requireRestorable: (path) => {
      throw new TypeError(
        `restore() of ${path}: the store's own adapter reads and writes this file, so nobody else can tell whether a dump is ` +
          'whole. Copy the dump over the file inside lock.exclusive(), then call read().',
      )
    },
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

function hopeless(finding: Finding): Inspection {
  return { findings: [finding], content: undefined, removed: NOTHING }
}
