import { StaleWriteError } from '../../errors.ts'
import type { TreeFormat, TreeMemory } from '../adapter.ts'
import { Scope } from '../scope.ts'
import { treeText } from '../text/text.ts'
import { merge } from './merge.ts'
import type { Delta, Head } from './storage.ts'
import {
  cloneTree,
  copyToEdit,
  frozenMemory,
  isOtherTree,
  isSameTree,
  patch,
  shareStrings,
  type Tree,
  withoutMoved,
} from './values.ts'

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
    this.tree = patch(this.tree, withoutMoved(tree, this.tree))
  }
}

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

/** Edits of memory on top of the head: memory's own tree, in these words, or one that was put together. */
interface Rebased extends Pick<State, 'tree' | 'text' | 'own'> {
  /** Whether the words are those of memory now. */
  readonly isMemory: boolean
}

/** A tree whose text is known, and that nobody else can change. */
interface Known {
  readonly tree: Tree
  readonly text: string
}

/** Memory as it was when somebody called: the edits in it are that one's to write, or to drop. */
export interface Snapshot {
  /** In the words that memory had then, rebased whenever memory is; undefined: memory as it is at the time of asking. */
  text: string | undefined
  /** Set when these edits can no longer be brought together with the file, and memory has gone on without them. */
  refused: StaleWriteError | undefined
  /** The present pass has folded them in. */
  isRebased: boolean
  /** Later ones have higher numbers, and the edits of earlier ones in them. */
  readonly position: number
}

/**
 * A tree in memory that its users edit directly. Two things can differ from the *base* that both started from: the tree
 * in memory, by edits that are not written yet, and the *head*, which the file holds, or will hold when the present batch
 * is written, by other processes. Rebasing puts the edits on top of the head, or refuses.
 *
 * Who owns an edit of memory, at each moment:
 *
 * 1. *Made, and not given to a write*: the user. It is in memory only. A `read()` that is called now drops it, when it
 *    has read; so does nothing else. A `read()` that was called before it was made keeps it.
 * 2. *Given to a write that waits*: each `write()` owns the edits that exist when it is called, in a snapshot, whatever
 *    becomes of memory meanwhile. An `update()` or a transaction owns them too. They are in the file when it resolves,
 *    or it rejects. A `read()` that is carried out before it does not drop them; where the file has changed so that
 *    they conflict with it, memory goes on without them and the write rejects with StaleWriteError.
 * 3. *Part of the head*: nobody. It is part of the base, and memory has it for as long as the file does.
 *
 * A write that rejects gives its edits back: they are unsaved edits in memory again (1), but for those that a read has
 * dropped meanwhile (2).
 */
export class LiveTree implements Head {
  readonly memory: TreeMemory
  readonly #defaults: Tree
  readonly #path: string
  readonly #format: TreeFormat
  /** The text of memory when it was last made equal to a state: memory that reads differently has unsaved edits. */
  #base: string
  /** The number of the state that `#base` is of. */
  #baseNumber = 0
  /** What the file holds, or will hold when the present batch is written. */
  #head: State
  /** What the file holds. */
  #saved: State
  /** What memory was when it was last written: an unchanged memory need not be made a text to know it. */
  #known: Known | undefined
  /** What it will be when the present batch is written. */
  #next: Known | undefined
  /** The position of the snapshot whose edits the base has. */
  #basePosition = 0
  #positions = 0
  /** What writes and updates that have not settled own, in the order they were called. */
  readonly #taken = new Set<Snapshot>()
  /** What reads that have not settled may drop. */
  readonly #seen = new Set<Snapshot>()
  /** How to take back what edits of this batch did to leaves. */
  readonly #undoLeaves: (() => void)[] = []
  /** The read in this batch that no write came after: it drops these edits. */
  #dropped: Snapshot | undefined

  constructor(path: string, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.memory = memory
    this.#format = format
    this.#defaults = cloneTree(memory.get())
    // Memory is patched in place from now on: not the caller's own object, which other stores may share.
    memory.set(cloneTree(this.#defaults))
    this.#base = this.#textOf(memory.get())
    this.#saved = { tree: undefined, own: true, text: this.#base, exact: true, number: 0 }
    this.#head = this.#saved
  }

  get text(): string {
    return this.#head.text
  }

  get tree(): Tree {
    return this.#head.tree ?? this.#format.parse(this.#head.text)
  }

  /**
   * The edits in memory belong to a write from now on, until `release`.
   * @param isWrite a bare write, which owns just the edits of this moment. An update works on what is in memory when it
   * runs, unless others that read and write stand between.
   * @throws TypeError where memory cannot be written
   */
  take(isWrite: boolean): Snapshot {
    const isExact = isWrite || this.#seen.size > 0 || this.#firstExact !== undefined
    const taken = this.#snapshot(isExact ? this.#textOfMemory() : undefined)
    this.#taken.add(taken)
    return taken
  }

  /** A read that is called now may drop the edits in memory, until `release`. */
  see(): Snapshot {
    const seen = this.#snapshot(this.#textIfAny())
    this.#seen.add(seen)
    return seen
  }

  #snapshot(text: string | undefined): Snapshot {
    return { text, refused: undefined, isRebased: false, position: ++this.#positions }
  }

  /** The first that waits with edits of one moment: what was made after that is not for those before it. */
  get #firstExact(): Snapshot | undefined {
    for (const taken of this.#taken)
      if (taken.text !== undefined && !taken.isRebased && !taken.refused) return taken
    return undefined
  }

  release(snapshot: Snapshot): void {
    this.#taken.delete(snapshot)
    this.#seen.delete(snapshot)
  }

  /** In a batch: the edits that this read has seen are dropped when it settles, unless something folds them in after it. */
  drop(seen: Snapshot): void {
    this.#dropped = seen
  }

  /** Coming back makes edits of memory unsaved again. */
  mark(): () => void {
    const [base, number, dropped] = [this.#base, this.#baseNumber, this.#dropped]
    const position = this.#basePosition
    const { length } = this.#undoLeaves
    return () => {
      this.#takeBackLeaves(length)
      this.#base = base
      this.#basePosition = position
      this.#baseNumber = number
      this.#dropped = dropped
    }
  }

  accept(delta: Delta): void {
    this.#dropped = undefined
    this.#undoLeaves.length = 0
    if (delta.kind !== 'tree') return
    const tree = delta.tree === undefined ? cloneTree(this.#defaults) : delta.tree
    const text = delta.text ?? this.#textOf(tree)
    if (delta.text !== undefined && this.#known) shareStrings(tree, this.#known.tree)
    if (text !== this.#saved.text)
      this.#saved = { tree, own: false, text, exact: false, number: this.#saved.number + 1 }
    this.#head = this.#saved
  }

  /**
   * The head with edits of memory on top; memory's own tree where that is the same.
   * @param taken whose edits; all where it is left out
   * @throws StaleWriteError where both sides changed the same
   */
  rebase(taken?: Snapshot): Tree {
    const memory = this.memory.get()
    const { tree, text, isMemory } = this.#rebased(taken, memory)
    if (tree !== undefined) return tree
    return isMemory || this.#textIfAny(memory) === text ? memory : this.#format.parse(text)
  }

  #rebased(taken: Snapshot | undefined, memory?: Tree): Rebased {
    if (taken?.refused) throw taken.refused
    const exact = taken && taken.text === undefined ? this.#firstExact : taken
    const position = exact?.position ?? ++this.#positions
    // What was rebased before, out of turn, has these edits.
    const text = position <= this.#basePosition ? this.#base : (exact?.text ?? this.#textOfMemory(memory))
    const isEdited = text !== this.#base
    let rebased: Rebased = { tree: undefined, text, own: true, isMemory: exact === undefined }
    if (this.#baseNumber !== this.#head.number && !(this.#head.own && this.#head.text === this.#base)) {
      if (isEdited) {
        const theirs = this.#head.text
        const merged = this.#merged(this.#base, text, theirs)
        if ('conflicts' in merged) throw this.#stale(merged.conflicts, this.#base, text, theirs)
        rebased = { tree: merged.tree, text: '', own: false, isMemory: false }
      } else rebased = { tree: this.tree, text: '', own: false, isMemory: false }
    }
    this.#base = text
    this.#basePosition = Math.max(position, this.#basePosition)
    this.#dropped = undefined
    if (taken) taken.isRebased = true
    return rebased
  }

  /** The head with edits of memory on top, which stay unsaved; frozen. */
  view(outer?: WorkingCopy): TreeMemory {
    const back = this.mark()
    try {
      return frozenMemory(this.#path, outer ? outer.tree : this.rebase())
    } finally {
      back()
    }
  }

  /** Edits a copy of what the file shall hold. */
  async edit(edit: (copy: WorkingCopy) => unknown, taken: Snapshot): Promise<boolean> {
    const copy = this.workingCopy(copyToEdit(this.rebase(taken)))
    await copy.run(() => edit(copy))
    return this.stage(copy.tree, false)
  }

  async editInside(outer: WorkingCopy, edit: (copy: WorkingCopy) => unknown): Promise<void> {
    const { copy, join, undo } = this.inside(outer)
    await copy.run(() => edit(copy)).then(join, undo)
  }

  /** A copy that an edit inside another works on, and how it is brought into that one's, or given up. */
  inside(outer: WorkingCopy): { copy: WorkingCopy; join: () => void; undo: (error: unknown) => never } {
    const { length } = this.#undoLeaves
    const copied = cloneTree(outer.tree)
    const copy = this.workingCopy(copyToEdit(outer.tree))
    return {
      copy,
      join: () => this.#join(outer.tree, copied, copy.tree),
      undo: (error) => {
        this.#takeBackLeaves(length)
        throw error
      },
    }
  }

  workingCopy({ copy, undo }: ReturnType<typeof copyToEdit>): WorkingCopy {
    if (undo) this.#undoLeaves.push(undo)
    return new WorkingCopy(this, copy)
  }

  #takeBackLeaves(length: number): void {
    while (this.#undoLeaves.length > length) this.#undoLeaves.pop()?.()
  }

  /** These edits are what the file shall hold besides. */
  stageEdits(taken: Snapshot): boolean {
    const { tree, text, own } = this.#rebased(taken)
    return own ? this.#stage(undefined, text) : this.stage(tree)
  }

  /** Puts edits of memory on top of a copy that is being edited. */
  stageInto({ tree }: WorkingCopy, taken?: Snapshot): void {
    const head = this.#head
    this.#head = { tree, own: false, text: this.#textOf(tree), exact: true, number: head.number + 1 }
    try {
      patch(tree, this.rebase(taken))
    } finally {
      this.#head = head
    }
  }

  version({ tree }: WorkingCopy): unknown {
    return this.#textOf(tree)
  }

  /**
   * Brings what an inner edit made of a copy into the outer copy, which may have changed since.
   * @throws StaleWriteError where both changed the same
   */
  #join(draft: Tree, copied: Tree, edited: Tree): void {
    const isSame = isSameTree(draft, copied)
    const [base, theirs] = isSame ? ['', ''] : [this.#textOf(copied), this.#textOf(draft)]
    if (base === theirs) return void patch(draft, edited)
    const mine = this.#textOf(edited)
    const merged = this.#merged(base, mine, theirs)
    if ('conflicts' in merged) throw this.#stale(merged.conflicts, base, mine, theirs)
    patch(draft, merged.tree)
  }

  /** This tree is what the file shall hold. @returns whether it differs from what that holds */
  stage(tree: Tree, isMemory: boolean = tree === this.memory.get()): boolean {
    const text = this.#textOf(tree)
    if (!isMemory) this.#next = { tree: cloneTree(tree), text }
    return this.#stage(isMemory ? undefined : tree, text)
  }

  /** @param tree left out where it is memory's own */
  #stage(tree: Tree | undefined, text: string): boolean {
    const { exact } = this.#head
    const isWritten = text === this.#head.text || (!exact && this.#isHead(tree, text))
    // Where an edit takes back what memory had not written yet the file is right, but memory must follow.
    if (isWritten && text === this.#base) return false
    this.#head = {
      tree,
      own: tree === undefined,
      text: isWritten ? this.#head.text : text,
      exact: exact || !isWritten,
      number: this.#head.number + 1,
    }
    return !isWritten
  }

  /** Whether the head is this tree in other words. */
  #isHead(tree: Tree | undefined, text: string): boolean {
    const head = this.tree
    return !isOtherTree(tree ?? this.memory.get(), head) && text === this.#textOf(head)
  }

  /** What was staged will not be written. */
  discard(): void {
    this.#head = this.#saved
    for (const taken of this.#taken) taken.isRebased = false
  }

  /**
   * What was staged is in the file. Memory follows in this one step; edits made while it was written stay unsaved edits.
   * @param missing there is no file
   */
  publish(missing: boolean): void {
    const head = this.#head
    // Whoever kept the copy that was edited may change it from now on.
    this.#saved = { ...head, tree: undefined }
    this.#head = this.#saved
    // A read of a file that never was keeps the default data, and the edits made to it.
    const seen = missing && head.number === 0 ? undefined : this.#dropped
    const drops = seen !== undefined && seen.position > this.#basePosition && seen.text !== this.#base
    if (this.#baseNumber === head.number && !drops) return
    const base = head.exact ? head.text : this.#textOf(this.tree)
    if (!head.own || drops) {
      const tree = head.tree ?? this.tree
      // Where they conflict memory keeps the edits, and the next operation says so.
      if (!this.#follow(base, tree, drops ? seen : undefined)) return
    }
    this.#base = base
    this.#baseNumber = head.number
    this.#known = this.#next ?? this.#known
    this.#next = undefined
  }

  /** Memory becomes the head, with edits made meanwhile on top. @returns false where these stand against it */
  #follow(base: string, head: Tree, seen: Snapshot | undefined): boolean {
    if (!seen || this.#isWaitedFor) {
      if (this.#carryOver(this.#base, base, head)) return true
      if (!seen) return false
      this.#refuseWaiting(base)
    }
    // Edits that were made after the read was called stay.
    return this.#carryOver(seen.text, base, head)
  }

  /** Whether a write waits that owns edits which a read has seen. */
  get #isWaitedFor(): boolean {
    return [...this.#taken].some(({ isRebased, refused }) => !isRebased && !refused)
  }

  #refuseWaiting(theirs: string): void {
    for (const taken of this.#taken) {
      if (taken.isRebased || taken.refused) continue
      const mine = taken.text ?? this.#textOfMemory()
      const merged = this.#merged(this.#base, mine, theirs)
      if ('conflicts' in merged) taken.refused = this.#stale(merged.conflicts, this.#base, mine, theirs)
    }
  }

  /**
   * Carries memory's edits since `from`, and the snapshots of it, over to the head.
   * @param from undefined: memory's edits are dropped, whatever they are
   */
  #carryOver(from: string | undefined, base: string, head: Tree): boolean {
    const memory = this.memory.get()
    const containers: unknown[] = []
    const knownText = this.#knownText(memory, containers)
    const mine = knownText ?? this.#textIfAny(memory)
    const known = new Map<string, string>()
    let tree = head
    if (from !== undefined && mine === undefined) return false
    if (from !== undefined && mine !== undefined && mine !== from) {
      const merged = this.#merged(from, mine, base)
      if ('conflicts' in merged) return false
      tree = merged.tree
      known.set(mine, this.#textOf(tree))
    }
    for (const snapshot of this.#seen) this.#carrySnapshotOver(snapshot, from, base, known)
    // What is owned is not dropped.
    if (from !== this.#base) known.clear()
    for (const snapshot of this.#taken) this.#carrySnapshotOver(snapshot, this.#base, base, known)
    const patched = patch(memory, tree, knownText === undefined ? undefined : containers)
    if (patched !== memory) this.memory.set(patched)
    return true
  }

  /** @param known what became of texts that were carried over already: many wait with the same one */
  #carrySnapshotOver(
    snapshot: Snapshot,
    from: string | undefined,
    base: string,
    known: Map<string, string>,
  ): void {
    const { text } = snapshot
    if (text === undefined || snapshot.isRebased || snapshot.refused) return
    if (from === undefined || text === from || snapshot.position <= this.#basePosition) snapshot.text = base
    else if (known.has(text)) snapshot.text = known.get(text)
    else {
      const merged = this.#merged(from, text, base)
      if ('conflicts' in merged) snapshot.refused = this.#stale(merged.conflicts, from, text, base)
      else {
        snapshot.text = this.#textOf(merged.tree)
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
  #textIfAny(memory?: Tree): string | undefined {
    try {
      return this.#textOfMemory(memory)
    } catch {
      return undefined
    }
  }

  #textOfMemory(tree: Tree = this.memory.get()): string {
    return this.#knownText(tree) ?? this.#textOf(tree)
  }

  /** @param containers takes those of the tree, where it is known, see `patch` */
  #knownText(tree: Tree, containers?: unknown[]): string | undefined {
    return this.#known && isSameTree(tree, this.#known.tree, containers) ? this.#known.text : undefined
  }

  #textOf(tree: Tree): string {
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
