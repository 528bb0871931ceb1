import type { FileFormat } from '../../src/features/backup/format.ts'
import { journaled, jsonFormat } from '../../src/features/backup/json-format.ts'
import type { TreeFormat } from '../../src/store/adapter.ts'

export const JSON_FORMAT: TreeFormat = {
  name: 'JSON',
  parse: (text) => JSON.parse(text) as unknown,
  // As lowdb writes it.
  stringify: (tree) => JSON.stringify(tree, null, 2),
}

/** A file of lowdb's, with its journal where it has one. Pure: the swap-in class needs none of it. */
export const lowdbFormat: FileFormat = /* @__PURE__ */ journaled(jsonFormat, JSON_FORMAT)
