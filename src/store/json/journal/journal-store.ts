import { requireFunction } from '../../../arguments.ts'
import { type LockMode, TransactionError } from '../../../errors.ts'
import { type Copyable, copyable } from '../../../features/backup/copyable.ts'
import { textFormat } from '../../../features/backup/text-format.ts'
import type { Call } from '../../../features/hooks/hook.ts'
import { type AcquireOptions, joins } from '../../../lock/options.ts'
import type { BlockingTreeSession, TreeFormat, TreeMemory, TreeSession } from '../../adapter.ts'
import type { Issued } from '../../operation.ts'
import type { OpenOptions } from '../../options.ts'
import { Pipeline } from '../../pipeline.ts'
import { Scope } from '../../scope.ts'
import type { TransactionOptions } from '../../transaction.ts'
import { type Draft, Drafts, inTurn, transactOn } from '../drafts.ts'
import type { Tree } from '../json-tree.ts'
import { apply } from './apply.ts'
import { type Change, changesOf } from './changes.ts'
import { journaled } from './closed.ts'
import { hasJournal } from './journal.ts'
import { JournalPass } from './journal-pass.ts'
import { ReadOnly } from './read-only.ts'
import { Recorder } from './recorder.ts'

/**
 * A store whose memory is one JSON tree, and whose changes are added to a journal beside its file. An edit works on a
 * draft that records what it changes; that is applied to the live tree, which keeps its containers, and written. So an
 * update costs what it touches, not what the file holds.
 */
export class JournalStore implements TreeSession {
  readonly copyable: Copyable
  readonly queue: Pipeline
  readonly #path: string
  readonly #pass: JournalPass
  readonly #shown: TreeMemory
  readonly #readOnly: ReadOnly
  readonly #drafts = new Drafts()
  readonly #recorders = new WeakMap<Draft, Recorder>()

  constructor(path: string, options: OpenOptions, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.#pass = new JournalPass(path, options, memory, format)
    this.#readOnly = new ReadOnly(path)
    this.#shown = this.#readOnly.memory(() => this.#pass.tree)
    this.queue = new Pipeline(options.lock, this.#pass)
    const step = { isInternal: true }
    this.copyable = copyable(path, options, this.queue, {
      format: journaled(textFormat(format.name, format.parse), format),
      read: () => this.queue.push('shared', () => this.#pass.content(), { ...step, kind: 'transaction' }),
    })
  }

  /** What the caller's code works on: the draft of its edit, else what is in memory, to look at. */
  get memory(): TreeMemory {
    return this.#drafts.enclosing ?? this.#shown
  }

  get blocking(): BlockingTreeSession {
    throw new TypeError(
      `${this.#path}: a store whose calls are synchronous keeps no journal: leave out \`journal\`, or use its asynchronous form`,
    )
  }

  async read(): Promise<void> {
    const call = { name: 'read', args: [] }
    const outer = this.#drafts.enclosing
    if (outer) return this.#part('shared', call, outer, async () => {})
    if (this.#pass.mustCheckpoint && this.#isOutside) await this.#checkpoint({ isInternal: true })
    return this.queue.push('shared', () => {}, { call })
  }

  /** Inside an edit it has nothing to do: what was changed there is written at the end. */
  async write(): Promise<void> {
    const call = { name: 'write', args: [] }
    const outer = this.#outer
    if (outer) return this.#part('exclusive', call, outer, async () => {})
    throw new TransactionError(
      `${this.#path} is kept with a journal, which update() and transaction() write to: write() has nothing to add`,
      { path: this.#path },
    )
  }

  update<T>(edit: (tree: Tree) => T): Promise<void> {
    requireFunction(edit, 'update(fn): fn')
    return this.#update((draft) => edit(draft.tree), { call: { name: 'update', args: [edit] } })
  }

  transact<T>(run: (memory: TreeMemory) => T, options: TransactionOptions): Promise<Awaited<T>> {
    return transactOn(run, options, (edit, issued) => this.#update(edit, issued))
  }

  async look<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): Promise<Awaited<T>> {
    if (this.#pass.mustCheckpoint && this.#isOutside) await this.#checkpoint({ isInternal: true })
    const outer = joins(options) ? this.#drafts.enclosing : undefined
    const memory = outer ? this.#readOnly.memory(() => outer.tree) : this.#shown
    return this.queue.push('shared', () => run(memory), { ...options, kind: 'view' })
  }

  /** Writes the file anew and removes the journal, whose changes are in it then. */
  async checkpoint(): Promise<void> {
    this.queue.requireOutside('checkpoint')
    return this.#checkpoint({ call: { name: 'checkpoint', args: [] } })
  }

  #checkpoint(issued: Issued): Promise<void> {
    return this.queue.push('exclusive', () => this.#pass.stageCheckpoint(), {
      ...issued,
      kind: 'transaction',
    })
  }

  async close(): Promise<void> {
    try {
      // Else somebody else has put it into the file since.
      if (this.#pass.hasWritten && hasJournal(this.#path)) await this.#checkpoint({ isInternal: true })
      await this.queue.idle()
    } finally {
      this.#pass.close()
    }
  }

  #update(edit: (draft: Draft) => unknown, issued: Issued): Promise<void> {
    const outer = joins(issued) ? this.#outer : undefined
    if (outer) {
      const call = issued.call ?? { name: 'transaction', args: [] }
      return this.#part('exclusive', call, outer, () => this.#within(outer, edit))
    }
    const run = async () => this.#pass.stage(await this.#record(edit, this.#pass.tree))
    return this.queue.push('exclusive', run, issued)
  }

  /** What an edit changes of a tree, which stays as it is. */
  async #record(edit: (draft: Draft) => unknown, tree: Tree): Promise<Change[]> {
    const recorder = new Recorder(this.#path)
    const recorded = (draft: Draft) => {
      this.#recorders.set(draft, recorder)
      return edit(draft)
    }
    try {
      return changesOf(recorder, tree, await this.#drafts.edit(recorded, recorder.draft(tree)))
    } finally {
      recorder.close()
    }
  }

  /** An edit inside another is a draft of its draft: a throw undoes its own part only. */
  async #within(outer: Draft, edit: (draft: Draft) => unknown): Promise<void> {
    const version = () => this.#recorders.get(outer)?.version
    const before = version()
    const changes = await this.#record(edit, outer.tree)
    if (changes.length === 0) return
    if (version() !== before) throw this.#twoAtOnce()
    outer.tree = apply(outer.tree, changes, this.#path)
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
    return inTurn(outer, () => {
      if (!observer?.observes({ call })) return run()
      const whole = Scope.enclosing(this.queue)?.observed
      return observer.part(whole, mode, { call }, (observed) =>
        observed.watch(run, () => this.#recorders.get(outer)?.version ?? 0),
      )
    })
  }

  #twoAtOnce(): TransactionError {
    return new TransactionError(
      `an update inside a transaction of ${this.#path} was not awaited, and the data was changed meanwhile: await it`,
      { path: this.#path },
    )
  }
}
