import { statSync } from 'node:fs'
import { harmless, type LockMode } from '../../../errors.ts'
import type { Content } from '../../../features/backup/file-format.ts'
import { bytesSource } from '../../../features/backup/source.ts'
import { readFile } from '../../../features/backup/store-file.ts'
import { storeFailure } from '../../../os/replace.ts'
import type { TreeFormat, TreeMemory } from '../../adapter.ts'
import { readFailure, untilUnsplit } from '../../data-file.ts'
import { type Commit, type Engine, notSynced } from '../../engine.ts'
import type { OpenOptions } from '../../options.ts'
import { type Segment, WriteSet } from '../../write-set.ts'
import type { Tree } from '../json-tree.ts'
import { patch } from '../patch.ts'
import { treeText } from '../text.ts'
import { apply } from './apply.ts'
import type { Change } from './changes.ts'
import { JournalFile, type JournalNews } from './journal-file.ts'

/**
 * One locked pass over a tree in memory, its file and the journal. A change is applied to the live tree first, which keeps
 * its containers, with how to undo it; the pass then adds all of them to the journal in one go.
 */
export class JournalPass implements Engine {
  readonly #path: string
  readonly #options: OpenOptions
  readonly #live: TreeMemory
  readonly #format: TreeFormat
  readonly #defaults: string
  readonly #file: JournalFile
  readonly #writeSet = new WriteSet(() => this.#file.forget())
  #hasWritten = false
  /** An fsync failed: the page cache can no longer be trusted, so the file is written anew. */
  mustCheckpoint = false

  constructor(path: string, options: OpenOptions, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.#options = options
    this.#live = memory
    this.#format = format
    this.#file = new JournalFile(path, format, options.durability === 'disk')
    // Not the caller's own object, which other stores may share, and as JSON keeps it.
    this.#defaults = this.#text(memory.get())
    memory.set(format.parse(this.#defaults))
  }

  /** What is in memory. */
  get tree(): Tree {
    return this.#live.get()
  }

  get revision(): number {
    return this.#writeSet.revision
  }

  /** Whether this store object has added to the journal since the file was written. */
  get hasWritten(): boolean {
    return this.#hasWritten
  }

  /** The changes are in memory now, and will be written at the end of the pass. */
  stage(changes: readonly Change[]): void {
    // Where there is no file, it comes into being by an update that changes nothing, too.
    if (changes.length === 0 && !this.#file.isMissing) return
    const json = JSON.stringify(changes)
    const tree = this.tree
    this.#writeSet.onUndo(() => this.#live.set(tree))
    this.#live.set(apply(tree, changes, this.#path, (undo) => this.#writeSet.onUndo(undo)))
    this.#writeSet.append([json])
  }

  /** At the end of this pass the file is written anew, and the journal, whose changes are in it then, removed. */
  stageCheckpoint(): void {
    this.#writeSet.compactAtCommit = true
    if (this.#file.hasJournal) this.#writeSet.revision++
  }

  /** The next look reads everything. */
  forget(): void {
    this.#file.forget()
  }

  close(): void {
    this.#file.close()
  }

  async refresh(mode: LockMode): Promise<void> {
    this.#writeSet.take()
    try {
      this.#accept(await untilUnsplit(this.#options.timeoutMs, () => this.#file.news(mode)))
    } catch (error) {
      this.#file.forget()
      throw readFailure(this.#format.name, this.#path, error)
    }
  }

  run(operation: () => unknown, mode: LockMode): Promise<unknown> {
    return this.#writeSet.run(operation, mode)
  }

  savepoint(operation: () => unknown, mode: LockMode): Promise<unknown> {
    return this.#writeSet.savepoint(operation, mode)
  }

  isFresh(): Promise<boolean> {
    return this.#file.isFresh()
  }

  abandon(): void {
    this.#writeSet.abandon()
  }

  async commit(): Promise<Commit> {
    const { compactAtCommit: isCheckpoint } = this.#writeSet
    const segments = this.#writeSet.take()
    try {
      const isChanged = segments.some((segment) => segment.lines.length > 0)
      if (isChanged && !(await this.#file.isFresh())) throw this.#file.changedMeanwhile()
      // A new file is written as a whole: there must be something that the journal is of.
      if (isChanged && !this.#file.isMissing) return await this.#append(segments)
      const isRewritten = this.#file.hasJournal || (this.mustCheckpoint && !this.#file.isMissing)
      if (isChanged || (isCheckpoint && isRewritten)) await this.#checkpoint()
      return this.#committed(segments.length)
    } catch (error) {
      return this.#failed(segments, 0, error)
    } finally {
      this.#writeSet.written(segments)
    }
  }

  end(): void {
    this.#file.unlockData()
  }

  async #append(segments: readonly Segment[]): Promise<Commit> {
    const writers = segments.filter((segment) => segment.lines.length > 0)
    // An operation stages once, at its end: what is called inside an edit is part of its draft.
    const { done, error } = await this.#file.append(writers.map(({ lines }) => lines.join()))
    if (done > 0) this.#hasWritten = true
    const failed = writers[done]
    if (failed) return this.#failed(segments, segments.indexOf(failed), error)
    try {
      await this.#file.mark()
    } catch (cause) {
      this.mustCheckpoint = true
      return { committed: segments.length, settle: () => Promise.reject(notSynced(this.#path, cause)) }
    }
    if (this.mustCheckpoint) return this.#checkpointOrUnknown(segments.length)
    if (this.#file.isOutgrown) await this.#checkpointIfPossible()
    return this.#committed(segments.length)
  }

  /** What was written is in the journal; but what an fsync of that says can no longer be trusted. */
  async #checkpointOrUnknown(committed: number): Promise<Commit> {
    try {
      await this.#checkpoint()
      return this.#committed(committed)
    } catch (cause) {
      return { committed, settle: () => Promise.reject(notSynced(this.#path, cause)) }
    }
  }

  async #checkpoint(): Promise<void> {
    await this.#file.checkpoint(this.#text(this.tree))
    this.#hasWritten = false
    this.mustCheckpoint = false
  }

  /** What was written is in the journal, whatever comes of this. */
  async #checkpointIfPossible(): Promise<void> {
    try {
      await this.#checkpoint()
    } catch (error) {
      this.#file.postpone()
      process.emitWarning(
        harmless(`the journal of ${this.#path} could not be put into the file: ${String(error)}`),
        {
          type: 'PsLockWarning',
          code: 'PSLOCK_CHECKPOINT',
        },
      )
    }
  }

  #accept(news: JournalNews): void {
    if (news.kind === 'changes') this.#live.set(apply(this.tree, news.changes, this.#path))
    else if (news.kind === 'all') {
      const tree = news.tree === undefined ? this.#format.parse(this.#defaults) : news.tree
      this.#live.set(patch(this.tree, tree))
    }
  }

  #failed(segments: readonly Segment[], committed: number, cause: unknown): Commit {
    const mark = segments[committed]?.undoMark
    if (mark !== undefined) this.#writeSet.rollBack(mark)
    return { ...this.#committed(committed), error: storeFailure(this.#path, 'write', cause) }
  }

  /** With durability 'disk' nothing resolves, reads included, before everything it saw is on the disk. */
  #committed(committed: number): Commit {
    if (this.#options.durability !== 'disk' || this.#file.isSynced) return { committed }
    return { committed, settle: () => this.#sync() }
  }

  async settle(): Promise<void> {
    if (this.#options.durability === 'disk' && !this.#file.isSynced) await this.#sync()
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.sync()
    } catch (cause) {
      this.mustCheckpoint = true
      throw notSynced(this.#path, cause)
    }
  }

  /** The store as a whole, as the file would be. */
  async content(): Promise<Content> {
    // Says that there is no file, in the words of the system.
    if (this.#file.isMissing) return readFile(this.#path)
    const source = bytesSource(Buffer.from(this.#text(this.tree)))
    return { source, mode: statSync(this.#path).mode & 0o777, [Symbol.dispose]() {} }
  }

  #text(tree: Tree): string {
    return treeText(tree, this.#path, this.#format)
  }
}
