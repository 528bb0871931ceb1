import { show } from '../arguments.ts'
import { RECORD_TEXT_BYTES } from '../os/record-file.ts'

/** Longest name in bytes of UTF-8: it must fit in a record, behind the word that says what the record is. */
const LONGEST_BYTES: number = Math.floor((RECORD_TEXT_BYTES - 10) / 100) * 100

/** Control characters and line separators: a name is one line, in the lock file and in messages. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029]/u

/**
 * The nodes from the top down to the one that is named: `app/orders#import` is `app`, `app/orders`,
 * `app/orders#import`. Names are compared as they are: neither case nor Unicode normal forms are folded.
 * @throws TypeError for a name that is none
 */
export function nodesOf(name: unknown): string[] {
  if (typeof name !== 'string')
    throw new TypeError(`name must be a string such as 'app/orders', got ${show(name)}`)
  const wrong = whatIsWrong(name)
  if (wrong)
    throw new TypeError(`name ${wrong}, got ${show(name.length > 200 ? `${name.slice(0, 200)}...` : name)}`)
  return pathOf(name)
}

/** As `nodesOf`, of a name that was checked before. */
export function pathOf(name: string): string[] {
  const ends = [...name.matchAll(/[/#]/g)].map(({ index }) => index)
  return [...ends.map((end) => name.slice(0, end)), name]
}

/** Whether a text is one line of well-formed Unicode: two with different half surrogate pairs become the same bytes. */
export function isPrintable(text: string): boolean {
  return !UNPRINTABLE.test(text) && Buffer.from(text, 'utf8').toString('utf8') === text
}

function whatIsWrong(name: string): string | undefined {
  if (!isPrintable(name)) return 'must be one line of printable, well-formed Unicode'
  if (Buffer.byteLength(name) > LONGEST_BYTES) return `must have at most ${LONGEST_BYTES} bytes of UTF-8`
  const [path = '', operation, ...more] = name.split('#')
  if (more.length > 0 || operation?.includes('/')) return "must have at most one '#', in its last part"
  const parts = operation === undefined ? path.split('/') : [...path.split('/'), operation]
  if (parts.includes('')) return 'must not have an empty part'
  // It is no path, and nothing resolves these.
  if (parts.includes('.') || parts.includes('..')) return "must not have a part '.' or '..'"
  return undefined
}
