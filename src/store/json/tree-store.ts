import { requireFunction } from '../../arguments.ts'
import type { LockMode } from '../../errors.ts'
import { type Copyable, copyable } from '../../features/backup/copyable.ts'
import { textFormat, unreadText } from '../../features/backup/text-format.ts'
import type { Call } from '../../features/hooks/hook.ts'
import { type AcquireOptions, joins } from '../../lock/options.ts'
import type { TreeFormat, TreeMemory, TreeSession } from '../adapter.ts'
import type { Commit, Engine } from '../engine.ts'
import type { Issued } from '../operation.ts'
import type { OpenOptions } from '../options.ts'
import { Pipeline } from '../pipeline.ts'
import { Scope } from '../scope.ts'
import type { TransactionOptions } from '../transaction.ts'
import { BlockingTree } from './blocking-tree.ts'
import { type Draft, Drafts, inTurn, transactOn } from './drafts.ts'
import { journaled } from './journal/closed.ts'
import { cloneTree, type Tree } from './json-tree.ts'
import { TreePass } from './tree-pass.ts'
import type { Snapshot, TreeState } from './tree-state.ts'
import { frozenMemory } from './view.ts'

/**
 * A store whose memory is one JSON tree that its users edit directly (`db.data`), and whose file is that tree. Every
 * operation first folds memory and file together, works on a copy, and after the write, in one synchronous step,
 * patches the live tree in place.
 */
export class TreeStore implements TreeSession, Engine {
  readonly copyable: Copyable
  readonly #path: string
  readonly #live: TreeMemory
  readonly #pass: TreePass
  readonly #state: TreeState
  readonly queue: Pipeline
  readonly #drafts = new Drafts()
  /** Of the present pass. */
  #mode: LockMode = 'shared'
  readonly blocking: BlockingTree

  constructor(path: string, options: OpenOptions, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.#live = memory
    this.#pass = new TreePass(path, options, memory, format)
    this.#state = this.#pass.state
    this.queue = new Pipeline(options.lock, this)
    this.blocking = new BlockingTree(path, options.lock, this.#pass, this.queue)
    this.copyable = copyable(path, options, this.queue, {
      format: format.io ? unreadText(format.name) : journaled(textFormat(format.name, format.parse), format),
      refresh: () => this.#refresh({ isInternal: true }),
      tryOn: async () => {
        if (format.io) throw notChecked(path)
      },
    })
  }

  get memory(): TreeMemory {
    return this.#drafts.enclosing ?? this.blocking.draft ?? this.#live
  }

  get revision(): number {
    return this.#pass.revision
  }

  read(): Promise<void> {
    const call = { name: 'read', args: [] }
    const outer = this.#drafts.enclosing
    // What an edit works on is the present state already.
    if (outer) return this.#part('shared', call, outer, async () => {})
    return this.#refresh({ call })
  }

  #refresh(issued: Issued): Promise<void> {
    return this.#owning(this.#state.see(), async (seen) => {
      if (this.#pass.mustRewrite && this.#isOutside) await this.#rewrite()
      await this.queue.push('shared', () => this.#state.drop(seen), issued)
    })
  }

  /** Once an fsync has failed a read cannot be answered before the file is written anew. */
  #rewrite(): Promise<void> {
    return this.queue.push('exclusive', () => {}, { isInternal: true })
  }

  async write(): Promise<void> {
    const call = { name: 'write', args: [] }
    const outer = this.#outer
    await this.#owning(this.#state.take(true), (taken) =>
      outer
        ? this.#part('exclusive', call, outer, async () => this.#state.foldInto(outer.tree, taken))
        : this.queue.push('exclusive', () => this.#pass.stageEdits(taken), { call }),
    )
  }

  /** A snapshot of memory is somebody's until that one's operation has settled. */
  async #owning<T>(snapshot: Snapshot, run: (snapshot: Snapshot) => Promise<T>): Promise<T> {
    try {
      return await run(snapshot)
    } finally {
      this.#state.released(snapshot)
    }
  }

  update<T>(edit: (tree: Tree) => T): Promise<void> {
    requireFunction(edit, 'update(fn): fn')
    return this.#update((draft) => edit(draft.tree), { call: { name: 'update', args: [edit] } })
  }

  /** A journal is put into the file by whoever looks at it under the exclusive lock. */
  checkpoint(): Promise<void> {
    this.queue.requireOutside('checkpoint')
    const look = () => {
      if (this.#pass.tookJournal) this.#pass.revision++
    }
    return this.queue.push('exclusive', look, { call: { name: 'checkpoint', args: [] } })
  }

  transact<T>(run: (memory: TreeMemory) => T, options: TransactionOptions): Promise<Awaited<T>> {
    return transactOn(run, options, (edit, issued) => this.#update(edit, issued))
  }

  async look<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): Promise<Awaited<T>> {
    if (this.#pass.mustRewrite && this.#isOutside) await this.#rewrite()
    const outer = joins(options) ? this.#drafts.enclosing : undefined
    const read = () => run(frozenMemory(this.#path, outer ? outer.tree : this.#state.folded()))
    return this.queue.push('shared', read, { ...options, kind: 'view' })
  }

  async #update(edit: (draft: Draft) => unknown, issued: Issued): Promise<void> {
    const outer = joins(issued) ? this.#outer : undefined
    if (outer) {
      // Called from inside an edit of this very store it is part of that one, and its throw undoes its own part only.
      const call = issued.call ?? { name: 'transaction', args: [] }
      return this.#part('exclusive', call, outer, async () => {
        const copied = cloneTree(outer.tree)
        this.#state.join(outer.tree, copied, await this.#drafts.edit(edit, cloneTree(copied)))
      })
    }
    await this.#owning(this.#state.take(false), (taken) =>
      this.queue.push(
        'exclusive',
        async () => {
          this.#pass.stage(await this.#drafts.edit(edit, cloneTree(this.#state.fold(taken))))
        },
        issued,
      ),
    )
  }

  get #isOutside(): boolean {
    return !this.queue.isInside()
  }

  /** The edit that a change is part of; a change inside a view is refused by the queue. */
  get #outer(): Draft | undefined {
    return this.queue.isInside('shared') ? undefined : this.#drafts.enclosing
  }

  /** Something inside an open edit of this very store. */
  #part(mode: LockMode, call: Call, outer: Draft, run: () => Promise<void>): Promise<void> {
    const { observer } = this.queue
    const state = () => this.#state.text(outer.tree)
    return inTurn(outer, () => {
      if (!observer?.observes({ call })) return run()
      const whole = Scope.enclosing(this.queue)?.observed
      return observer.part(whole, mode, { call }, (observed) => observed.watch(run, state))
    })
  }

  requireOutside(what: string): void {
    this.blocking.requireOutside(what)
  }

  async close(): Promise<void> {
    await this.queue.idle()
    this.#pass.file.close()
  }

  // --- Engine ---

  refresh(mode: LockMode): Promise<void> {
    this.#mode = mode
    return this.#pass.look(mode)
  }

  async run(operation: () => unknown): Promise<unknown> {
    const back = this.#state.mark()
    const { revision } = this
    try {
      return await operation()
    } catch (error) {
      back()
      this.#pass.revision = revision
      throw error
    }
  }

  savepoint(operation: () => unknown): Promise<unknown> {
    return this.run(operation)
  }

  isFresh(): Promise<boolean> {
    return this.#pass.isFresh()
  }

  abandon(): void {
    this.#pass.undo()
    this.#pass.file.forget()
  }

  async commit(): Promise<Commit> {
    try {
      await this.#pass.save(this.#mode)
      return {
        committed: Number.POSITIVE_INFINITY,
        settle: this.#pass.isSettled ? undefined : () => this.settle(),
      }
    } catch (error) {
      this.#pass.undo()
      return { committed: 0, error: this.#pass.writeFailure(error) }
    }
  }

  settle(): Promise<void> {
    return this.#pass.settle()
  }

  end(): void {
    this.#pass.file.unlockData()
  }
}

function notChecked(path: string): TypeError {
  return new TypeError(
    `restore() of ${path}: the store's own adapter reads and writes this file, so nobody else can tell whether a dump is ` +
      'whole. Copy the dump over the file inside lock.exclusive(), then call read().',
  )
}
