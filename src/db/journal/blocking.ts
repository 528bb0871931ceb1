import { unlinkSync } from 'node:fs'
import type { LockMode } from '../../errors.ts'
import { syncNamesSync, type Written } from '../../os/data-io.ts'
import { storeFailure } from '../../os/replace.ts'
import type { TreeFormat } from '../adapter.ts'
import { ImageFile } from '../image/image-file.ts'
import { LogFile } from '../log/log-file.ts'
import type { Tree } from '../tree/json-tree.ts'
import { treeOf } from '../tree/text.ts'
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
import { cutTorn, keepStale } from './stale.ts'

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
      const text = format.stringify(tree)
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

function read(
  path: string,
  format: TreeFormat,
  base: ImageFile,
  log: LogFile,
  mode: LockMode,
): { tree: Tree | undefined; relation: Relation | undefined } {
  const found = base.news(mode)
  const text = found.kind === 'changed' ? base.readSync(found.size) : undefined
  const tree = text === undefined ? undefined : treeOf(text, path, format)
  const bytes = log.view.readBlocking(mode)
  // Another process has just put it into the file.
  if (!bytes) return { tree, relation: undefined }
  const entries = entriesOf(bytes)
  requireJournal(path, bytes, entries)
  const relation = relationTo(text === undefined ? undefined : hashOf(text), entries)
  if (relation === 'stale') throw keepStale(path, entries, tree)
  log.apply(bytes, 'replaced', entries.end)
  if (mode === 'exclusive' && entries.end < bytes.length) cutTorn(log, bytes.subarray(entries.end))
  return { tree: relation === 'current' ? apply(tree, entries.changes, path) : tree, relation }
}

function withFiles<T>(path: string, run: (base: ImageFile, log: LogFile) => T): T {
  const base = new ImageFile(path, true)
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
