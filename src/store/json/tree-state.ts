import { StaleWriteError } from '../../errors.ts'
import type { TreeFormat, TreeMemory } from '../adapter.ts'
import { cloneTree, type Tree } from './json-tree.ts'
import { merge } from './merge.ts'
import { patch } from './patch.ts'
import { treeText } from './text.ts'

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

/** What is to be in the file: memory's own tree, in these words, or one that was put together. */
interface Folded extends Pick<State, 'tree' | 'text' | 'own'> {
  /** Whether the words are those of memory now. */
  readonly isMemory: boolean
}

/** Memory as it was when somebody called: the edits in it are that one's to write, or to drop. */
export interface Snapshot {
  /** In the words that memory had then, rebased whenever memory is; undefined: memory as it is at the time of asking. */
  text: string | undefined
  /** Set when these edits can no longer be brought together with the file, and memory has gone on without them. */
  refused: StaleWriteError | undefined
  /** The present pass has folded them in. */
  isFolded: boolean
  /** Later ones have higher numbers, and the edits of earlier ones in them. */
  readonly position: number
}

/**
 * What memory, the file and their common past are. Two things can differ from the *base* that both started from: the
 * tree in memory, by edits that are not written yet, and the file, by other processes. Folding brings the two together,
 * or refuses.
 *
 * Who owns an edit of memory, at each moment:
 *
 * 1. *Made, and not given to a write*: the user. It is in memory only. A `read()` that is called now drops it, when it
 *    has read; so does nothing else. A `read()` that was called before it was made keeps it.
 * 2. *Given to a write that waits*: each `write()` owns the edits that exist when it is called, in a snapshot, whatever
 *    becomes of memory meanwhile. An `update()` or a transaction owns them too. They are in the file when it resolves,
 *    or it rejects. A `read()` that is carried out before it does not drop them; where the file has changed so that
 *    they cannot be folded in any more, memory goes on without them and the write rejects with StaleWriteError.
 * 3. *Folded into the file*: nobody. It is part of the base, and memory has it for as long as the file does.
 *
 * A write that rejects gives its edits back: they are unsaved edits in memory again (1), but for those that a read has
 * dropped meanwhile (2).
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
  /** The position of the snapshot whose edits the base has. */
  #basePosition = 0
  #positions = 0
  /** What writes and updates that have not settled own, in the order they were called. */
  readonly #taken = new Set<Snapshot>()
  /** What reads that have not settled may drop. */
  readonly #seen = new Set<Snapshot>()
  /** The read in this pass that nothing was folded after: it drops these edits. */
  #dropped: Snapshot | undefined

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

  /** What the file holds. */
  get savedText(): string {
    return this.#saved.text
  }

  /** The tree to be written, as text and as a tree. */
  get truthText(): string {
    return this.#truth.text
  }

  get truthTree(): Tree {
    return this.#truth.tree ?? this.#format.parse(this.#truth.text)
  }

  /**
   * The edits in memory belong to a write from now on, until `released`.
   * @param isWrite a bare write, which owns just the edits of this moment. An update works on what is in memory when it
   * runs, unless others that read and write stand between.
   * @throws TypeError where memory cannot be written
   */
  take(isWrite: boolean): Snapshot {
    const isExact = isWrite || this.#seen.size > 0 || this.#firstExact !== undefined
    const taken = this.#snapshot(isExact ? this.text(this.#memory.get()) : undefined)
    this.#taken.add(taken)
    return taken
  }

  /** A read that is called now may drop the edits in memory, until `released`. */
  see(): Snapshot {
    const seen = this.#snapshot(this.#memoryText())
    this.#seen.add(seen)
    return seen
  }

  #snapshot(text: string | undefined): Snapshot {
    return { text, refused: undefined, isFolded: false, position: ++this.#positions }
  }

  /** The first that waits with edits of one moment: what was made after that is not for those before it. */
  get #firstExact(): Snapshot | undefined {
    for (const taken of this.#taken)
      if (taken.text !== undefined && !taken.isFolded && !taken.refused) return taken
    return undefined
  }

  released(snapshot: Snapshot): void {
    this.#taken.delete(snapshot)
    this.#seen.delete(snapshot)
  }

  /** In a pass: the edits that this read has seen are dropped when it settles, unless something folds them in after it. */
  drop(seen: Snapshot): void {
    this.#dropped = seen
  }

  /** A new pass begins. @returns a point to come back to */
  begin(): () => void {
    this.#dropped = undefined
    return this.mark()
  }

  /** A point to come back to when what follows fails: memory's edits are unsaved again. */
  mark(): () => void {
    const [base, number, dropped] = [this.#base, this.#baseNumber, this.#dropped]
    const position = this.#basePosition
    return () => {
      this.#base = base
      this.#basePosition = position
      this.#baseNumber = number
      this.#dropped = dropped
    }
  }

  /** The file holds this now, in these words. */
  arrived(tree: Tree, text: string): void {
    if (text !== this.#saved.text)
      this.#saved = { tree, own: false, text, exact: false, number: this.#saved.number + 1 }
    this.#truth = this.#saved
  }

  /**
   * The present state with edits of memory folded in; memory's own tree where that is the same.
   * @param taken whose edits; all where it is left out
   * @throws StaleWriteError where both sides changed the same
   */
  fold(taken?: Snapshot): Tree {
    const folded = this.#fold(taken)
    if (folded.tree !== undefined) return folded.tree
    return folded.isMemory || this.#memoryText() === folded.text
      ? this.#memory.get()
      : this.#format.parse(folded.text)
  }

  #fold(taken: Snapshot | undefined): Folded {
    if (taken?.refused) throw taken.refused
    const exact = taken && taken.text === undefined ? this.#firstExact : taken
    const position = exact?.position ?? ++this.#positions
    // What was folded in before, out of turn, has these edits.
    const text = position <= this.#basePosition ? this.#base : (exact?.text ?? this.text(this.#memory.get()))
    const isEdited = text !== this.#base
    let folded: Folded = { tree: undefined, text, own: true, isMemory: exact === undefined }
    if (this.#baseNumber !== this.#truth.number && !(this.#truth.own && this.#truth.text === this.#base)) {
      if (isEdited) {
        const theirs = this.#truth.text
        const merged = this.#merged(this.#base, text, theirs)
        if ('conflicts' in merged) throw this.#stale(merged.conflicts, this.#base, text, theirs)
        folded = { tree: merged.tree, text: '', own: false, isMemory: false }
      } else folded = { tree: this.truthTree, text: '', own: false, isMemory: false }
    }
    this.#base = text
    this.#basePosition = Math.max(position, this.#basePosition)
    this.#dropped = undefined
    if (taken) taken.isFolded = true
    return folded
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

  /** These edits are what the file shall hold besides. @returns whether it differs from what it holds */
  stageEdits(taken: Snapshot): boolean {
    const { tree, text, own } = this.#fold(taken)
    return own ? this.#stage(undefined, text) : this.stage(tree)
  }

  /** Folds edits of memory into a copy that is being edited. */
  foldInto(draft: Tree, taken?: Snapshot): void {
    const truth = this.#truth
    this.#truth = { tree: draft, own: false, text: this.text(draft), exact: true, number: truth.number + 1 }
    try {
      patch(draft, cloneTree(this.fold(taken)))
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
    const mine = this.text(edited)
    const merged = this.#merged(base, mine, theirs)
    if ('conflicts' in merged) throw this.#stale(merged.conflicts, base, mine, theirs)
    patch(draft, merged.tree)
  }

  /** This tree, which `fold` began, is what the file shall hold. @returns whether it differs from what it holds */
  stage(tree: Tree): boolean {
    return this.#stage(tree === this.#memory.get() ? undefined : tree, this.text(tree))
  }

  /** @param tree left out where it is memory's own */
  #stage(tree: Tree | undefined, text: string): boolean {
    const { exact } = this.#truth
    const isWritten = text === this.#truth.text || (!exact && text === this.text(this.truthTree))
    // Where an edit takes back what memory had not written yet the file is right, but memory must follow.
    if (isWritten && text === this.#base) return false
    this.#truth = {
      tree,
      own: tree === undefined,
      text: isWritten ? this.#truth.text : text,
      exact: exact || !isWritten,
      number: this.#truth.number + 1,
    }
    return !isWritten
  }

  /** What was staged will not be written. */
  unstage(): void {
    this.#truth = this.#saved
    for (const taken of this.#taken) taken.isFolded = false
  }

  /**
   * What was staged is in the file. Memory follows in this one step; edits made while it was written stay unsaved edits.
   * @param missing there is no file
   */
  settle(missing: boolean): void {
    const truth = this.#truth
    // Its containers are memory's from now on, or those of whoever kept the copy that was edited.
    this.#saved = { ...truth, tree: undefined }
    this.#truth = this.#saved
    // A read of a file that never was keeps the default data, and the edits made to it.
    const seen = missing && truth.number === 0 ? undefined : this.#dropped
    const drops = seen !== undefined && seen.position > this.#basePosition && seen.text !== this.#base
    if (this.#baseNumber === truth.number && !drops) return
    const base = truth.exact ? truth.text : this.text(this.truthTree)
    if (!truth.own || drops) {
      const tree = truth.tree ?? this.truthTree
      // Where it cannot be folded memory keeps the edits, and the next operation says so.
      if (!this.#follow(base, tree, drops ? seen : undefined)) return
    }
    this.#base = base
    this.#baseNumber = truth.number
  }

  /** Memory becomes the truth, with edits made meanwhile on top. @returns false where these stand against it */
  #follow(base: string, truth: Tree, seen: Snapshot | undefined): boolean {
    if (!seen || this.#isWaitedFor) {
      if (this.#rebase(this.#base, base, truth)) return true
      if (!seen) return false
      this.#refuseWaiting(base)
    }
    // Edits that were made after the read was called stay.
    return this.#rebase(seen.text, base, truth)
  }

  /** Whether a write waits that owns edits which a read has seen. */
  get #isWaitedFor(): boolean {
    return [...this.#taken].some(({ isFolded, refused }) => !isFolded && !refused)
  }

  #refuseWaiting(theirs: string): void {
    for (const taken of this.#taken) {
      if (taken.isFolded || taken.refused) continue
      const mine = taken.text ?? this.text(this.#memory.get())
      const merged = this.#merged(this.#base, mine, theirs)
      if ('conflicts' in merged) taken.refused = this.#stale(merged.conflicts, this.#base, mine, theirs)
    }
  }

  /**
   * Carries memory's edits since `from`, and the snapshots of it, over to the truth.
   * @param from undefined: memory's edits are dropped, whatever they are
   */
  #rebase(from: string | undefined, base: string, truth: Tree): boolean {
    const mine = this.#memoryText()
    const known = new Map<string, string>()
    let tree = truth
    if (from !== undefined && mine === undefined) return false
    if (from !== undefined && mine !== undefined && mine !== from) {
      const merged = this.#merged(from, mine, base)
      if ('conflicts' in merged) return false
      tree = merged.tree
      known.set(mine, this.text(tree))
    }
    for (const snapshot of this.#seen) this.#rebaseSnapshot(snapshot, from, base, known)
    // What is owned is not dropped.
    if (from !== this.#base) known.clear()
    for (const snapshot of this.#taken) this.#rebaseSnapshot(snapshot, this.#base, base, known)
    this.#memory.set(patch(this.#memory.get(), tree))
    return true
  }

  /** @param known what became of texts that were carried over already: many wait with the same one */
  #rebaseSnapshot(
    snapshot: Snapshot,
    from: string | undefined,
    base: string,
    known: Map<string, string>,
  ): void {
    const { text } = snapshot
    if (text === undefined || snapshot.isFolded || snapshot.refused) return
    if (from === undefined || text === from || snapshot.position <= this.#basePosition) snapshot.text = base
    else if (known.has(text)) snapshot.text = known.get(text)
    else {
      const merged = this.#merged(from, text, base)
      if ('conflicts' in merged) snapshot.refused = this.#stale(merged.conflicts, from, text, base)
      else {
        snapshot.text = this.text(merged.tree)
        known.set(text, snapshot.text)
      }
    }
  }

  #merged(base: string, mine: string, theirs: string): { tree: Tree } | { conflicts: readonly string[] } {
    const { parse } = this.#format
    const merged = merge(parse(base), parse(mine), parse(theirs))
    return 'merged' in merged ? { tree: merged.merged } : { conflicts: merged.conflicts }
  }

  /** Undefined where what the user has put into it cannot be written. */
  #memoryText(): string | undefined {
    try {
      return this.text(this.#memory.get())
    } catch {
      return undefined
    }
  }

  text(tree: Tree): string {
    return treeText(tree, this.#path, this.#format)
  }

  #stale(paths: readonly string[], base: string, mine: string, theirs: string): StaleWriteError {
    const { parse } = this.#format
    return new StaleWriteError(
      `${this.#path} and the unsaved edits in memory were both changed at ${paths.join(', ')}. Nothing was written and ` +
        'nothing is lost: call read() to take what is in the file, and use update() for edits that depend on it.',
      { path: this.#path, paths, base: parse(base), mine: parse(mine), theirs: parse(theirs) },
    )
  }
}
