import { isUtf8 } from 'node:buffer'
import { existsSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type LockMode, orUndefined } from '../../errors.ts'
import { storeFailure } from '../../os/replace.ts'
import { runSteps, WAITING } from '../../os/steps.ts'
import type { TreeFormat } from '../../store/adapter.ts'
import {
  entriesOf,
  hashOf,
  hasJournal,
  isJournal,
  isMarked,
  journalGone,
  journalOf,
  putAside,
  relationTo,
  unmark,
} from '../../store/json/journal/journal.ts'
import { JournaledFile } from '../../store/json/journaled-file.ts'
import type { Tree } from '../../store/json/values.ts'
import { allOf, bytesSource, readSnapshot, readWholeNow } from '../../store/snapshot.ts'
import {
  BYTE_ORDER_MARK,
  failureOf,
  placeOf,
  positionOf,
  TOO_LARGE,
  textOf,
  treeText,
} from '../../store/text/text.ts'
import { type FileFormat, type Finding, finding, type Inspection, NOTHING, unmendable } from './format.ts'

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
  if (!isUtf8(bytes)) return unmendable('not-text', 'it is not valid UTF-8', RESTORE)
  const text = textOf(bytes)
  if (text === undefined)
    return unmendable('too-large', TOO_LARGE, 'It may be whole all the same, and was left as it is.')
  if (text.trim() === '') {
    const mend = `${RESTORE} Or remove it, to begin with the default data.`
    return unmendable('unreadable', 'it is empty', mend, { byte: 0 })
  }
  const failure = failureOf(parse, text)
  if (failure === undefined) return { findings: [], content: bytesSource(bytes), removed: NOTHING }
  if (text.startsWith(BYTE_ORDER_MARK)) {
    const message = `it begins with a byte order mark, which is not ${name}`
    const found = finding('byte-order-mark', message, '`pslock repair` removes it.', { line: 1, byte: 0 })
    const { length } = Buffer.from(BYTE_ORDER_MARK)
    return {
      findings: [found],
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
    return { findings: [finding('trailing-bytes', message, mend, at)], content, removed }
  }
  const message = `it is not valid ${name}: ${failure.message}`
  return unmendable('unreadable', message, `${RESTORE} Or mend it by hand.`, at)
}

/** A format of files that may have journals. */
export function journaled(format: FileFormat, tree: TreeFormat): FileFormat {
  return {
    ...format,
    read: (path) =>
      ofOneMoment(path, async () => {
        const content = await readSnapshot(path)
        if (!hasJournal(path)) {
          if (isWithoutJournal(path)) throw journalGone(path)
          return content
        }
        const text = treeText(await treeIn(path, tree, 'shared'), path, tree)
        return { ...content, source: bytesSource(Buffer.from(text)) }
      }),
    beside: (path) => ofOneMoment(path, async () => findingsOf(path)),
    settle: async (path) => {
      const findings = findingsOf(path)
      const isOther = findings.some(({ what }) => what !== 'torn-tail')
      const kept = isOther && hasJournal(path) ? putAside(path) : undefined
      if (isOther) unmarkFile(path)
      if (hasJournal(path)) await treeIn(path, tree, 'exclusive')
      return { findings, kept: kept === undefined ? [] : [kept] }
    },
  }
}

/** So often it is looked again before what was seen last is taken for what is there. */
const LOOKS = 100

/**
 * What a look at a file and its journal finds. Who may not make the lock file looks without the lock, and meanwhile a writer
 * may put the journal into the file and remove it: then it is looked again.
 */
async function ofOneMoment<T>(path: string, look: () => Promise<T>): Promise<T> {
  for (let looks = 1; ; looks++) {
    const before = stateOf(path)
    try {
      const found = await look()
      if (looks === LOOKS || stateOf(path) === before) return found
    } catch (error) {
      if (looks === LOOKS || stateOf(path) === before) throw error
    }
  }
}

/** What changes with either of the two files. */
function stateOf(path: string): string {
  return [path, journalOf(path)]
    .map((file) => orUndefined(() => statSync(file, { bigint: true })))
    .map((found) => found && `${found.dev}:${found.ino}:${found.size}:${found.ctimeNs}`)
    .join()
}

function findingsOf(path: string): Finding[] {
  const file = journalOf(path)
  if (!hasJournal(path)) return isWithoutJournal(path) ? [GONE] : []
  const bytes = readWholeNow(file)
  const entries = entriesOf(bytes)
  const { end } = entries
  if (entries.base === undefined && isWithoutJournal(path)) return [{ ...GONE, file }]
  const mend = '`pslock repair` puts it aside; look whether you miss something that is in it.'
  if (!isJournal(bytes, entries))
    return [finding('foreign', 'it has the name of a journal, and is none of ours', mend, { file })]
  const hash = existsSync(path) ? hashOf(readWholeNow(path)) : undefined
  if (relationTo(hash, entries) === 'stale') {
    const message =
      'it is the journal of another content than the file has now: somebody replaced that without it'
    return [finding('stale-journal', message, mend, { file })]
  }
  if (end === bytes.length) return []
  const message = `it ends in ${bytes.length - end} bytes of an operation that was cut short`
  const cutOff = 'The next writer cuts them off and keeps them.'
  return [finding('torn-tail', message, cutOff, { file, byte: end })]
}

/** Whether the file had a journal when it was last written to. */
function isWithoutJournal(path: string): boolean {
  try {
    const found = statSync(path, { throwIfNoEntry: false })
    return found !== undefined && isMarked(found)
  } catch (error) {
    throw storeFailure(path, 'look at', error)
  }
}

function unmarkFile(path: string): void {
  try {
    unmark(path)
  } catch (cause) {
    throw storeFailure(path, 'change the mode of', cause)
  }
}

const GONE = finding(
  'journal-gone',
  'its journal is gone, or emptied: what was changed since this file was written is in neither',
  'Put the journal back from a copy. `pslock repair` goes on without it.',
)

/** The tree of a file, with what is in its journal; under the exclusive lock that is put into the file. */
async function treeIn(path: string, format: TreeFormat, mode: LockMode): Promise<Tree> {
  const storage = new JournaledFile(path, format, { durable: false, keepsJournal: false, timeoutMs: 0 })
  try {
    const delta = await runSteps(storage.refresh(mode, WAITING))
    return delta.kind === 'tree' ? delta.tree : undefined
  } finally {
    storage.close()
  }
}
