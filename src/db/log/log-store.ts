import { unlinkSync } from 'node:fs'
import { errnoOf, type LockMode, StoreIoError } from '../../errors.ts'
import { outsideHolds } from '../../lock/shared-state.ts'
import { storeFailure } from '../../os/replace.ts'
import type { LogMemory, LogSession } from '../adapter.ts'
import { type Commit, OperationQueue, type Pass } from '../operation-queue.ts'
import type { Durability, OpenOptions } from '../options.ts'
import { untilUnsplit } from '../patience.ts'
import { UndoLog } from '../undo-log.ts'
import { LineHealth } from './line-health.ts'
import { LogFile } from './log-file.ts'
import { LogReader } from './log-reader.ts'
import { encodeUnit, encodeUnitWith } from './unit.ts'

/** What one operation of the pass did: the lines of its unit, and where its undo steps begin. */
interface Segment {
  readonly undoMark: number
  lines: readonly string[]
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
  #prepared = false
  #afterwards: (() => void)[] = []

  constructor(path: string, options: OpenOptions, attach: (session: LogSession) => LogMemory) {
    this.#path = path
    this.#durability = options.durability
    this.timeoutMs = options.timeoutMs
    this.#queue = new OperationQueue(options.lock, this)
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

  append(lines: readonly string[]): void {
    const segment = this.#segments.at(-1)
    if (!segment || this.#running !== 'exclusive') throw new Error('append() outside an exclusive operation')
    segment.lines = segment.lines.length === 0 ? lines : [...segment.lines, ...lines]
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
    this.#segments.push(segment)
    this.#running = mode
    try {
      return await operation()
    } catch (error) {
      this.#rollBack(segment.undoMark)
      segment.lines = []
      throw error
    } finally {
      this.#running = undefined
    }
  }

  async commit(): Promise<Commit> {
    const segments = this.#segments
    this.#segments = []
    const settle = this.#settle()
    try {
      if (!segments.some((segment) => segment.lines.length > 0)) return { committed: segments.length, settle }
      if (!this.#mustRewrite) return await this.#write(segments, settle)
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
    for (const segment of this.#segments) segment.lines = []
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
