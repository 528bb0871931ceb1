import { Context } from '../../lock/hold.ts'
import { inLoop } from '../../lock/local-queue.ts'
import type { TreeMemory } from '../adapter.ts'
import { patch, type Tree } from './values.ts'

/** A copy of the tree that an edit works on. */
export class WorkingCopy implements TreeMemory {
  tree: Tree

  constructor(tree: Tree) {
    this.tree = tree
  }

  get(): Tree {
    return this.tree
  }

  set(tree: Tree): void {
    this.tree = patch(this.tree, tree)
  }
}

/** That of an edit which may take its time. */
export class OpenCopy extends WorkingCopy {
  /** The edit that it was begun in, of whatever store. */
  readonly outer: OpenCopy | undefined = current.get()
  isOpen = true
  /** Ends when the inner edits that were issued so far have ended: they take turns. */
  #inner: Promise<unknown> = Promise.resolve()
  readonly #store: object

  constructor(store: object, tree: Tree) {
    super(tree)
    this.#store = store
  }

  /** The innermost edit of this store that the caller runs in and that has not ended. */
  static enclosing(store: object): OpenCopy | undefined {
    let copy = current.get()
    while (copy && !(copy.#store === store && copy.isOpen)) copy = copy.outer
    return copy
  }

  /** Edits it; ends when every edit that was issued inside has ended too. */
  async edit(edit: (copy: this) => unknown): Promise<Tree> {
    try {
      await current.run(this, this, () => edit(this))
    } finally {
      // Also those that nobody waited for: they were issued inside.
      for (let inner: unknown; inner !== this.#inner; ) {
        inner = this.#inner
        await inner
      }
      this.isOpen = false
      current.leave(this)
    }
    return this.tree
  }

  /** Runs a part of this edit, after the parts that were issued before. */
  inTurn(run: () => void | Promise<void>): Promise<void> {
    const turn = inLoop(this.#inner, run)
    this.#inner = turn.catch(() => {})
    return turn
  }
}

/** One for all stores: until Node 24 each of them would be copied to every promise that is made. */
const current = new Context<OpenCopy>()
