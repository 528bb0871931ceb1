import { TransactionError } from '../../../errors.ts'
import type { TreeFormat, TreeMemory } from '../../adapter.ts'
import { treeText } from '../../text/text.ts'
import { WorkingCopy } from '../live-tree.ts'
import type { Delta, Head } from '../storage.ts'
import { patch, type Tree } from '../values.ts'
import { apply, type Change, changesOf } from './changes.ts'
import { Recorder, readOnly } from './recorder.ts'

/**
 * A tree in memory whose changes go to a journal. An edit works on a draft that records what it changes; that is applied
 * to the tree at once, which keeps its containers, with how to undo it. So an update costs what it touches.
 */
export class RecordedTree implements Head {
  /** To look at only. */
  readonly memory: TreeMemory
  readonly #path: string
  readonly #format: TreeFormat
  readonly #live: TreeMemory
  readonly #defaults: string
  readonly #readOnly: (tree: () => Tree) => TreeMemory
  readonly #recorders = new WeakMap<WorkingCopy, Recorder>()
  readonly #isMissing: () => boolean
  /** How to undo what the operations of this pass did. */
  #undo: (() => void)[] = []

  constructor(path: string, memory: TreeMemory, format: TreeFormat, isMissing: () => boolean) {
    this.#path = path
    this.#format = format
    this.#live = memory
    this.#isMissing = isMissing
    this.#readOnly = readOnly(path)
    this.memory = this.#readOnly(() => this.tree)
    // Not the caller's own object, which other stores may share, and as JSON keeps it.
    this.#defaults = treeText(memory.get(), path, format)
    memory.set(format.parse(this.#defaults))
  }

  get tree(): Tree {
    return this.#live.get()
  }

  get text(): string {
    return treeText(this.tree, this.#path, this.#format)
  }

  accept(delta: Delta): void {
    this.#undo = []
    if (delta.kind === 'changes') this.#live.set(apply(this.tree, delta.changes, this.#path))
    if (delta.kind === 'tree')
      this.#live.set(
        patch(this.tree, delta.tree === undefined ? this.#format.parse(this.#defaults) : delta.tree),
      )
  }

  mark(): () => void {
    const { length } = this.#undo
    return () => {
      while (this.#undo.length > length) this.#undo.pop()?.()
    }
  }

  publish(): void {
    this.#undo = []
  }

  discard(): void {}

  see(): undefined {}

  drop(): void {}

  release(): void {}

  /** @throws TransactionError for a bare write */
  take(isWrite: boolean): undefined {
    if (!isWrite) return
    throw new TransactionError(
      `${this.#path} is kept with a journal, which update() and transaction() write to: write() has nothing to add`,
      { path: this.#path },
    )
  }

  view(outer?: WorkingCopy): TreeMemory {
    return outer ? this.#readOnly(() => outer.tree) : this.memory
  }

  /** @returns the changes, as JSON */
  async edit(edit: (copy: WorkingCopy) => unknown): Promise<string | undefined> {
    const { tree } = this
    const changes = await this.#record(edit, tree)
    // Where there is no file, it comes into being by an update that changes nothing, too.
    if (changes.length === 0 && !this.#isMissing()) return undefined
    const json = JSON.stringify(changes)
    this.#undo.push(() => this.#live.set(tree))
    this.#live.set(apply(tree, changes, this.#path, (undo) => this.#undo.push(undo)))
    return json
  }

  /** An edit inside another is a draft of its draft: a throw undoes its own part only. */
  async editInside(outer: WorkingCopy, edit: (copy: WorkingCopy) => unknown): Promise<void> {
    const before = this.version(outer)
    const changes = await this.#record(edit, outer.tree)
    if (changes.length === 0) return
    if (this.version(outer) !== before) {
      throw new TransactionError(
        `an update inside a transaction of ${this.#path} was not awaited, and the data was changed meanwhile: await it`,
        { path: this.#path },
      )
    }
    outer.tree = apply(outer.tree, changes, this.#path)
  }

  version(copy: WorkingCopy): unknown {
    return this.#recorders.get(copy)?.version ?? 0
  }

  /** What an edit changes of a tree, which stays as it is. */
  async #record(edit: (copy: WorkingCopy) => unknown, tree: Tree): Promise<Change[]> {
    const recorder = new Recorder(this.#path)
    const copy = new WorkingCopy(this, recorder.draft(tree))
    this.#recorders.set(copy, recorder)
    try {
      await copy.run(() => edit(copy))
      return changesOf(recorder, tree, copy.tree)
    } finally {
      recorder.close()
    }
  }
}
