import { unlinkSync } from 'node:fs'
import type { LockMode } from '../../../errors.ts'
import { syncNamesSync, type Written } from '../../../os/io.ts'
import { storeFailure } from '../../../os/replace.ts'
import type { TreeFormat } from '../../adapter.ts'
import { LogFile } from '../../log/log-file.ts'
import { ImageFile } from '../../text/image-file.ts'
import type { Tree } from '../json-tree.ts'
import { treeOf, treeText } from '../text.ts'
import { apply } from './apply.ts'
import {
  entriesOf,
  hashOf,
  journalOf,
  lastUnit,
  type Relation,
  relationTo,
  requireJournal,
} from './journal.ts'
import { MOST_ATTEMPTS } from './journal-file.ts'
import { isMarked } from './mark.ts'
import { cutTorn, journalGone, keepStale, neverStill } from './stale.ts'

/** As those of `closed`, blocking the thread: for stores whose calls are synchronous. */

export function replayedSync(path: string, format: TreeFormat, durable: boolean): Tree {
  return withFiles(path, (base, log) => {
    const { tree, relation } = read(path, format, base, log, 'shared')
    if (durable && relation) log.syncBlocking()
    if (durable) base.syncBlocking()
    return tree
  })
}

export function checkpointedSync(path: string, format: TreeFormat): void {
  withFiles(path, (base, log) => {
    const { tree, relation } = read(path, format, base, log, 'exclusive')
    if (relation === 'current') {
      const text = treeText(tree, path, format)
      const unit = lastUnit(hashOf(text))
      // So little is written at once.
      const { bytes, error } = log.append(unit) as Written
      log.appended(unit, bytes === unit.length ? bytes : 0, bytes)
      if (bytes < unit.length) throw storeFailure(log.path, 'write', error)
      log.syncBlocking()
      base.replaceSync(text)
    } else if (relation) syncNamesSync(path)
    if (!relation) return
    unlinkSync(log.path)
    // Else power loss could bring it back beside a later file.
    syncNamesSync(path)
  })
}

interface Replayed {
  readonly tree: Tree | undefined
  /** Left out where there is no journal. */
  readonly relation: Relation | undefined
}

/** See `JournalFile#load`. */
function read(path: string, format: TreeFormat, base: ImageFile, log: LogFile, mode: LockMode): Replayed {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    const replayed = readOnce(path, format, base, log, mode)
    if (replayed) return replayed
  }
  throw neverStill(path)
}

function readOnce(
  path: string,
  format: TreeFormat,
  base: ImageFile,
  log: LogFile,
  mode: LockMode,
): Replayed | undefined {
  base.forget()
  const found = base.news(mode)
  const text = found.kind === 'changed' ? base.readSync(found.size) : undefined
  const bytes = log.view.readBlocking(mode)
  if (mode === 'shared' && base.news(mode).kind !== 'none') return undefined
  const tree = text === undefined ? undefined : treeOf(text, path, format)
  // Another process has just put it into the file.
  if (!bytes && isMarked(base)) throw journalGone(path)
  if (!bytes) return { tree, relation: undefined }
  const entries = entriesOf(bytes)
  requireJournal(path, bytes, entries)
  if (entries.base === undefined && isMarked(base)) throw journalGone(path)
  const hash = text === undefined ? undefined : hashOf(text)
  const relation = relationTo(hash, entries)
  if (relation === 'stale') {
    if (mode === 'shared' && !isStillStale(hash, base, log)) return undefined
    throw keepStale(path, entries, tree)
  }
  log.apply(bytes, 'replaced', entries.end)
  if (mode === 'exclusive' && entries.end < bytes.length) cutTorn(log, bytes.subarray(entries.end))
  return { tree: relation === 'current' ? apply(tree, entries.changes, path) : tree, relation }
}

function isStillStale(hash: string | undefined, base: ImageFile, log: LogFile): boolean {
  if (base.news('exclusive').kind !== 'none') return false
  const bytes = log.view.readBlocking('exclusive')
  return bytes !== undefined && relationTo(hash, entriesOf(bytes)) === 'stale'
}

function withFiles<T>(path: string, run: (base: ImageFile, log: LogFile) => T): T {
  const base = new ImageFile(path, true, () => false)
  const log = new LogFile(journalOf(path), 0o600, true)
  try {
    return run(base, log)
  } finally {
    try {
      base.close()
    } finally {
      log.close()
    }
  }
}
