import { Context } from '../../lock/hold.ts'
import { inLoop } from '../../lock/local-queue.ts'
import type { TreeMemory } from '../adapter.ts'
import type { Issued } from '../operation.ts'
import type { TransactionOptions } from '../transaction.ts'
import type { Tree } from './json-tree.ts'
import { patch } from './patch.ts'

/** A copy that an edit works on. */
export interface Draft extends TreeMemory {
  tree: Tree
  /** Of which store it is. */
  readonly owner: Drafts
  /** The edit that it was begun in, of whatever store. */
  readonly outer: Draft | undefined
  /** Ends when the inner edits that were issued so far have ended: they take turns. */
  inner: Promise<unknown>
  open: boolean
}

/** One for all stores: until Node 24 each of them would be copied to every promise that is made. */
const current = new Context<Draft>()

/** The edits of one store that run at this moment: one inside another's callback works on that one's copy. */
export class Drafts {
  /** The innermost edit that the caller runs in and that has not ended. */
  get enclosing(): Draft | undefined {
    let draft = current.get()
    while (draft && !(draft.owner === this && draft.open)) draft = draft.outer
    return draft
  }

  /** Edits the tree; ends when every edit that was issued inside has ended too. */
  async edit(edit: (draft: Draft) => unknown, tree: Tree): Promise<Tree> {
    const draft: Draft = {
      tree,
      owner: this,
      outer: current.get(),
      inner: Promise.resolve(),
      open: true,
      get: () => draft.tree,
      set: (next) => {
        draft.tree = patch(draft.tree, next)
      },
    }
    try {
      await current.run(draft, draft, () => edit(draft))
    } finally {
      // Also those that nobody waited for: they were issued inside.
      for (let inner: unknown; inner !== draft.inner; ) {
        inner = draft.inner
        await inner
      }
      draft.open = false
      current.leave(draft)
    }
    return draft.tree
  }
}

/** A transaction is an edit whose callback's value is given once it is committed. */
export async function transactOn<T>(
  run: (memory: TreeMemory) => T,
  { retry, ...options }: TransactionOptions,
  update: (edit: (draft: Draft) => Promise<void>, issued: Issued) => Promise<unknown>,
): Promise<Awaited<T>> {
  let result: Awaited<T> | undefined
  const edit = async (draft: Draft) => {
    result = await run(draft)
  }
  await update(edit, { ...options, kind: retry === undefined ? 'transaction' : 'optimistic' })
  return result as Awaited<T>
}

/** Runs inside an open edit, after the inner edits that were issued before. */
export function inTurn(outer: Draft, run: () => void | Promise<void>): Promise<void> {
  const turn = inLoop(outer.inner, run)
  outer.inner = turn.catch(() => {})
  return turn
}
