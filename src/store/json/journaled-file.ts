import { statSync, unlinkSync } from 'node:fs'
import { harmless, type LockMode, LockUnsupportedError, StoreIoError } from '../../errors.ts'
import { storeFailure, syncNames } from '../../os/replace.ts'
import type { FileCalls, Steps } from '../../os/steps.ts'
import type { TreeFormat } from '../adapter.ts'
import { requireReadable, retrying } from '../data-file.ts'
import { notSynced } from '../engine.ts'
import { LogFile } from '../log/log-file.ts'
import { treeOf, treeText } from '../text/text.ts'
import { type FileContent, TextFile } from '../text/text-file.ts'
import { apply } from './journal/changes.ts'
import {
  cutTorn,
  type Entries,
  entriesOf,
  firstUnit,
  hashOf,
  hasJournal,
  isMarked,
  journalGone,
  journalOf,
  keepStale,
  lastUnit,
  mark,
  neverStill,
  relationTo,
  requireJournal,
  unitOf,
} from './journal/journal.ts'
import type { Delta, Head, TreeStorage, Written } from './storage.ts'
import type { Tree } from './values.ts'

/** A journal is put into its file when it is longer than that, and than this. */
const SMALLEST_BYTES = 64 * 1024

/** So often a reader without the lock looks again, each time because a journal was put into its file meanwhile. */
const MOST_ATTEMPTS = 100

const NONE: Delta = { kind: 'none' }

/**
 * Where a tree is kept: its file and, where there is one, the journal of what was changed since that was written. A
 * journal counts for everybody who opens the file. Who does not keep one puts it into the file before it writes.
 */
export class JournaledFile implements TreeStorage {
  readonly path: string
  readonly keepsJournal: boolean
  readonly #format: TreeFormat
  readonly isDurable: boolean
  readonly #timeoutMs: number
  readonly #base: TextFile
  /** Made when there is a journal. */
  #log: LogFile | undefined
  /** What is known of the content of the file: its hash, where there is a journal, else the text itself. */
  #hash: string | undefined
  #text: string | undefined
  #isLoaded = false
  /** Whether there was a journal at the last look. Set in here only. */
  hasJournal = false
  /** All of it is in the file already: a crash has kept it from being removed. */
  #isSpent = false
  #checkpointAt = SMALLEST_BYTES
  /** The file that is loaded is marked, or cannot be. */
  #isMarkTried = false
  /** Whether something was added to the journal here since the file was written. */
  #hasAppended = false
  /** An fsync failed: the page cache can no longer be trusted, so the file is written anew. */
  #isDistrusted = false
  /** The last look has put a journal into the file. */
  tookJournal = false

  constructor(
    path: string,
    format: TreeFormat,
    options: { readonly durable: boolean; readonly keepsJournal: boolean; readonly timeoutMs: number },
  ) {
    this.path = path
    this.#format = format
    this.isDurable = options.durable
    this.keepsJournal = options.keepsJournal
    this.#timeoutMs = options.timeoutMs
    this.#base = new TextFile(path, (text) =>
      this.#text === undefined ? hashOf(text) === this.#hash : text === this.#text,
    )
  }

  get file(): string {
    return this.path
  }

  get isMissing(): boolean {
    return this.#base.isMissing
  }

  /** For the unmodified library. Where the journal is gone, somebody else has put it into the file since. */
  get endsWithCheckpoint(): boolean {
    return this.#hasAppended && hasJournal(this.path)
  }

  get isSynced(): boolean {
    return !this.isDurable || (this.#base.isSynced && (!this.hasJournal || this.#journal.isSynced))
  }

  /** An fsync has failed, so whoever has the exclusive lock writes the file anew. */
  get mustRewrite(): boolean {
    if (this.#format.io || this.isMissing) return false
    return this.#isDistrusted || (this.isDurable && this.#base.isUnsyncable)
  }

  /**
   * Looks for what is new, for as long as the files may be about to be whole.
   * @throws LockLostError, CorruptStoreError, StoreIoError; StaleWriteError for a journal of another content
   */
  refresh(mode: LockMode, calls: FileCalls): Steps<Delta> {
    return retrying(this.#timeoutMs, () => this.#refresh(mode, calls), calls)
  }

  *#refresh(mode: LockMode, calls: FileCalls): Steps<Delta> {
    this.tookJournal = false
    const { io } = this.#format
    if (io) {
      const { kind } = this.#base.look(mode)
      if (kind === 'none') return NONE
      // `null`, too, says that there is nothing.
      const tree: Tree = kind === 'missing' ? undefined : ((yield io.read()) ?? undefined)
      return { kind: 'tree', tree, text: undefined }
    }
    if (!this.#isLoaded || (!this.keepsJournal && hasJournal(this.path)))
      return yield* this.#load(mode, calls)
    const base = yield* this.#base.refresh(mode, calls)
    if (base) return yield* this.#load(mode, calls, base)
    if (this.keepsJournal) return yield* this.#refreshJournal(mode, calls)
    return isMarked(this.#base) ? yield* this.#load(mode, calls) : NONE
  }

  /** Whether both files are that to their ends. */
  *isFresh(calls: FileCalls): Steps<boolean> {
    const isFresh = this.#format.io
      ? this.#base.look('exclusive').kind === 'none'
      : (yield* this.#base.isFresh('exclusive', calls)) && (yield* this.#isJournalFresh(calls))
    if (!isFresh) this.forget()
    return isFresh
  }

  *#isJournalFresh(calls: FileCalls): Steps<boolean> {
    if (!this.keepsJournal) return !hasJournal(this.path)
    const { kind, bytes } = yield* this.#readJournal('exclusive', calls)
    if (kind === 'replaced') return this.#journal.isOnlyTouched(bytes)
    return kind === 'none' || (kind === 'missing' && !this.hasJournal)
  }

  forget(): void {
    this.#isLoaded = false
    this.#base.forget()
  }

  /** @throws LockLostError where the files have changed since `refresh`, StoreIoError */
  *write(changes: readonly string[], head: Head, calls: FileCalls): Steps<Written> {
    // A new file is written as a whole: there must be something that a journal is of.
    if (this.keepsJournal && changes.length > 0 && !this.isMissing)
      return yield* this.#append(changes, head, calls)
    yield* this.#replace(head, calls)
    return { done: changes.length }
  }

  /** @throws StoreIoError */
  *sync(calls: FileCalls): Steps<void> {
    try {
      if (this.hasJournal && !this.#journal.isSynced)
        yield calls.isBlocking ? this.#journal.syncBlocking() : this.#journal.syncNow()
      if (!this.#base.isSynced) yield* this.#base.sync(calls)
    } catch (cause) {
      if (!this.keepsJournal) throw cause
      this.#isDistrusted = true
      throw notSynced(this.path, cause)
    }
  }

  end(): void {
    this.#base.unlockData()
    this.#log?.unlockData()
  }

  close(): void {
    this.#isLoaded = false
    try {
      this.#base.close()
    } finally {
      this.#log?.close()
    }
  }

  get #journal(): LogFile {
    this.#log ??= new LogFile(journalOf(this.path), 0o600, this.isDurable || !this.keepsJournal)
    return this.#log
  }

  /** @param read the file, where that was read already */
  *#load(mode: LockMode, calls: FileCalls, read?: FileContent): Steps<Delta> {
    try {
      for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
        const delta = yield* this.#loadOnce(mode, calls, attempt === 0 ? read : undefined)
        if (delta) return delta
      }
      throw neverStill(this.path)
    } finally {
      // Who keeps no journal leaves none open.
      if (!this.keepsJournal) {
        this.#log?.close()
        this.hasJournal = false
      }
    }
  }

  /**
   * @returns undefined where a writer came between: who reads without the lock must have both files of one moment. The data
   * file is looked at again after the journal, since with each journal that is put into it it becomes another file.
   */
  *#loadOnce(mode: LockMode, calls: FileCalls, read: FileContent | undefined): Steps<Delta | undefined> {
    const base = this.#base
    this.#isLoaded = false
    let isJournaled = this.keepsJournal || hasJournal(this.path)
    if (!read) base.forget()
    const { text } = read ?? (yield* base.refresh(mode, calls)) ?? { text: undefined }
    isJournaled ||= isMarked(base) && hasJournal(this.path)
    this.#log?.forget()
    const { kind, bytes } = isJournaled ? yield* this.#readJournal(mode, calls) : MISSING
    if (mode === 'shared' && (isJournaled || isMarked(base)) && base.look(mode).kind !== 'none')
      return undefined
    this.hasJournal = false
    this.#know(text, isJournaled)
    const entries = kind === 'missing' ? undefined : entriesOf(bytes)
    if (isMarked(base) && entries?.base === undefined) throw journalGone(this.path)
    const tree = text === undefined ? undefined : treeOf(text, this.path, this.#format)
    if (entries) return yield* this.#replay(tree, text, bytes, entries, mode, calls)
    this.#isLoaded = true
    return { kind: 'tree', tree, text }
  }

  /** The tree with what is in the journal. */
  *#replay(
    base: Tree,
    baseText: string | undefined,
    bytes: Buffer,
    entries: Entries,
    mode: LockMode,
    calls: FileCalls,
  ): Steps<Delta | undefined> {
    requireJournal(this.path, bytes, entries)
    const relation = relationTo(this.#hash, entries)
    if (relation === 'stale') {
      if (mode === 'shared' && !(yield* this.#isStillStale(calls))) return undefined
      throw keepStale(this.path, entries, base)
    }
    this.#take(bytes, 'replaced', entries, mode)
    this.#isSpent = relation === 'spent'
    let [tree, text] = [base, baseText]
    if (!this.#isSpent) [tree, text] = [apply(base, entries.changes, this.path), undefined]
    else if (mode === 'exclusive') yield* this.#removeJournal(calls)
    this.#isLoaded = this.keepsJournal || mode === 'exclusive'
    if (this.keepsJournal) return { kind: 'tree', tree, text }
    if (mode === 'exclusive') {
      this.tookJournal = true
      if (this.hasJournal) {
        text = treeText(tree, this.path, this.#format)
        yield* this.#replace({ text, tree }, calls)
      }
    } else if (this.isDurable) yield* this.sync(calls)
    return { kind: 'tree', tree, text }
  }

  /** Asked before a reader puts a journal aside: with both files locked nobody else does anything about them meanwhile. */
  *#isStillStale(calls: FileCalls): Steps<boolean> {
    if (this.#base.look('exclusive').kind !== 'none') return false
    const { kind, bytes } = yield* this.#readJournal('exclusive', calls)
    return kind === 'replaced' && relationTo(this.#hash, entriesOf(bytes)) === 'stale'
  }

  /** The file is the one that is loaded, and so perhaps is the beginning of the journal. */
  *#refreshJournal(mode: LockMode, calls: FileCalls): Steps<Delta> {
    const { kind, bytes } = yield* this.#readJournal(mode, calls)
    if (kind === 'none') {
      if (this.#isSpent && mode === 'exclusive') yield* this.#removeJournal(calls)
      return NONE
    }
    if (kind === 'missing' && !this.hasJournal) return NONE
    if (
      kind === 'missing' ||
      (kind === 'replaced' && this.hasJournal && !this.#journal.isBeginningOf(bytes))
    ) {
      // It was put into the file, or nothing of it was ever whole.
      const isGone = !this.#isSpent && this.#journal.end > 0 && (yield* this.#base.isFresh(mode, calls))
      if (isGone) throw journalGone(this.path)
      return yield* this.#load(mode, calls)
    }
    const entries = entriesOf(bytes)
    const isNext = kind === 'tail' ? this.hasJournal && !this.#isSpent : !this.hasJournal
    if (!isNext || (kind === 'replaced' && entries.base !== this.#hash)) return yield* this.#load(mode, calls)
    this.#take(bytes, kind, entries, mode)
    return { kind: 'changes', changes: entries.changes }
  }

  *#readJournal(
    mode: LockMode,
    calls: FileCalls,
  ): Steps<{ kind: 'none' | 'missing' | 'replaced' | 'tail'; bytes: Buffer }> {
    const journal = this.#journal
    const found = journal.delta(mode)
    if (found.kind === 'missing' || found.kind === 'none') return { kind: found.kind, bytes: NOTHING }
    const { kind, from, to } = found
    requireReadable(journal.path, to - from)
    return { kind, bytes: yield journal.read(from, to - from, calls.isBlocking) }
  }

  #take(bytes: Buffer, kind: 'tail' | 'replaced', { end }: Entries, mode: LockMode): void {
    this.hasJournal = true
    this.#journal.apply(bytes, kind, end)
    if (mode === 'exclusive' && end < bytes.length) cutTorn(this.#journal, bytes.subarray(end))
  }

  *#append(changes: readonly string[], head: Head, calls: FileCalls): Steps<Written> {
    if (!(yield* this.isFresh(calls))) throw this.#base.changedMeanwhile()
    this.#base.requireWritable()
    const units = changes.map(unitOf)
    if (!this.hasJournal) this.#create()
    const log = this.#journal
    const isFirst = log.end === 0
    if (isFirst) units.unshift(firstUnit(this.#hash as string))
    const data = Buffer.concat(units)
    const written: { bytes: number; error: unknown } = yield log.append(data)
    let [whole, length] = [0, 0]
    for (const unit of units) {
      if (length + unit.length > written.bytes) break
      length += unit.length
      whole++
    }
    try {
      // A whole unit is never cut, whatever came after it: another process may have read it already.
      log.appended(data, length, written.bytes)
    } catch {
      // The rest could not be cut off now: the next writer finds a torn tail and mends it.
      this.#isLoaded = false
    }
    const done = Math.max(0, isFirst ? whole - 1 : whole)
    if (done > 0) this.#hasAppended = true
    if (done < changes.length) return { done, error: written.error }
    try {
      yield* this.#mark()
    } catch (unsynced) {
      this.#isDistrusted = true
      return { done, unsynced }
    }
    if (this.mustRewrite) {
      try {
        yield* this.#replace(head, calls)
      } catch (unsynced) {
        return { done, unsynced }
      }
    } else if (log.end > this.#checkpointAt) yield* this.#checkpointIfPossible(head, calls)
    return { done }
  }

  /** Marks the file, once, as one that has a journal; see `mark`. @throws what the fsync of the journal says */
  *#mark(): Steps<void> {
    if (this.#isMarkTried || isMarked(this.#base)) return
    yield this.#journal.syncNow()
    this.#base.withOpen(mark)
    this.#isMarkTried = true
  }

  /**
   * The journal has outgrown the file: the rule of Redis for its append-only file (`auto-aof-rewrite-percentage 100`, with
   * a smallest size), so that what is rewritten is at most what was added. What was written is in it, whatever comes of this.
   */
  *#checkpointIfPossible(head: Head, calls: FileCalls): Steps<void> {
    try {
      yield* this.#replace(head, calls)
    } catch (error) {
      // Not at once again.
      this.#checkpointAt = 2 * this.#journal.end
      process.emitWarning(
        harmless(`the journal of ${this.path} could not be put into the file: ${String(error)}`),
        { type: 'PsLockWarning', code: 'PSLOCK_CHECKPOINT' },
      )
    }
  }

  /** Replaces the file by its new content, and removes the journal, whose changes are in it. */
  *#replace(head: Head, calls: FileCalls): Steps<void> {
    const { io } = this.#format
    if (io) {
      yield io.write(head.tree)
      this.#base.wrote()
      return
    }
    const { text } = head
    const isJournaled = this.keepsJournal || this.hasJournal
    if (this.keepsJournal && !(yield* this.isFresh(calls))) throw this.#base.changedMeanwhile()
    if (this.hasJournal) {
      const [log, unit] = [this.#journal, lastUnit(hashOf(text))]
      const { bytes, error }: { bytes: number; error: unknown } = yield log.append(unit)
      log.appended(unit, bytes === unit.length ? bytes : 0, bytes)
      if (bytes < unit.length) throw storeFailure(journalOf(this.path), 'write', error)
      yield calls.isBlocking ? log.syncBlocking() : log.syncNow()
    }
    yield* this.#base.replace(text, this.isDurable || isJournaled, calls)
    this.#know(text, isJournaled)
    this.#isLoaded = true
    this.#hasAppended = false
    this.#isDistrusted = false
    if (!this.hasJournal) return
    // The file has everything: whoever comes next would remove it, too.
    this.#isSpent = true
    yield* this.#unlinkJournal(calls)
  }

  #create(): void {
    const file = statSync(this.path)
    if (file.nlink > 1) {
      throw new LockUnsupportedError(
        `cannot keep a journal of ${this.path}: it has ${file.nlink} hard links, and under the other names nobody would know of ` +
          'it. Remove the other links, or use a symbolic link, which is followed.',
        { path: this.path },
      )
    }
    // Who may read and write the file may do so with its journal.
    this.#journal.create(file)
    this.#isSpent = false
    this.hasJournal = true
  }

  /** Of a journal that a crash has left: the rename before it may not have reached the disk yet. */
  *#removeJournal(calls: FileCalls): Steps<void> {
    yield* syncNames(this.path, calls)
    yield* this.#unlinkJournal(calls)
  }

  *#unlinkJournal(calls: FileCalls): Steps<void> {
    try {
      unlinkSync(journalOf(this.path))
      // Else power loss could bring it back beside a later file.
      yield* syncNames(this.path, calls)
    } catch (cause) {
      throw new StoreIoError(
        `cannot remove ${journalOf(this.path)}. Everything in it is in ${this.path} now; the next operation tries again.`,
        { path: this.path, cause },
      )
    }
    this.#journal.close()
    this.hasJournal = false
    this.#isSpent = false
  }

  #know(text: string | undefined, isJournaled: boolean): void {
    this.#hash = isJournaled && text !== undefined ? hashOf(text) : undefined
    this.#text = this.keepsJournal ? undefined : text
    this.#checkpointAt = Math.max(SMALLEST_BYTES, text?.length ?? 0)
    this.#isSpent = false
    this.#isMarkTried = false
  }
}

const NOTHING = Buffer.alloc(0)
const MISSING = { kind: 'missing', bytes: NOTHING } as const
