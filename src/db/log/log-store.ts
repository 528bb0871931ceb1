import { LockLostError, type LockMode } from '../../errors.ts'
import { storeFailure } from '../../os/replace.ts'
import type { LogMemory, LogSession, OperationTraits } from '../adapter.ts'
import { type Copyable, copyable, readWritten } from '../dump/copyable.ts'
import { inspectJsonLines, logFormat } from '../dump/log-format.ts'
import type { Durability, OpenOptions } from '../options.ts'
import { untilUnsplit } from '../patience.ts'
import { OperationQueue } from '../queue/operation-queue.ts'
import { callListener } from '../queue/outside.ts'
import type { Commit, Pass } from '../queue/pass.ts'
import { notSynced, removalInTransaction } from '../queue/refusals.ts'
import { type Transacting, transacting } from '../transaction.ts'
import { Changes, type Segment } from './changes.ts'
import { LineHealth } from './line-health.ts'
import { LogFile } from './log-file.ts'
import { LogReader } from './log-reader.ts'
import { encodeUnits } from './unit.ts'

/**
 * One log store in this process: memory and file, and the passes that keep them equal. An operation changes memory
 * first and names its lines; the pass then writes the units of all its operations in one go. Whatever fails, memory
 * goes back to what the file says.
 */
export class LogStore implements LogSession, Pass {
  readonly #path: string
  readonly #options: OpenOptions
  readonly #durability: Durability
  readonly timeoutMs: number
  readonly queue: OperationQueue
  readonly transact: Transacting<void>['transact']
  readonly look: Transacting<void>['look']
  readonly #changes = new Changes(() => this.distrustMemory())
  readonly #attach: () => LogMemory
  copyable!: Copyable
  #file!: LogFile
  #memory!: LogMemory
  #health!: LineHealth
  #reader!: LogReader
  /** Memory may differ from the file (a failed catch-up): read everything at the next look. */
  #mustReload = true
  /** An fsync failed: the page cache can no longer be trusted, so the file is rewritten and synced anew. */
  #mustRewrite = false
  #created = false
  #prepared = false

  constructor(path: string, options: OpenOptions, attach: (session: LogSession) => LogMemory) {
    this.#path = path
    this.#options = options
    this.#durability = options.durability
    this.timeoutMs = options.timeoutMs
    this.queue = new OperationQueue(options.lock, this, path)
    const { transact, look } = transacting(this.queue)
    this.transact = transact
    this.look = look
    this.#attach = () => attach(this)
  }

  /** Wires the store to this session. Apart from the constructor, so that the adapter may already use the session. */
  start(): void {
    this.#memory = this.#attach()
    this.#file = new LogFile(this.#path, this.#memory.fileMode)
    this.#health = new LineHealth(this.#path, this.#memory.corruptThreshold)
    this.#reader = new LogReader(this.#file, this.#memory, this.#health)
    this.copyable = copyable(this.#path, this.#options, this.queue, {
      format: logFormat('log', this.#memory.inspect ?? inspectJsonLines, async () => {
        await this.#prepare()
        return this.#memory.coder
      }),
      read: () => readWritten(this.#path, this.queue, () => this.#file.end),
    })
  }

  get running(): LockMode | undefined {
    return this.#changes.running
  }

  get isInside(): boolean {
    return this.queue.isInside()
  }

  get revision(): number {
    return this.#changes.revision
  }

  perform<T>(mode: LockMode, run: () => T, traits?: OperationTraits): Promise<Awaited<T>> {
    return this.queue.push(mode, run, traits)
  }

  append(lines: readonly string[]): void {
    this.#changes.append(lines)
  }

  onUndo(undo: () => void): void {
    this.#changes.onUndo(undo)
  }

  afterwards(run: () => void): void {
    const { segment } = this.#changes
    if (segment && this.queue.isInside('exclusive')) segment.afterwards.push(run)
    else callListener(run)
  }

  distrustMemory(): void {
    this.#mustReload = true
  }

  create(): void {
    if (this.#file.exists) return
    this.#file.create()
    this.#created = true
    this.#changes.revision++
  }

  drop(): void {
    if (this.#changes.isNested) throw removalInTransaction(this.#path)
    this.#file.remove()
    this.#changes.revision++
    this.#changes.written()
  }

  async compact(): Promise<void> {
    this.#changes.revision++
    // The file must stay as it is until the transaction has ended well.
    if (this.#changes.isNested) this.#changes.compactAtCommit = true
    else await this.#rewrite()
  }

  async #rewrite(): Promise<void> {
    if (this.#file.applied < this.#file.end) throw new Error(`${this.#path} would lose what was passed over`)
    this.#health.keepBadLines()
    const lines = this.#memory.lines()
    const coder = this.#memory.coder
    if (coder) for (const [index, line] of lines.entries()) lines[index] = await coder.encode(line)
    await this.#file.replace(Buffer.from(lines.length === 0 ? '' : `${lines.join('\n')}\n`), true)
    // What this pass had not written yet is in the new file.
    this.#changes.written()
    this.#health.reset(lines.length)
    this.#mustRewrite = false
  }

  async close(): Promise<void> {
    await this.queue.idle()
    this.#file.close()
    this.#mustReload = true
  }

  // --- Pass ---

  async catchUp(mode: LockMode, isBlind: boolean): Promise<void> {
    this.#changes.take()
    try {
      await this.#prepare()
      if (this.#mustReload) this.#file.forget()
      const mayPassOver = isBlind && !this.#memory.coder && !this.#mustRewrite
      const news = await untilUnsplit(this.timeoutMs, () =>
        mayPassOver && this.#file.passOver(mode) ? undefined : this.#file.news(mode),
      )
      if (!news || news.kind === 'none') return
      this.#mustReload = true
      this.#mustReload = await this.#reader.take(news, mode)
    } catch (error) {
      if (this.#mustReload) this.#memory.apply([], true)
      throw storeFailure(this.#path, 'read', error)
    }
  }

  readNow<T>(look: () => T): { readonly value: T } | undefined {
    return this.#catchUpNow() ? { value: this.#changes.looking(look) } : undefined
  }

  /** Without the lock: a unit that is being written at this moment is none yet. */
  #catchUpNow(): boolean {
    if (this.#mustReload || this.#mustRewrite || this.#memory.coder) return false
    try {
      const news = this.#file.newsNow()
      if (!news) return false
      if (news.kind === 'tail' && !this.#reader.takeWhole(news.bytes)) return false
      return this.#durability !== 'disk' || (this.#file.isSynced && !this.#created)
    } catch {
      // The long way reads everything, meets it again and says what it is.
      this.#mustReload = true
      return false
    }
  }

  run(operation: () => unknown, mode: LockMode): Promise<unknown> {
    return this.#changes.run(operation, mode)
  }

  savepoint(operation: () => unknown, mode: LockMode): Promise<unknown> {
    return this.#changes.savepoint(operation, mode)
  }

  isFresh(): Promise<boolean> {
    return this.#file.isFresh()
  }

  abandon(): void {
    this.#changes.abandon()
  }

  async commit(): Promise<Commit> {
    const { compactAtCommit, hadInner } = this.#changes
    const segments = this.#changes.take()
    try {
      if (!compactAtCommit && !segments.some((segment) => segment.lines.length > 0)) {
        return this.#committed(segments, segments.length)
      }
      if (hadInner && !(await this.isFresh())) throw this.#changedMeanwhile()
      if (!compactAtCommit && !this.#mustRewrite) return await this.#write(segments)
      await this.#rewrite()
      return this.#committed(segments, segments.length)
    } catch (error) {
      return this.#failed(segments, 0, error)
    } finally {
      this.#changes.written(segments)
    }
  }

  end(): void {
    this.#file.unlockData()
  }

  async #prepare(): Promise<void> {
    if (!this.#prepared) await this.#memory.prepare?.()
    this.#prepared = true
  }

  /** Writes the units of all segments in one go. */
  async #write(segments: readonly Segment[]): Promise<Commit> {
    if (!this.#file.exists) {
      this.#file.create()
      this.#created = true
    }
    const lines = segments.map((segment) => segment.lines)
    const { data, ends } = await encodeUnits(lines, this.#file.end, this.#memory.coder)
    const { length } = data
    // Behind what was passed over they are counted when they are read with it.
    if (this.#file.applied === this.#file.end) for (const unit of lines) this.#health.goodLines += unit.length
    const written = await this.#file.append(data)
    if (written.bytes === length) {
      this.#file.appended(data, length, length)
      return this.#committed(segments, segments.length)
    }
    // A complete unit is never cut, whatever came after it: another process may have read it already.
    const committed = ends.filter((end) => end <= written.bytes).length
    try {
      this.#file.appended(data, ends[committed - 1] ?? 0, written.bytes)
    } catch {
      // The rest could not be cut off now: the next writer finds a torn tail and mends it.
      this.#mustReload = true
    }
    return this.#failed(segments, committed, written.error)
  }

  #failed(segments: readonly Segment[], from: number, cause: unknown): Commit {
    // Operations without lines ahead of the one that failed have seen nothing but what is in the file.
    let committed = from
    while (segments[committed]?.lines.length === 0) committed++
    const mark = segments[committed]?.undoMark
    if (mark !== undefined) this.#changes.rollBack(mark)
    const error = storeFailure(this.#path, 'write', cause)
    return { ...this.#committed(segments, committed), error }
  }

  #changedMeanwhile(): LockLostError {
    return new LockLostError(
      `${this.#path} was changed while a transaction on it ran: by another store object inside that transaction, or by ` +
        'a program that does not lock. The transaction was undone; do it again.',
      { path: this.#path },
    )
  }

  /** With durability 'disk' nothing resolves, reads included, before everything it saw is on the disk. */
  #committed(segments: readonly Segment[], committed: number): Commit {
    const afterwards = segments.slice(0, committed).flatMap((segment) => segment.afterwards)
    if (this.#durability !== 'disk' && afterwards.length === 0) return { committed }
    const settle = async () => {
      if (this.#durability === 'disk') await this.#sync()
      for (const run of afterwards) callListener(run)
    }
    return { committed, settle }
  }

  async #sync(): Promise<void> {
    if (this.#file.isSynced && !this.#created) return
    try {
      await this.#file.syncNow(this.#created)
      this.#created = false
    } catch (cause) {
      this.#mustRewrite = true
      throw notSynced(this.#path, cause)
    }
  }
}
