import { existsSync, statSync } from 'node:fs'
import type { LockMode } from '../../errors.ts'
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
import { Storage } from '../../store/json/storage.ts'
import type { Tree } from '../../store/json/values.ts'
import { bytesSource, readSnapshot, readWholeNow } from '../../store/snapshot.ts'
import { treeText } from '../../store/text/text.ts'
import type { FileFormat } from './file-format.ts'
import type { Finding } from './finding.ts'

/** A format of files that may have journals. */
export function journaled(format: FileFormat, tree: TreeFormat): FileFormat {
  return {
    ...format,
    read: async (path) => {
      const content = await readSnapshot(path)
      if (!hasJournal(path)) {
        if (isWithoutJournal(path)) throw journalGone(path)
        return content
      }
      const text = treeText(await treeIn(path, tree, 'shared'), path, tree)
      return { ...content, source: bytesSource(Buffer.from(text)) }
    },
    beside: async (path) => findingsOf(path),
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

function findingsOf(path: string): Finding[] {
  const file = journalOf(path)
  if (!hasJournal(path)) return isWithoutJournal(path) ? [GONE] : []
  const bytes = readWholeNow(file)
  const entries = entriesOf(bytes)
  const { end } = entries
  if (entries.base === undefined && isWithoutJournal(path)) return [{ ...GONE, file }]
  if (!isJournal(bytes, entries)) {
    return [
      {
        what: 'foreign',
        message: 'it has the name of a journal, and is none of ours',
        mend: PUT_ASIDE,
        file,
      },
    ]
  }
  const hash = existsSync(path) ? hashOf(readWholeNow(path)) : undefined
  if (relationTo(hash, entries) === 'stale') {
    const message =
      'it is the journal of another content than the file has now: somebody replaced that without it'
    return [{ what: 'stale-journal', message, mend: PUT_ASIDE, file }]
  }
  if (end === bytes.length) return []
  const message = `it ends in ${bytes.length - end} bytes of an operation that was cut short`
  return [
    { what: 'torn-tail', message, mend: 'The next writer cuts them off and keeps them.', file, byte: end },
  ]
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

const GONE: Finding = {
  what: 'journal-gone',
  message: 'its journal is gone, or emptied: what was changed since this file was written is in neither',
  mend: 'Put the journal back from a copy. `pslock repair` goes on without it.',
}

const PUT_ASIDE = '`pslock repair` puts it aside; look whether you miss something that is in it.'

/** The tree of a file, with what is in its journal; under the exclusive lock that is put into the file. */
async function treeIn(path: string, format: TreeFormat, mode: LockMode): Promise<Tree> {
  const storage = new Storage(path, format, { durable: false, keepsJournal: false, timeoutMs: 0 })
  try {
    const delta = await runSteps(storage.refresh(mode, WAITING))
    return delta.kind === 'tree' ? delta.tree : undefined
  } finally {
    storage.close()
  }
}
