import { TransactionError } from '../../errors.ts'
import type { TreeMemory } from '../adapter.ts'
import { cloneTree, frozenTree, type Tree } from './json-tree.ts'

/** A state that nobody can change: what the callback of a view is given. */
export function frozenMemory(path: string, tree: Tree): TreeMemory {
  const frozen = frozenTree(cloneTree(tree))
  return {
    get: () => frozen,
    set: () => {
      throw new TransactionError(`nothing can be written inside a view of ${path}: use transaction()`, {
        path,
      })
    },
  }
}
