import type { TreeFormat } from '../../src/db/adapter.ts'
import type { FileFormat } from '../../src/db/dump/file-format.ts'
import { jsonFormat } from '../../src/db/dump/text-format.ts'
import { journaled } from '../../src/db/journal/closed.ts'

export const JSON_FORMAT: TreeFormat = {
  name: 'JSON',
  parse: (text) => JSON.parse(text) as unknown,
  // As lowdb writes it.
  stringify: (tree) => JSON.stringify(tree, null, 2),
}

/** A file of lowdb's, with its journal where it has one. */
export const lowdbFormat: FileFormat = journaled(jsonFormat, JSON_FORMAT)
