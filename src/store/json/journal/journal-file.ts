import { statSync, unlinkSync } from 'node:fs'
import { type LockLostError, type LockMode, LockUnsupportedError, StoreIoError } from '../../../errors.ts'
import { syncNames } from '../../../os/io.ts'
import { storeFailure } from '../../../os/replace.ts'
import type { TreeFormat } from '../../adapter.ts'
import { LogFile } from '../../log/log-file.ts'
import { ImageFile } from '../../text/image-file.ts'
import type { Tree } from '../json-tree.ts'
import { treeOf } from '../text.ts'
import { apply } from './apply.ts'
import type { Change } from './changes.ts'
import {
  type Entries,
  entriesOf,
  firstUnit,
  hashOf,
  journalOf,
  lastUnit,
  relationTo,
  requireJournal,
  unitOf,
} from './journal.ts'
import { isMarked, mark } from './mark.ts'
import { cutTorn, journalGone, keepStale, neverStill } from './stale.ts'

/** A journal is put into its file when it is longer than that, and than this. */
const SMALLEST_BYTES: number = 64 * 1024

/** So often a reader without the lock looks again, each time because a journal was put into its file meanwhile. */
export const MOST_ATTEMPTS = 100

/** What is new in the two files. */
export type JournalNews =
  | { readonly kind: 'none' }
  | { readonly kind: 'changes'; readonly changes: readonly Change[] }
  /** `tree` is undefined where there is no file. */
  | { readonly kind: 'all'; readonly tree: Tree | undefined }

const NONE: JournalNews = { kind: 'none' }

/** A data file and its journal, held open: what of them is loaded, and how to add to them. */
export class JournalFile {
  readonly #path: string
  readonly #format: TreeFormat
  readonly #base: ImageFile
  readonly #log: LogFile
  /** Of the base that is loaded; undefined where there is none. */
  #hash: string | undefined
  #isLoaded = false
  /** At the last look there was a journal. */
  #hasJournal = false
  /** All of it is in the file already: a crash has kept it from being removed. */
  #isSpent = false
  #checkpointAt = SMALLEST_BYTES
  /** The file that is loaded is marked, or cannot be. */
  #isMarkTried = false

  /** @param durable see `LogFile` */
  constructor(path: string, format: TreeFormat, durable: boolean) {
    this.#path = path
    this.#format = format
    this.#base = new ImageFile(path, true, (text) => hashOf(text) === this.#hash)
    this.#log = new LogFile(journalOf(path), 0o600, durable)
  }

  get isMissing(): boolean {
    return this.#base.isMissing
  }

  get hasJournal(): boolean {
    return this.#hasJournal
  }

  /**
   * Whether the journal has outgrown the file: the rule of Redis for its append-only file
   * (`auto-aof-rewrite-percentage 100`, with a smallest size), so that what is rewritten is at most what was added.
   */
  get isOutgrown(): boolean {
    return this.#hasJournal && this.#log.end > this.#checkpointAt
  }

  /** Whether both are on the disk as they were read or written last; where there is no file, that is never known. */
  get isSynced(): boolean {
    return this.#base.isSynced && (!this.#hasJournal || this.#log.isSynced)
  }

  /** @throws LockLostError, CorruptStoreError, StoreIoError; StaleWriteError for a journal of another content */
  async news(mode: LockMode): Promise<JournalNews> {
    if (!this.#isLoaded || !(await this.#base.isFresh(mode))) return this.#load(mode)
    const log = await this.#log.view.news(mode)
    if (log.kind === 'missing') return this.#hasJournal ? this.#withoutJournal(mode) : NONE
    if (log.kind === 'none') {
      if (this.#isSpent && mode === 'exclusive') await this.#removeJournal()
      return NONE
    }
    if (log.kind === 'replaced' && this.#hasJournal && !this.#log.isBeginningOf(log.bytes))
      return this.#withoutJournal(mode)
    const entries = entriesOf(log.bytes)
    const isNext = log.kind === 'tail' ? this.#hasJournal && !this.#isSpent : !this.#hasJournal
    if (!isNext || (log.kind === 'replaced' && entries.base !== this.#hash)) return this.#load(mode)
    this.#take(log.bytes, log.kind, entries, mode)
    return { kind: 'changes', changes: entries.changes }
  }

  /** Whether both are, to their ends, what was read or written here. */
  async isFresh(): Promise<boolean> {
    const isBase = await this.#base.isFresh('exclusive')
    const log = await this.#log.view.news('exclusive')
    const isLog =
      log.kind === 'none' ||
      (log.kind === 'missing' && !this.#hasJournal) ||
      (log.kind === 'replaced' && this.#log.isOnlyTouched(log.bytes))
    const isFresh = isBase && isLog
    if (!isFresh) this.forget()
    return isFresh
  }

  /** The next look reads everything. */
  forget(): void {
    this.#isLoaded = false
  }

  /**
   * Adds units of changes, which are JSON. Only under the exclusive lock, after `news`, where there is a data file.
   * @returns how many of them are in the journal as a whole, and what stopped the next
   */
  async append(changes: readonly string[]): Promise<{ done: number; error: unknown }> {
    this.#base.requireWritable()
    const units = changes.map(unitOf)
    if (!this.#hasJournal) this.#create()
    if (this.#log.end === 0) units.unshift(firstUnit(this.#hash as string))
    const data = Buffer.concat(units)
    const written = await this.#log.append(data)
    let [whole, length] = [0, 0]
    for (const unit of units) {
      if (length + unit.length > written.bytes) break
      length += unit.length
      whole++
    }
    try {
      // A whole unit is never cut, whatever came after it: another process may have read it already.
      this.#log.appended(data, length, written.bytes)
    } catch {
      // The rest could not be cut off now: the next writer finds a torn tail and mends it.
      this.forget()
    }
    const { error } = written
    return { done: Math.max(0, whole - (units.length - changes.length)), error }
  }

  /**
   * Marks the file, once, as one that has a journal; see `mark`. Under the exclusive lock, after `append`.
   * @throws what the fsync of the journal says
   */
  async mark(): Promise<void> {
    if (this.#isMarkTried || isMarked(this.#base) || this.#log.end === 0) return
    await this.#log.syncNow()
    this.#base.withOpen(mark)
    this.#isMarkTried = true
  }

  /**
   * Replaces the data file by its new content, and removes the journal, whose changes are in it.
   * @param text what is loaded, and was added
   */
  async checkpoint(text: string): Promise<void> {
    if (!(await this.isFresh())) throw this.changedMeanwhile()
    const hash = hashOf(text)
    if (this.#hasJournal) {
      const unit = lastUnit(hash)
      const { bytes, error } = await this.#log.append(unit)
      this.#log.appended(unit, bytes === unit.length ? bytes : 0, bytes)
      if (bytes < unit.length) throw storeFailure(journalOf(this.#path), 'write', error)
      await this.#log.syncNow()
    }
    await this.#base.replace(text)
    this.#hash = hash
    this.#isLoaded = true
    this.#isMarkTried = false
    this.#measure(text)
    if (!this.#hasJournal) return
    // The file has everything: whoever comes next would remove it, too.
    this.#isSpent = true
    await this.#unlinkJournal()
  }

  /** The journal could not be put into the file: not at once again. */
  postpone(): void {
    this.#checkpointAt = 2 * this.#log.end
  }

  /** Makes what was read or written so far survive power loss. It may run after the lock is released. */
  async sync(): Promise<void> {
    if (this.#hasJournal && !this.#log.isSynced) await this.#log.syncNow()
    if (!this.#base.isSynced) await this.#base.sync()
  }

  changedMeanwhile(): LockLostError {
    return this.#base.changedMeanwhile()
  }

  unlockData(): void {
    this.#base.unlockData()
    this.#log.unlockData()
  }

  close(): void {
    this.forget()
    try {
      this.#base.close()
    } finally {
      this.#log.close()
    }
  }

  /** The journal that was loaded is not there any more. */
  async #withoutJournal(mode: LockMode): Promise<JournalNews> {
    // It was put into the file, or nothing of it was ever whole.
    if (this.#isSpent || this.#log.end === 0 || !(await this.#base.isFresh(mode))) return this.#load(mode)
    throw journalGone(this.#path)
  }

  async #load(mode: LockMode): Promise<JournalNews> {
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      const news = await this.#loadOnce(mode)
      if (news) return news
    }
    throw neverStill(this.#path)
  }

  /**
   * @returns undefined where a writer came between: who reads without the lock must have both files of one moment. The data
   * file is looked at again after the journal, since with each journal that is put into it it becomes another file.
   */
  async #loadOnce(mode: LockMode): Promise<JournalNews | undefined> {
    this.#isLoaded = false
    this.#base.forget()
    this.#log.forget()
    const base = this.#base.news(mode)
    const text = base.kind === 'changed' ? await this.#base.read(base.size) : undefined
    const log = await this.#log.view.news(mode)
    if (mode === 'shared' && this.#base.news(mode).kind !== 'none') return undefined
    this.#hash = text === undefined ? undefined : hashOf(text)
    this.#measure(text ?? '')
    this.#hasJournal = false
    this.#isSpent = false
    this.#isMarkTried = false
    const entries = log.kind === 'replaced' ? entriesOf(log.bytes) : undefined
    if (isMarked(this.#base) && entries?.base === undefined) throw journalGone(this.#path)
    const tree = text === undefined ? undefined : treeOf(text, this.#path, this.#format)
    const isStale = entries !== undefined && relationTo(this.#hash, entries) === 'stale'
    if (mode === 'shared' && isStale && !(await this.#isStillStale())) return undefined
    const news =
      log.kind === 'replaced' && entries ? await this.#replay(tree, log.bytes, entries, mode) : tree
    this.#isLoaded = true
    return { kind: 'all', tree: news }
  }

  /** Asked before a reader puts a journal aside: with both files locked nobody else does anything about them meanwhile. */
  async #isStillStale(): Promise<boolean> {
    if (this.#base.news('exclusive').kind !== 'none') return false
    const log = await this.#log.view.news('exclusive')
    return log.kind === 'replaced' && relationTo(this.#hash, entriesOf(log.bytes)) === 'stale'
  }

  /** The tree with what is in the journal. */
  async #replay(
    tree: Tree | undefined,
    bytes: Buffer,
    entries: Entries,
    mode: LockMode,
  ): Promise<Tree | undefined> {
    requireJournal(this.#path, bytes, entries)
    const relation = relationTo(this.#hash, entries)
    if (relation === 'stale') throw keepStale(this.#path, entries, tree)
    this.#take(bytes, 'replaced', entries, mode)
    if (relation === 'current') return apply(tree, entries.changes, this.#path)
    this.#isSpent = true
    if (mode === 'exclusive') await this.#removeJournal()
    return tree
  }

  #take(bytes: Buffer, kind: 'tail' | 'replaced', { end }: Entries, mode: LockMode): void {
    this.#hasJournal = true
    this.#log.apply(bytes, kind, end)
    if (mode === 'exclusive' && end < bytes.length) cutTorn(this.#log, bytes.subarray(end))
  }

  #create(): void {
    const file = statSync(this.#path)
    if (file.nlink > 1) {
      throw new LockUnsupportedError(
        `cannot keep a journal of ${this.#path}: it has ${file.nlink} hard links, and under the other names nobody would know of ` +
          'it. Remove the other links, or use a symbolic link, which is followed.',
        { path: this.#path },
      )
    }
    // Who may read and write the file may do so with its journal.
    this.#log.create(file)
    this.#isSpent = false
    this.#hasJournal = true
  }

  /** Of a journal that a crash has left: the rename before it may not have reached the disk yet. */
  async #removeJournal(): Promise<void> {
    await syncNames(this.#path)
    await this.#unlinkJournal()
  }

  async #unlinkJournal(): Promise<void> {
    try {
      unlinkSync(journalOf(this.#path))
      // Else power loss could bring it back beside a later file.
      await syncNames(this.#path)
    } catch (cause) {
      throw new StoreIoError(
        `cannot remove ${journalOf(this.#path)}. Everything in it is in ${this.#path} now; the next operation tries again.`,
        { path: this.#path, cause },
      )
    }
    this.#log.close()
    this.#hasJournal = false
    this.#isSpent = false
  }

  #measure(text: string): void {
    this.#checkpointAt = Math.max(SMALLEST_BYTES, text.length)
  }
}
