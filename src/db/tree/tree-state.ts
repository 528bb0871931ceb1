import { StaleWriteError } from '../../errors.ts'
import type { TreeFormat, TreeMemory } from '../adapter.ts'
import { cloneTree, type Tree } from './json-tree.ts'
import { merge } from './merge.ts'
import { patch } from './patch.ts'

/** A state of the store. Later ones have higher numbers. */
interface State {
  /** Left out where others may change it by now: the text is parsed again. */
  readonly tree: Tree | undefined
  /** Whether it was memory's own, live tree that was written. */
  readonly own: boolean
  readonly text: string
  /** Whether the text is as we would write the tree. */
  readonly exact: boolean
  readonly number: number
}

/**
 * What memory, the file and their common past are. Two things can differ from the *base* that both started from: the
 * tree in memory, by edits that are not written yet, and the file, by other processes. Folding brings the two together,
 * or refuses.
 */
export class TreeState {
  readonly defaults: Tree
  readonly #path: string
  readonly #memory: TreeMemory
  readonly #format: TreeFormat
  /** The text of memory when it was last made equal to a state: memory that reads differently has unsaved edits. */
  #base: string
  /** The number of the state that `#base` is of. */
  #baseNumber = 0
  /** What the file holds, or will hold when the present pass is written. */
  #truth: State
  /** What the file holds. */
  #saved: State

  constructor(path: string, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.#memory = memory
    this.#format = format
    this.defaults = cloneTree(memory.get())
    // Memory is patched in place from now on: not the caller's own object, which other stores may share.
    memory.set(cloneTree(this.defaults))
    this.#base = this.text(memory.get())
    this.#saved = { tree: undefined, own: true, text: this.#base, exact: true, number: 0 }
    this.#truth = this.#saved
  }

  /** The tree to be written, as text and as a tree. */
  get truthText(): string {
    return this.#truth.text
  }

  get truthTree(): Tree {
    return this.#truth.tree ?? this.#format.parse(this.#truth.text)
  }

  /** A point to come back to when what follows fails: memory's edits are unsaved again. */
  mark(): () => void {
    const [base, number] = [this.#base, this.#baseNumber]
    return () => {
      this.#base = base
      this.#baseNumber = number
    }
  }

  /** The file holds this now, in these words. */
  arrived(tree: Tree, text: string): void {
    if (text !== this.#saved.text)
      this.#saved = { tree, own: false, text, exact: false, number: this.#saved.number + 1 }
    this.#truth = this.#saved
  }

  /**
   * The present state with memory's unsaved edits folded in; memory's own tree where nothing else has changed.
   * @throws StaleWriteError where both sides changed the same
   */
  fold(): Tree {
    const mine = this.#memory.get()
    const text = this.text(mine)
    const edited = text !== this.#base
    if (this.#baseNumber === this.#truth.number) {
      this.#base = text
      return mine
    }
    if (!edited) return this.#truth.own ? mine : this.truthTree
    const base: Tree = this.#format.parse(this.#base)
    const theirs: Tree = this.#format.parse(this.#truth.text)
    const merged = merge(base, this.#format.parse(text), theirs)
    if (!('merged' in merged)) throw this.#stale(merged.conflicts, base, this.#format.parse(text), theirs)
    this.#base = text
    return merged.merged
  }

  /** As `fold`, to look at only: memory's unsaved edits stay unsaved. */
  folded(): Tree {
    const back = this.mark()
    try {
      return this.fold()
    } finally {
      back()
    }
  }

  /** Folds memory's unsaved edits into a copy that is being edited. */
  foldInto(draft: Tree): void {
    const truth = this.#truth
    this.#truth = { tree: draft, own: false, text: this.text(draft), exact: true, number: truth.number + 1 }
    try {
      patch(draft, cloneTree(this.fold()))
    } finally {
      this.#truth = truth
    }
  }

  /**
   * Brings what an inner edit made of a copy into the draft, which may have changed since it was copied.
   * @throws StaleWriteError where both changed the same
   */
  join(draft: Tree, copied: Tree, edited: Tree): void {
    const [base, theirs] = [this.text(copied), this.text(draft)]
    if (base === theirs) {
      patch(draft, edited)
      return
    }
    const { parse } = this.#format
    const mine = this.text(edited)
    const merged = merge(parse(base), parse(mine), parse(theirs))
    if (!('merged' in merged)) throw this.#stale(merged.conflicts, parse(base), parse(mine), parse(theirs))
    patch(draft, merged.merged)
  }

  /** This tree, which `fold` began, is what the file shall hold. @returns whether it differs from what it holds */
  stage(tree: Tree): boolean {
    const text = this.text(tree)
    const { exact } = this.#truth
    const isWritten = text === this.#truth.text || (!exact && text === this.text(this.truthTree))
    // Where an edit takes back what memory had not written yet the file is right, but memory must follow.
    if (isWritten && text === this.#base) return false
    const own = tree === this.#memory.get()
    this.#truth = {
      tree: own ? undefined : tree,
      own,
      text: isWritten ? this.#truth.text : text,
      exact: exact || !isWritten,
      number: this.#truth.number + 1,
    }
    return !isWritten
  }

  /** What was staged will not be written. */
  unstage(): void {
    this.#truth = this.#saved
  }

  /**
   * What was staged is in the file. Memory follows in this one step; edits made while it was written stay unsaved edits.
   * @param discardEdits an explicit read: memory becomes the file, unsaved edits are dropped
   * @param missing there is no file
   */
  settle(discardEdits: boolean, missing: boolean): void {
    const truth = this.#truth
    // Its containers are memory's from now on, or those of whoever kept the copy that was edited.
    this.#saved = { ...truth, tree: undefined }
    this.#truth = this.#saved
    // A read of a file that never was keeps the default data, and the edits made to it.
    const discard = discardEdits && !(missing && truth.number === 0)
    if (this.#baseNumber === truth.number && !discard) return
    if (!truth.own || discard) {
      const next = this.#next(discard, truth.tree ?? this.truthTree)
      // It cannot be folded: memory keeps the edits, and the next operation says so.
      if (next === undefined) return
      this.#memory.set(patch(this.#memory.get(), next.tree))
    }
    this.#base = truth.exact ? truth.text : this.text(this.truthTree)
    this.#baseNumber = truth.number
  }

  /** What memory shall be: the truth, with edits made meanwhile on top. */
  #next(discard: boolean, truth: Tree): { readonly tree: Tree } | undefined {
    if (discard) return { tree: truth }
    let text: string
    try {
      text = this.text(this.#memory.get())
    } catch {
      return undefined
    }
    if (text === this.#base) return { tree: truth }
    const { parse } = this.#format
    const merged = merge(parse(this.#base), parse(text), parse(this.#truth.text))
    return 'merged' in merged ? { tree: merged.merged } : undefined
  }

  text(tree: Tree): string {
    const text = this.#format.stringify(tree) as string | undefined
    if (typeof text === 'string') return text
    throw new TypeError(
      `the data of ${this.#path} cannot be written as ${this.#format.name}: got ${String(tree)}`,
    )
  }

  #stale(paths: readonly string[], base: Tree, mine: Tree, theirs: Tree): StaleWriteError {
    return new StaleWriteError(
      `${this.#path} and the unsaved edits in memory were both changed at ${paths.join(', ')}. Nothing was written and ` +
        'nothing is lost: call read() to take what is in the file, and use update() for edits that depend on it.',
      { path: this.#path, paths, base, mine, theirs },
    )
  }
}
