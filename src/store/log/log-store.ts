import { LockLostError, type LockMode } from '../../errors.ts'
import { type Copyable, copyable, readWritten } from '../../features/backup/copyable.ts'
import { inspectJsonLines, logFormat } from '../../features/backup/log-format.ts'
import { storeFailure } from '../../os/replace.ts'
import type { LogMemory, LogSession, OperationTraits } from '../adapter.ts'
import { OperationQueue } from '../operation-queue.ts'
import type { OpenLogOptions } from '../options.ts'
import { callListener } from '../outside.ts'
import type { Commit, Pass } from '../pass.ts'
import { untilUnsplit } from '../patience.ts'
import { removalInTransaction } from '../refusals.ts'
import { type Transacting, transacting } from '../transaction.ts'
import { Changes } from './changes.ts'
import { Compaction } from './compaction.ts'
import { LineHealth } from './line-health.ts'
import { LogFile } from './log-file.ts'
import { LogReader, type Taken } from './log-reader.ts'
import { LogWriter } from './log-writer.ts'
import { isThrownByHook, type LineCoder } from './unit.ts'

/**
 * One log store in this process: memory and file, and the passes that keep them equal. An operation changes memory
 * first and names its lines; the pass then writes the units of all its operations in one go. Whatever fails, memory
 * goes back to what the file says.
 */
export class LogStore implements LogSession, Pass {
  readonly path: string
  readonly #options: OpenLogOptions
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
  #writer!: LogWriter
  #compaction!: Compaction
  /** Memory may differ from the file (a failed catch-up): read everything at the next look. */
  #mustReload = true
  #prepared = false

  constructor(path: string, options: OpenLogOptions, attach: (session: LogSession) => LogMemory) {
    this.path = path
    this.#options = options
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
    this.#file = new LogFile(this.path, this.#memory.fileMode, this.#options.durability === 'disk')
    this.#health = new LineHealth(this.path, this.#memory.corruptThreshold, () => this.#memory.coder?.thrown)
    this.#reader = new LogReader(this.#file, this.#memory, this.#health)
    this.#writer = new LogWriter({
      file: this.#file,
      memory: this.#memory,
      health: this.#health,
      changes: this.#changes,
      durability: this.#options.durability,
      distrustMemory: () => this.distrustMemory(),
    })
    this.#compaction = new Compaction(
      {
        file: this.#file,
        memory: this.#memory,
        health: this.#health,
        queue: this.queue,
        rewrite: () => this.#writer.rewrite(),
        doOthersWait: () => this.#options.lock.holders().some(({ state }) => state === 'waiting'),
      },
      this.#options.compaction === 'manual',
    )
    this.copyable = copyable(this.path, this.#options, this.queue, {
      format: logFormat('log', this.#memory.inspect ?? inspectJsonLines, async () => {
        await this.#prepare()
        return this.#memory.coder
      }),
      read: () => readWritten(this.path, this.queue, () => this.#file.end),
    })
  }

  get running(): LockMode | undefined {
    return this.#changes.running
  }

  get now(): number {
    return this.queue.now
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

  append(lines: readonly string[]): Promise<void> | void {
    const { coder } = this.#memory
    return coder ? this.#appendWith(coder, lines) : this.#changes.append(lines)
  }

  /** Now, and not when they are written: what a hook throws is of this operation alone. */
  async #appendWith(coder: LineCoder, lines: readonly string[]): Promise<void> {
    const encoded: string[] = []
    for (const line of lines) encoded.push(await coder.encode(line))
    this.#changes.append(encoded)
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
    if (this.#writer.create()) this.#changes.revision++
  }

  drop(): void {
    if (this.#changes.isNested) throw removalInTransaction(this.path)
    this.#file.remove()
    this.#changes.revision++
    this.#changes.written()
  }

  async compact(ifStale = false): Promise<void> {
    // What was not written yet is more lines in memory than in the file.
    if (ifStale && !this.#changes.hasLines && !this.#writer.mustRewrite && this.#compaction.isCompact) return
    this.#changes.revision++
    // The file must stay as it is until the transaction has ended well.
    if (this.#changes.isNested) this.#changes.compactAtCommit = true
    else await this.#writer.rewrite()
  }

  get endsTorn(): boolean {
    return this.#reader.isTorn
  }

  async close(): Promise<void> {
    await this.#compaction.close()
    await this.queue.idle()
    this.#file.close()
    this.#memory.close?.()
    this.#mustReload = true
  }

  // --- Pass ---

  catchUp(mode: LockMode, isBlind: boolean): Promise<void> | void {
    this.#changes.take()
    try {
      if (this.#catchUpNow(mode, isBlind)) return
    } catch (error) {
      // The long way waits for its end.
      if (!(error instanceof LockLostError)) throw this.#readFailure(error)
    }
    return this.#catchUp(mode, true).then(() => {})
  }

  async catchUpUnlocked(): Promise<boolean> {
    this.#changes.take()
    if (this.#writer.mustRewrite) return false
    try {
      if (this.#catchUpNow('shared', false)) return true
    } catch (error) {
      throw this.#readFailure(error)
    }
    return (await this.#catchUp('shared', false)) !== 'changed'
  }

  async #catchUp(mode: LockMode, isLocked: boolean): Promise<Taken> {
    try {
      await this.#prepare()
      if (this.#mustReload) this.#file.forget()
      const unread = await untilUnsplit(this.timeoutMs, () => this.#file.view.unread(mode))
      if (unread.kind === 'none') return 'all'
      if (unread.kind !== 'tail') this.#compaction.reset()
      this.#mustReload = true
      const taken = await this.#reader.take(unread, mode, isLocked)
      this.#mustReload = taken !== 'all'
      return taken
    } catch (error) {
      if (this.#mustReload && !this.#reader.isTaken) this.#memory.apply([], true)
      throw this.#readFailure(error)
    }
  }

  #readFailure(error: unknown): unknown {
    return isThrownByHook(this.#memory.coder, error) ? error : storeFailure(this.path, 'read', error)
  }

  readNow<T>(look: () => T): { readonly value: T } | undefined {
    try {
      // Without the lock: a unit that is being written at this moment is none yet.
      if (!this.#catchUpNow('shared', false) || !this.#writer.isSettled) return undefined
    } catch {
      // Under the lock it is met again, or was of this moment.
      return undefined
    } finally {
      this.#file.unlockData()
    }
    return { value: this.#changes.looking(look) }
  }

  /** @returns false where it takes the lock, or time. @throws what `LogView.news` throws */
  #catchUpNow(mode: LockMode, isBlind: boolean): boolean {
    if (!this.#prepared || this.#mustReload || this.#writer.mustRewrite || this.#memory.coder) return false
    if (isBlind && this.#file.view.passOver(mode)) return true
    const news = this.#file.view.newsNow(mode)
    if (news?.kind !== 'tail') return news !== undefined
    try {
      return this.#reader.takeWhole(news.bytes, mode)
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

  isFresh(): boolean {
    return this.#file.view.isFresh()
  }

  abandon(): void {
    this.#changes.abandon()
  }

  commit(): Promise<Commit> | Commit {
    return this.#writer.commit()
  }

  settle(): Promise<void> {
    return this.#writer.settle()
  }

  end(): void {
    this.#file.unlockData()
    this.#compaction.passed()
  }

  async #prepare(): Promise<void> {
    if (!this.#prepared) await this.#memory.prepare?.()
    this.#prepared = true
  }
}
