import type { TreeMemory } from '../adapter.ts'
import { Scope } from '../scope.ts'
import { patch, type Tree } from './values.ts'

/** A copy of the tree that an edit works on; what is issued inside the edit is part of it. */
export class WorkingCopy extends Scope implements TreeMemory {
  tree: Tree

  /** @param store the tree that it is a copy of */
  constructor(store: object, tree: Tree) {
    super(store, 'exclusive')
    this.tree = tree
  }

  /** The innermost edit of this tree that the caller runs in and that has not ended. */
  static override enclosing(store: object): WorkingCopy | undefined {
    return Scope.enclosing(store) as WorkingCopy | undefined
  }

  get(): Tree {
    return this.tree
  }

  set(tree: Tree): void {
    this.tree = patch(this.tree, tree)
  }

  /** Edits it; ends when every edit that was issued inside has ended too. */
  async edit(edit: (copy: this) => unknown): Promise<Tree> {
    await this.run(() => edit(this))
    return this.tree
  }
}
