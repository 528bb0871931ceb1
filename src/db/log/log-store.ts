import { unlinkSync } from 'node:fs'
import { errnoOf, type LockMode, StoreIoError, TransactionError } from '../../errors.ts'
import type { AcquireOptions } from '../../lock/options.ts'
import { outsideHolds } from '../../lock/shared-state.ts'
import { storeFailure } from '../../os/replace.ts'
import type { LogMemory, LogSession } from '../adapter.ts'
import { OperationQueue } from '../operation-queue.ts'
import type { Durability, OpenOptions } from '../options.ts'
import type { Commit, Pass } from '../pass.ts'
import { untilUnsplit } from '../patience.ts'
import { type Transacting, type TransactionOptions, transacting } from '../transaction.ts'
import { UndoLog } from '../undo-log.ts'
import { LineHealth } from './line-health.ts'
import { LogFile } from './log-file.ts'
import { LogReader } from './log-reader.ts'
import { encodeUnit, encodeUnitWith } from './unit.ts'

/** What one operation of the pass did: the lines of its unit, and where its undo steps begin. */
interface Segment {
  readonly undoMark: number
  readonly lines: string[]
}

type Settle = Commit['settle']

/**
 * One log store in this process: memory and file, and the passes that keep them equal. An operation changes memory
 * first and names its lines; the pass then writes the units of all its operations in one go. Whatever fails, memory
 * goes back to what the file says.
 */
export class LogStore implements LogSession, Pass {
  readonly #path: string
  readonly #durability: Durability
  readonly timeoutMs: number
  readonly #queue: OperationQueue
  readonly #doors: Transacting<void>
  readonly #undo = new UndoLog()
  readonly #attach: () => LogMemory
  #file!: LogFile
  #memory!: LogMemory
  #health!: LineHealth
  #reader!: LogReader
  #segments: Segment[] = []
  #running: LockMode | undefined
  /** Memory may differ from the file (a failed catch-up): read everything at the next look. */
  #mustReload = true
  /** An fsync failed: the page cache can no longer be trusted, so the file is rewritten and synced anew. */
  #mustRewrite = false
  #created = false
  /** How many operations run inside one another, the outermost not counted. */
  #depth = 0
  #compactAtCommit = false
  #prepared = false
  #afterwards: (() => void)[] = []

  constructor(path: string, options: OpenOptions, attach: (session: LogSession) => LogMemory) {
    this.#path = path
    this.#durability = options.durability
    this.timeoutMs = options.timeoutMs
    this.#queue = new OperationQueue(options.lock, this)
    this.#doors = transacting(this.#queue)
    this.#attach = () => attach(this)
  }

  /** Wires the store to this session. Apart from the constructor, so that the adapter may already use the session. */
  start(): void {
    this.#memory = this.#attach()
    this.#file = new LogFile(this.#path, this.#memory.fileMode)
    this.#health = new LineHealth(this.#path, this.#memory.corruptThreshold)
    this.#reader = new LogReader(this.#file, this.#memory, this.#health)
  }

  get running(): LockMode | undefined {
    return this.#running
  }

  perform<T>(mode: LockMode, run: () => T): Promise<Awaited<T>> {
    return this.#queue.push(mode, run)
  }

  transact<T>(run: () => T, options: TransactionOptions): Promise<Awaited<T>> {
    return this.#doors.transact(run, options)
  }

  look<T>(run: () => T, options: AcquireOptions): Promise<Awaited<T>> {
    return this.#doors.look(run, options)
  }

  append(lines: readonly string[]): void {
    const segment = this.#segments.at(-1)
    if (!segment || this.#running !== 'exclusive') throw new Error('append() outside an exclusive operation')
    for (const line of lines) segment.lines.push(line)
  }

  onUndo(undo: () => void): void {
    if (this.#running) this.#undo.push(undo)
  }

  afterwards(run: () => void): void {
    this.#afterwards.push(run)
  }

  distrustMemory(): void {
    this.#mustReload = true
  }

  create(): void {
    if (this.#file.exists) return
    this.#file.create()
    this.#created = true
  }

  drop(): void {
    if (this.#depth > 0) {
      throw new TransactionError(
        `${this.#path} cannot be removed inside a transaction, which could not be undone. Do it outside.`,
        { path: this.#path },
      )
    }
    this.#file.close()
    for (const path of [this.#path, `${this.#path}~`]) {
      try {
        unlinkSync(path)
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw storeFailure(path, 'remove', error)
      }
    }
    this.#discard()
  }

  async compact(): Promise<void> {
    if (this.#depth > 0) {
      // The file must stay as it is until the transaction has ended well.
      this.#compactAtCommit = true
      return
    }
    this.#health.keepBadLines()
    const lines = this.#memory.lines()
    const coder = this.#memory.coder
    if (coder) for (const [index, line] of lines.entries()) lines[index] = await coder.encode(line)
    await this.#file.replace(Buffer.from(lines.length === 0 ? '' : `${lines.join('\n')}\n`), true)
    // What this pass had not written yet is in the new file.
    this.#discard()
    this.#health.reset(lines.length)
    this.#mustRewrite = false
  }

  async close(): Promise<void> {
    await this.#queue.idle()
    this.#file.close()
    this.#mustReload = true
  }

  // --- Pass ---

  async catchUp(mode: LockMode): Promise<void> {
    this.#segments = []
    try {
      if (!this.#prepared) await this.#memory.prepare?.()
      this.#prepared = true
      if (this.#mustReload) this.#file.forget()
      const news = await untilUnsplit(this.timeoutMs, () => this.#file.news(mode))
      if (news.kind === 'none') return
      this.#mustReload = true
      this.#mustReload = await this.#reader.take(news, mode)
    } catch (error) {
      if (this.#mustReload) this.#memory.apply([], true)
      throw storeFailure(this.#path, 'read', error)
    }
  }

  async run(operation: () => unknown, mode: LockMode): Promise<unknown> {
    const segment: Segment = { undoMark: this.#undo.mark(), lines: [] }
    const { length: afterwards } = this.#afterwards
    this.#segments.push(segment)
    this.#running = mode
    try {
      return await operation()
    } catch (error) {
      this.#rollBack(segment.undoMark)
      segment.lines.length = 0
      this.#afterwards.length = afterwards
      this.#compactAtCommit = false
      throw error
    } finally {
      this.#running = undefined
    }
  }

  async savepoint(operation: () => unknown, mode: LockMode): Promise<unknown> {
    const { length: lines } = this.#segments.at(-1)?.lines ?? []
    const before = { undo: this.#undo.mark(), afterwards: this.#afterwards.length, running: this.#running }
    const compactAtCommit = this.#compactAtCommit
    this.#running = mode
    this.#depth++
    try {
      return await operation()
    } catch (error) {
      this.#rollBack(before.undo)
      const segment = this.#segments.at(-1)
      if (segment) segment.lines.length = lines
      this.#afterwards.length = before.afterwards
      this.#compactAtCommit = compactAtCommit
      throw error
    } finally {
      this.#depth--
      this.#running = before.running
    }
  }

  isFresh(): Promise<boolean> {
    return this.#file.isFresh()
  }

  abandon(): void {
    const [first] = this.#segments
    if (first) this.#rollBack(first.undoMark)
    this.#segments = []
    this.#afterwards = []
    this.#compactAtCommit = false
    this.#undo.clear()
  }

  async commit(): Promise<Commit> {
    const segments = this.#segments
    this.#segments = []
    const settle = this.#settle()
    try {
      const rewrite = this.#compactAtCommit
      this.#compactAtCommit = false
      if (!rewrite && !segments.some((segment) => segment.lines.length > 0)) {
        return { committed: segments.length, settle }
      }
      if (!rewrite && !this.#mustRewrite) return await this.#write(segments, settle)
      await this.compact()
      return { committed: segments.length, settle }
    } catch (error) {
      return this.#failed(segments, 0, error, settle)
    } finally {
      this.#undo.clear()
    }
  }

  end(): void {
    this.#file.unlockData()
  }

  /** Writes the units of all segments in one go. */
  async #write(segments: readonly Segment[], settle: Settle): Promise<Commit> {
    if (!this.#file.exists) {
      this.#file.create()
      this.#created = true
    }
    const units: Buffer[] = []
    const ends: number[] = []
    let length = 0
    for (const { lines } of segments) {
      if (lines.length > 0) {
        const offset = this.#file.end + length
        const coder = this.#memory.coder
        const unit = coder ? await encodeUnitWith(coder, lines, offset) : encodeUnit(lines, offset)
        units.push(unit)
        length += unit.length
        this.#health.goodLines += lines.length
      }
      ends.push(length)
    }
    const data = units.length === 1 ? (units[0] as Buffer) : Buffer.concat(units, length)
    const written = await this.#file.append(data)
    if (written.bytes === length) {
      this.#file.appended(data, length, length)
      return { committed: segments.length, settle }
    }
    // A complete unit is never cut, whatever came after it: another process may have read it already.
    const committed = ends.filter((end) => end <= written.bytes).length
    try {
      this.#file.appended(data, ends[committed - 1] ?? 0, written.bytes)
    } catch {
      // The rest could not be cut off now: the next writer finds a torn tail and mends it.
      this.#mustReload = true
    }
    return this.#failed(segments, committed, written.error, settle)
  }

  #failed(segments: readonly Segment[], from: number, cause: unknown, settle: Settle): Commit {
    // Operations without lines ahead of the one that failed have seen nothing but what is in the file.
    let committed = from
    while (segments[committed]?.lines.length === 0) committed++
    const mark = segments[committed]?.undoMark
    if (mark !== undefined) this.#rollBack(mark)
    return { committed, error: storeFailure(this.#path, 'write', cause), settle }
  }

  #rollBack(mark: number): void {
    try {
      this.#undo.backTo(mark)
    } catch {
      // The store would not take its own old state back: its memory is read anew from the file.
      this.#mustReload = true
    }
  }

  /** With durability 'disk' nothing resolves, reads included, before everything it saw is on the disk. */
  #settle(): Settle {
    const afterwards = this.#afterwards
    this.#afterwards = []
    if (this.#durability !== 'disk' && afterwards.length === 0) return undefined
    return async () => {
      if (this.#durability === 'disk') await this.#sync()
      for (const run of afterwards) callListener(run)
    }
  }

  async #sync(): Promise<void> {
    if (this.#file.isSynced && !this.#created) return
    try {
      await this.#file.syncNow(this.#created)
      this.#created = false
    } catch (cause) {
      this.#mustRewrite = true
      throw new StoreIoError(
        `fsync of ${this.#path} failed: the operation is in the file, but whether it survives power loss is unknown. ` +
          'The file is rewritten before the next durable operation is acknowledged.',
        { path: this.#path, cause },
      )
    }
  }

  #discard(): void {
    for (const segment of this.#segments) segment.lines.length = 0
    this.#undo.clear()
  }
}

/** The user's own code: it runs outside every hold, and what it throws is its own business, not the operation's. */
function callListener(run: () => void): void {
  try {
    outsideHolds(run)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
