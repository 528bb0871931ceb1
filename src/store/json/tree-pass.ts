import type { LockMode } from '../../errors.ts'
import { storeFailure } from '../../os/replace.ts'
import type { TreeFormat, TreeMemory } from '../adapter.ts'
import { readFailure, untilUnsplit, untilUnsplitSync } from '../data-file.ts'
import type { OpenOptions } from '../options.ts'
import { ImageFile } from '../text/image-file.ts'
import { checkpointedSync, replayedSync } from './journal/blocking.ts'
import { checkpointed, replayed } from './journal/closed.ts'
import { hasJournal } from './journal/journal.ts'
import { isMarked } from './journal/mark.ts'
import { journalGone } from './journal/stale.ts'
import { cloneTree, type Tree } from './json-tree.ts'
import { treeOf } from './text.ts'
import { type Snapshot, TreeState } from './tree-state.ts'

/** One locked pass over a tree and its file: look, stage what shall be written, save. Asynchronous or blocking. */
export class TreePass {
  readonly state: TreeState
  readonly file: ImageFile
  /** Grows with every operation that changes something; what is undone is taken back. */
  revision = 0
  /** At the beginning of this pass a journal was put into the file. */
  tookJournal = false
  readonly #path: string
  readonly #timeoutMs: number
  readonly #durable: boolean
  readonly #format: TreeFormat
  #staged = false
  #rollBack: () => void = () => {}

  constructor(path: string, options: OpenOptions, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.#timeoutMs = options.timeoutMs
    this.#format = format
    this.#durable = options.durability === 'disk'
    this.state = new TreeState(path, memory, format)
    this.file = new ImageFile(path, this.#durable, (text) => text === this.state.savedText)
  }

  /** Begins, and takes in what is in the file. */
  async look(mode: LockMode): Promise<void> {
    this.#begin()
    try {
      if (this.#hasJournal && (await this.#takeJournal(mode))) return
      const news = await untilUnsplit(this.#timeoutMs, () => this.file.news(mode))
      this.#requireWhole(mode)
      if (news.kind === 'none') return
      if (news.kind === 'missing') this.#take(null)
      else if (this.#format.io) this.#take(await this.#format.io.read())
      else this.#takeText(await this.file.read(news.size))
    } catch (error) {
      throw this.#unreadable(error)
    }
  }

  lookSync(mode: LockMode): void {
    this.#begin()
    try {
      if (this.#hasJournal && this.#takeJournalSync(mode)) return
      const news = untilUnsplitSync(this.#timeoutMs, () => this.file.news(mode))
      this.#requireWhole(mode)
      if (news.kind === 'none') return
      if (news.kind === 'missing') this.#take(null)
      else if (this.#format.io) this.#take(this.#format.io.read())
      else this.#takeText(this.file.readSync(news.size))
    } catch (error) {
      throw this.#unreadable(error)
    }
  }

  /** Whether the file is still what memory was made equal to. */
  async isFresh(): Promise<boolean> {
    return (await this.file.isFresh('exclusive')) && !this.#hasJournal
  }

  /** This is what the file shall hold. */
  stage(tree: Tree): void {
    this.#stage(this.state.stage(tree))
  }

  /** The file shall hold these edits of memory besides. */
  stageEdits(taken: Snapshot): void {
    this.#stage(this.state.stageEdits(taken))
  }

  #stage(differs: boolean): void {
    const changed = differs || this.file.isMissing
    this.#staged ||= changed
    if (changed) this.revision++
  }

  /** Writes what is staged; memory follows. */
  async save(mode: LockMode): Promise<void> {
    if (this.#staged || (mode === 'exclusive' && this.mustRewrite)) {
      if (this.#hasJournal) throw this.file.changedMeanwhile()
      if (this.#format.io) {
        await this.#format.io.write(this.state.truthTree)
        this.file.wrote()
      } else await this.file.replace(this.state.truthText)
    }
    this.state.settle(this.file.isMissing)
  }

  /** With durability 'disk': whether what memory was made equal to is known to be on the disk. */
  get isSettled(): boolean {
    return !this.#durable || this.file.isSynced
  }

  /** With durability 'disk': an fsync of the file has failed, so whoever has the exclusive lock writes it anew. */
  get mustRewrite(): boolean {
    return this.#durable && !this.#format.io && this.file.isUnsyncable
  }

  /** Makes it so. The lock need not be held. @throws StoreIoError */
  async settle(): Promise<void> {
    if (!this.isSettled) await this.file.sync()
  }

  settleSync(): void {
    if (!this.isSettled) this.file.syncBlocking()
  }

  saveSync(mode: LockMode): void {
    try {
      if (this.#staged || (mode === 'exclusive' && this.mustRewrite)) this.#writeSync()
    } catch (error) {
      throw this.writeFailure(error)
    }
    this.state.settle(this.file.isMissing)
  }

  #writeSync(): void {
    if (this.#hasJournal) throw this.file.changedMeanwhile()
    if (this.#format.io) {
      this.#format.io.write(this.state.truthTree)
      this.file.wrote()
    } else this.file.replaceSync(this.state.truthText)
  }

  /** What was staged will not be written; memory's edits are unsaved again. */
  undo(): void {
    this.state.unstage()
    this.#rollBack()
  }

  writeFailure(error: unknown): unknown {
    return (error as Error | undefined)?.name === 'TypeError'
      ? error
      : storeFailure(this.#path, 'write', error)
  }

  /** Somebody keeps a journal beside this file, which counts for all. */
  get #hasJournal(): boolean {
    return !this.#format.io && hasJournal(this.#path)
  }

  /** @throws CorruptStoreError for a file whose journal was taken away, but not put into it since we looked */
  #requireWhole(mode: LockMode): void {
    if (this.#format.io || !isMarked(this.file) || this.#hasJournal) return
    if (this.file.news(mode).kind === 'none' && isMarked(this.file)) throw journalGone(this.#path)
    // Else the next look shall read what is there now.
    this.file.forget()
  }

  /** A writer puts it into the file; a reader reads both, as often as it looks. @returns whether there is no more to read */
  async #takeJournal(mode: LockMode): Promise<boolean> {
    const news = <T>(run: () => Promise<T>) => untilUnsplit(this.#timeoutMs, run)
    if (mode === 'exclusive') {
      await news(() => checkpointed(this.#path, this.#format))
      this.tookJournal = true
      return false
    }
    this.file.forget()
    this.#take(await news(() => replayed(this.#path, this.#format, this.#durable)))
    return true
  }

  #takeJournalSync(mode: LockMode): boolean {
    if (mode === 'exclusive') {
      untilUnsplitSync(this.#timeoutMs, () => checkpointedSync(this.#path, this.#format))
      return false
    }
    this.file.forget()
    this.#take(untilUnsplitSync(this.#timeoutMs, () => replayedSync(this.#path, this.#format, this.#durable)))
    return true
  }

  #begin(): void {
    this.#staged = false
    this.tookJournal = false
    this.#rollBack = this.state.begin()
  }

  #unreadable(error: unknown): unknown {
    this.file.forget()
    return readFailure(this.#format.name, this.#path, error)
  }

  /** `null`, also from a foreign adapter: there is no file, the store is empty. */
  #take(tree: Tree): void {
    const state = tree === null || tree === undefined ? cloneTree(this.state.defaults) : tree
    this.state.arrived(state, this.state.text(state))
  }

  #takeText(text: string): void {
    this.state.arrived(treeOf(text, this.#path, this.#format), text)
  }
}
