import { requireFunction } from '../../arguments.ts'
import type { LockMode } from '../../errors.ts'
import type { PsLock } from '../../lock/lock.ts'
import { type AcquireOptions, joins } from '../../lock/options.ts'
import { storeFailure } from '../../os/replace.ts'
import { BLOCKING, type FileCalls, runBlocking, runSteps, type Steps, WAITING } from '../../os/steps.ts'
import type { BlockingTreeSession, Call, TreeFormat, TreeMemory, TreeSession } from '../adapter.ts'
import { readFailure, untilUnsplit } from '../data-file.ts'
import { type Commit, type Engine, type Notes, notSynced } from '../engine.ts'
import type { Issued } from '../operation.ts'
import { Pipeline } from '../pipeline.ts'
import { Scope } from '../scope.ts'
import { allOf, type Source, type Snapshot as StoreSnapshot, textSnapshot } from '../snapshot.ts'
import type { StoreLock } from '../store-lock.ts'
import type { TransactionOptions } from '../transaction.ts'
import { BlockingCalls } from './blocking.ts'
import { RecordedTree } from './journal/recorded-tree.ts'
import { LiveTree, type Snapshot, WorkingCopy } from './live-tree.ts'
import type { Delta, Head, TreeStorage, Written } from './storage.ts'

type Edit = (copy: WorkingCopy) => unknown

/**
 * A tree in memory: how it takes in what the storage says, and how edits are made of it. `LiveTree` is edited directly;
 * of `RecordedTree` only copies are, and what changed goes to a journal.
 */
interface MemoryTree extends Head {
  /** What code outside of edits works on. */
  readonly memory: TreeMemory
  /** A batch begins, with what is new. */
  accept(delta: Delta): void
  /** @returns how to come back to this point, should what follows fail */
  mark(): () => void
  /** The head is in the storage. @param missing there is no file */
  publish(missing: boolean): void
  /** The head will not be written. */
  discard(): void
  /** What a read may drop of unsaved edits, what a write owns of them; until `release`. */
  see(): Snapshot | undefined
  take(isWrite: boolean): Snapshot | undefined
  release(snapshot: Snapshot | undefined): void
  /** In a batch: a read drops what it has seen. */
  drop(seen: Snapshot | undefined): void
  /** In a batch: these edits become part of the head. @returns whether that makes it another, or what changes */
  stageEdits?(taken: Snapshot): boolean
  edit(edit: Edit, taken: Snapshot | undefined): Promise<boolean | string | undefined>
  /** The same inside an edit. */
  stageInto?(outer: WorkingCopy, taken: Snapshot): void
  editInside(outer: WorkingCopy, edit: Edit): Promise<void>
  /** The present state, not to be changed. */
  view(outer: WorkingCopy | undefined): TreeMemory
  /** Another value after each change of this copy. */
  version(copy: WorkingCopy): unknown
}

/** What one operation of a batch did. */
interface Done {
  readonly undo: () => void
  /** As JSON, where there is a journal; undefined: nothing. */
  change: string | undefined
}

/**
 * A store whose memory is one JSON tree, and whose file is that tree. Every operation first makes memory equal to the
 * storage, works on a copy, and after the write, in one synchronous step, patches the live tree in place.
 */
export class JsonEngine implements TreeSession, Engine {
  readonly queue: Pipeline
  /** Grows with every operation that changes something; what is undone is taken back. */
  revision = 0
  readonly #path: string
  readonly #format: TreeFormat
  readonly #storage: TreeStorage
  readonly #tree: MemoryTree
  readonly #blocking: BlockingCalls | undefined
  // Of the present batch:
  #mode: LockMode = 'shared'
  #done: Done[] = []
  #isCheckpoint = false

  /** @param blocking the lock of the file, for calls that block the thread; they keep no journal */
  constructor(
    storage: TreeStorage,
    lock: StoreLock,
    memory: TreeMemory,
    format: TreeFormat,
    blocking?: PsLock,
  ) {
    const { path } = storage
    this.#path = path
    this.#format = format
    this.#storage = storage
    this.queue = new Pipeline(lock, this)
    if (storage.keepsJournal) this.#tree = new RecordedTree(path, memory, format, () => storage.isMissing)
    else {
      const tree = new LiveTree(path, memory, format)
      this.#tree = tree
      if (blocking) this.#blocking = new BlockingCalls(path, blocking, this, tree)
    }
  }

  /** What the caller's code works on: the copy of its edit, else what is in memory. */
  get memory(): TreeMemory {
    return this.#copy ?? this.#blocking?.copy ?? this.#tree.memory
  }

  get blocking(): BlockingTreeSession {
    if (this.#blocking) return this.#blocking
    throw new TypeError(
      this.#storage.file === undefined
        ? `${this.#path}: a store whose calls are synchronous cannot be on a server, since a network cannot answer at once: use its asynchronous form`
        : `${this.#path}: a store whose calls are synchronous keeps no journal: leave out \`journal\`, or use its asynchronous form`,
    )
  }

  /** All of it, where it is in no file. */
  get snapshot(): (() => Promise<StoreSnapshot>) | undefined {
    if (this.#storage.file !== undefined) return undefined
    return async () => {
      const look = () => (this.#storage.isMissing ? undefined : this.#tree.text)
      const text = await this.queue.push('shared', look, { isInternal: true, kind: 'transaction' })
      return textSnapshot(this.#path, text)
    }
  }

  /** Replaces all of it by the content of a file, where it is in none itself. */
  get replace(): ((content: Source) => Promise<void>) | undefined {
    if (this.#storage.file !== undefined) return undefined
    return async (content) => {
      const tree = this.#format.parse((await allOf(content)).toString())
      const edit = (copy: WorkingCopy) => {
        copy.tree = tree
      }
      await this.#update(edit, { isInternal: true })
    }
  }

  /** Makes memory equal to the file, which was replaced. */
  reload(): Promise<void> {
    return this.#read({ isInternal: true })
  }

  async read(): Promise<void> {
    const call = { name: 'read', args: [] }
    const outer = this.#copy
    // What an edit works on is the present state already.
    return outer ? this.#part('shared', call, outer, async () => {}) : this.#read({ call })
  }

  #read(issued: Issued): Promise<void> {
    return this.#owning(this.#tree.see(), async (seen) => {
      await this.#rewriteIfNeeded()
      await this.queue.push('shared', () => this.#tree.drop(seen), issued)
    })
  }

  async write(): Promise<void> {
    const call = { name: 'write', args: [] }
    const outer = this.#outer
    const { stageInto } = this.#tree
    // With a journal, what was changed inside an edit is written at its end.
    if (outer && !stageInto) return this.#part('exclusive', call, outer, async () => {})
    await this.#owning(this.#tree.take(true), (taken) =>
      outer
        ? this.#part('exclusive', call, outer, async () => this.#tree.stageInto?.(outer, taken as Snapshot))
        : this.queue.write(() => this.stage(this.#tree.stageEdits?.(taken as Snapshot)), { call }),
    )
  }

  update<T>(edit: (tree: unknown) => T): Promise<void> {
    if (typeof edit !== 'function') requireFunction(edit, 'update(fn): fn')
    return this.#update((copy) => edit(copy.tree), { call: { name: 'update', args: [edit] } })
  }

  /** A transaction is an edit whose callback's value is given once it is committed. */
  async transact<T>(
    run: (memory: TreeMemory) => T,
    { retry, ...options }: TransactionOptions,
  ): Promise<Awaited<T>> {
    let result: Awaited<T> | undefined
    const edit = async (copy: WorkingCopy) => {
      result = await run(copy)
    }
    await this.#update(edit, { ...options, kind: retry === undefined ? 'transaction' : 'optimistic' })
    return result as Awaited<T>
  }

  async look<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): Promise<Awaited<T>> {
    await this.#rewriteIfNeeded()
    const outer = joins(options) ? this.#copy : undefined
    return this.queue.push('shared', () => run(this.#tree.view(outer)), { ...options, kind: 'view' })
  }

  /** A journal is put into the file, at the latest at the end of the batch. */
  async checkpoint(): Promise<void> {
    this.queue.requireOutside('checkpoint')
    return this.#checkpoint({ call: { name: 'checkpoint', args: [] } })
  }

  #checkpoint(issued: Issued): Promise<void> {
    const ask = () => {
      this.#isCheckpoint = true
      if (this.#storage.hasJournal || this.#storage.tookJournal) this.revision++
    }
    return this.queue.push('exclusive', ask, { ...issued, kind: 'transaction' })
  }

  /** Once an fsync has failed a read cannot be answered before the file is written anew. */
  async #rewriteIfNeeded(): Promise<void> {
    if (this.#storage.mustRewrite && !this.queue.isInside())
      await this.queue.push('exclusive', () => {}, { isInternal: true })
  }

  async #update(edit: Edit, issued: Issued): Promise<void> {
    const isInside = this.queue.isInside()
    const outer = isInside && joins(issued) ? this.#outer : undefined
    if (outer) {
      // Called from inside an edit of this very store it is part of that one, and its throw undoes its own part only.
      const call = issued.call ?? { name: 'transaction', args: [] }
      return this.#part('exclusive', call, outer, () => this.#tree.editInside(outer, edit))
    }
    await this.#owning(this.#tree.take(false), (taken) =>
      this.queue.write(async () => this.stage(await this.#tree.edit(edit, taken)), issued),
    )
  }

  /** A snapshot of memory is somebody's until that one's operation has settled. */
  async #owning<T>(
    snapshot: Snapshot | undefined,
    run: (snapshot: Snapshot | undefined) => Promise<T>,
  ): Promise<T> {
    try {
      return await run(snapshot)
    } finally {
      this.#tree.release(snapshot)
    }
  }

  /** The edit of this store that the caller runs in. */
  get #copy(): WorkingCopy | undefined {
    return WorkingCopy.enclosing(this.#tree)
  }

  /** The edit that a change is part of; a change inside a view is refused by the queue. */
  get #outer(): WorkingCopy | undefined {
    return this.queue.isInside('shared') ? undefined : this.#copy
  }

  /** Something inside an open edit of this very store. */
  #part(mode: LockMode, call: Call, outer: WorkingCopy, run: () => Promise<void>): Promise<void> {
    const { observer } = this.queue
    return outer.issue(() => {
      if (!observer?.observes({ call })) return run()
      const whole = Scope.enclosing(this.queue)?.observed
      return observer.part(whole, mode, { call }, (observed) =>
        observed.watch(run, () => this.#tree.version(outer)),
      )
    })
  }

  requireOutside(what: string): void {
    this.#blocking?.requireOutside(what)
  }

  async close(): Promise<void> {
    try {
      if (this.#storage.endsWithCheckpoint) await this.#checkpoint({ isInternal: true })
      // What is issued meanwhile ends before.
      do await this.queue.idle()
      while (this.queue.isAtWork)
    } finally {
      await this.#storage.close()
    }
  }

  // --- Engine ---

  refresh(mode: LockMode): Promise<void> | void {
    return runSteps(this.#refresh(mode, WAITING))
  }

  *#refresh(mode: LockMode, calls: FileCalls): Steps<void> {
    this.#mode = mode
    this.#done = []
    this.#isCheckpoint = false
    try {
      this.#tree.accept(yield* this.#storage.refresh(mode, calls))
    } catch (error) {
      this.#storage.forget()
      throw this.#storage.file === undefined ? error : readFailure(this.#format.name, this.#path, error)
    }
  }

  async run(operation: () => unknown): Promise<unknown> {
    const undo = this.#marked()
    const { revision } = this
    const done: Done = { undo, change: undefined }
    this.#done.push(done)
    try {
      return await operation()
    } catch (error) {
      done.change = undefined
      this.revision = revision
      this.#undo([done])
      throw error
    }
  }

  #marked(): () => void {
    const undo = this.#tree.mark()
    const undoNotes = this.#storage.notes?.mark()
    if (!undoNotes) return undo
    return () => {
      undo()
      undoNotes()
    }
  }

  /** Texts beside the tree, where the storage keeps any. */
  get notes(): Notes | undefined {
    const { notes } = this.#storage
    if (!notes) return undefined
    return {
      get: (name) => notes.get(name),
      set: (name, text) => {
        notes.set(name, text)
        const done = this.#done.at(-1)
        if (done) done.change ??= '[]'
        this.revision++
      },
      flush: async () => await runSteps(this.#storage.sync(WAITING)),
    }
  }

  /** What an operation changes by itself; a throw of its own part leaves nothing behind. */
  savepoint(operation: () => unknown): unknown {
    return operation()
  }

  /** In an operation: it has changed the head. @param change how, or whether */
  stage(change: boolean | string | undefined): void {
    const isChanged = change === undefined || change === false ? this.#storage.isMissing : true
    const done = this.#done.at(-1)
    if (!isChanged || !done) return
    done.change = typeof change === 'string' ? change : ''
    this.revision++
  }

  isFresh(timeoutMs: number): Promise<boolean> {
    return untilUnsplit(timeoutMs, () => runSteps(this.#storage.isFresh(WAITING)))
  }

  abandon(): void {
    this.#undo(this.#done)
    this.#tree.discard()
    this.#storage.forget()
  }

  #undo(done: readonly Done[]): void {
    try {
      for (const { undo } of done.toReversed()) undo()
    } catch {
      // Memory cannot be brought back: it is read anew.
      this.#storage.forget()
    }
  }

  commit(): Commit | Promise<Commit> {
    return runSteps(this.#commit(WAITING))
  }

  *#commit(calls: FileCalls): Steps<Commit> {
    const done = this.#done
    const writers = done.filter(({ change }) => change !== undefined)
    let written: Written
    try {
      written =
        writers.length > 0 || this.#isRewrite
          ? yield* this.#storage.write(
              writers.map(({ change }) => change as string),
              this.#tree,
              calls,
            )
          : { done: 0 }
    } catch (error) {
      return this.#failed(0, error)
    }
    const failed = writers[written.done]
    if (failed) return this.#failed(done.indexOf(failed), written.error)
    this.#tree.publish(this.#storage.isMissing)
    const { unsynced, settle: settleWritten } = written
    if (unsynced === undefined) return this.#committed(done.length, settleWritten)
    const settle = () => Promise.reject(notSynced(this.#path, unsynced))
    return { committed: done.length, settle }
  }

  get #isRewrite(): boolean {
    if (this.#mode !== 'exclusive') return false
    return this.#storage.mustRewrite || (this.#isCheckpoint && this.#storage.hasJournal)
  }

  #failed(committed: number, cause: unknown): Commit {
    this.#undo(this.#done.slice(committed))
    this.#tree.discard()
    // What cannot be written as JSON is no failure of the file.
    const isOfData = (cause as Error | undefined)?.name === 'TypeError'
    return {
      ...this.#committed(committed),
      error: isOfData ? cause : storeFailure(this.#path, 'write', cause),
    }
  }

  /** With durability 'disk' nothing resolves, reads included, before everything it saw is on the disk. */
  #committed(committed: number, settle?: () => Promise<void>): Commit {
    if (settle) return { committed, settle }
    const { isDurable } = this.#storage
    return isDurable && !this.#storage.isSynced ? { committed, settle: () => this.settle() } : { committed }
  }

  async settle(): Promise<void> {
    if (!this.#storage.isSynced) await runSteps(this.#storage.sync(WAITING))
  }

  end(): void {
    this.#storage.end()
  }

  // --- The same, blocking the thread ---

  refreshNow(mode: LockMode): void {
    runBlocking(this.#refresh(mode, BLOCKING))
  }

  /** A batch of one operation. */
  passNow(mode: LockMode, operation: () => boolean | undefined): void {
    const { revision } = this
    try {
      this.refreshNow(mode)
      this.#done.push({ undo: this.#tree.mark(), change: undefined })
      const isChanged = operation()
      if (mode === 'exclusive') this.stage(isChanged)
      const { error } = runBlocking(this.#commit(BLOCKING))
      if (error !== undefined) throw error
    } catch (error) {
      this.#undo(this.#done)
      this.#tree.discard()
      this.revision = revision
      throw error
    } finally {
      this.end()
    }
  }

  settleNow(): void {
    if (!this.#storage.isSynced) runBlocking(this.#storage.sync(BLOCKING))
  }
}
