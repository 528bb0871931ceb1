import { LockLostError, type LockMode } from '../../errors.ts'
import { type LocalQueue, mustTurn } from '../../lock/local-queue.ts'
import { lockInternals } from '../../lock/lock.ts'
import { BUSY, DONE, type Gate, type Native, NEWS, native, ODD } from '../../os/native.ts'
import { storeFailure } from '../../os/replace.ts'
import type { LogMemory, StraightOperation } from '../adapter.ts'
import { FileStoreLock, untilUnsplit } from '../data-file.ts'
import { type Commit, removalInTransaction } from '../engine.ts'
import type { OpenLogOptions } from '../options.ts'
import { IS_STRAIGHT, type Pipeline } from '../pipeline.ts'
import { readSnapshot, type Snapshot } from '../snapshot.ts'
import type { StoreLock } from '../store-lock.ts'
import type { WriteSet } from '../write-set.ts'
import { Compaction } from './compaction.ts'
import { LogFile } from './log-file.ts'
import { CorruptionMonitor, LogReader, type Taken } from './log-reader.ts'
import { LogWriter } from './log-writer.ts'
import type { LogStorage, StorageParts } from './storage.ts'
import { isThrownByHook } from './units.ts'

/** A longer line is not written at once: see os/io.ts. In characters, of which some have three bytes. */
const LONGEST_LINE = 2 ** 14

/** A process that has looked so often pays the two milliseconds that the addon takes to load. */
const OFTEN = 100

/** Takes the lock at once. @returns false where somebody else has it; undefined where only the general path can take it */
type Enter = (ask?: (turnFd: number) => boolean) => LocalQueue | false | undefined

/** Keeps the content of a log store in a file of lines: what an operation does is appended, until the file is rewritten. */
export class FileStorage implements LogStorage {
  readonly path: string
  readonly timeoutMs: number
  readonly lock: StoreLock
  readonly #options: OpenLogOptions
  #queue!: Pipeline
  #writeSet!: WriteSet
  #file!: LogFile
  #memory!: LogMemory
  #health!: CorruptionMonitor
  #reader!: LogReader
  #writer!: LogWriter
  #compaction!: Compaction
  /** Memory may differ from the file (a failed refresh): read everything at the next look. */
  #mustReload = true
  /** Of the present batch. */
  #mode: LockMode = 'shared'
  #prepared = false
  /** null: it is not installed. */
  #addon: Native | null | undefined
  #looks = 0
  #gate: Gate | undefined

  constructor(options: OpenLogOptions) {
    this.path = options.path
    this.timeoutMs = options.timeoutMs
    this.lock = new FileStoreLock(options.lock)
    this.#options = options
  }

  get file(): string {
    return this.path
  }

  start({ memory, writeSet, queue }: StorageParts): void {
    this.#memory = memory
    this.#writeSet = writeSet
    this.#queue = queue
    const { fileMode, corruptThreshold } = memory
    const { durability, compaction, lock } = this.#options
    const isDurable = durability === 'disk'
    this.#file = new LogFile(this.path, fileMode, isDurable)
    this.#health = new CorruptionMonitor(this.path, corruptThreshold, () => memory.coder?.thrown)
    this.#reader = new LogReader(this.#file, memory, this.#health)
    const parts = { file: this.#file, memory, health: this.#health }
    const distrustMemory = () => this.distrustMemory()
    this.#writer = new LogWriter({ ...parts, writeSet, isDurable, distrustMemory })
    const rewrite = () => this.#writer.rewrite()
    const doOthersWait = () => lock.holders().some(({ state }) => state === 'waiting')
    this.#compaction = new Compaction({ ...parts, queue, rewrite, doOthersWait }, compaction === 'manual')
  }

  async prepare(): Promise<void> {
    if (!this.#prepared) await this.#memory.prepare?.()
    this.#prepared = true
  }

  distrustMemory(): void {
    this.#mustReload = true
  }

  get mustRewrite(): boolean {
    // The adapter may ask before the start.
    return this.#writer?.sync.failure !== undefined
  }

  get endsTorn(): boolean {
    return this.#reader.isTorn
  }

  straight<T>(operation: StraightOperation<T>, general: () => Promise<T>): Promise<T> | undefined {
    if (!IS_STRAIGHT || !this.#isSteady || !this.#queue.isQuiet) return undefined
    if (operation.prepare?.() === false) return undefined
    const { isDurable } = this.#writer
    if (!isDurable && !mustTurn()) {
      try {
        const answer = this.#attempt(operation)
        if (typeof answer !== 'number') return this.#queue.taken(answer.value as T)
        if (answer === ODD) return undefined
      } catch (error) {
        return Promise.reject(error)
      }
    }
    let enter = isDurable ? this.#enterFirst : this.#askAgain
    // Not self-contained: it may call `general`, which is a part of it then.
    const run = () => this.#runHeld(operation, general)
    const issued = {
      isBlind: () => operation.isBlind,
      attempt: () => {
        const answer = this.#attempt(operation, enter)
        enter = this.#askAgain
        return typeof answer === 'number' ? answer === BUSY : answer
      },
    }
    // What waits for the disk waits for the end of its tick first: those issued together share a hold, and an fsync.
    const done = isDurable ? this.#queue.write(run, issued) : this.#queue.push('exclusive', run, issued)
    return done as Promise<T>
  }

  /** As `#attempt`, in a hold: the batch commits it. */
  #runHeld<T>(operation: StraightOperation<T>, general: () => Promise<T>): T | Promise<T> {
    const line = operation.line()
    if (line === null) return general()
    if (line !== undefined) {
      this.#writeSet.append([line])
      this.#writeSet.onUndo(() => operation.undo())
    }
    return operation.apply()
  }

  /** @returns BUSY or ODD where nothing has happened @throws what it fails with */
  #attempt<T>(
    operation: StraightOperation<T>,
    enter = this.#enterFirst,
  ): { readonly value: T | Promise<T> } | number {
    if (!this.#isSteady) return ODD
    if (this.#addon === undefined) this.#addon = native() ?? null
    const addon = this.#addon
    if (addon) {
      const answer = this.#throughGate(addon, operation, enter)
      // What is odd is looked at below.
      if (answer !== ODD) return answer
    }
    // Lock.
    const queue = enter()
    if (!queue) return queue === false ? BUSY : ODD
    let value: T
    try {
      // Refresh.
      if (!this.#isRefreshed(operation.isBlind)) return ODD
      // Run.
      const line = operation.line()
      if (line === null || (line !== undefined && line.length > LONGEST_LINE)) return ODD
      // Append.
      if (line !== undefined) {
        this.#file.appendLine(line)
        // Behind what was skipped it is counted when that is read.
        if (this.#file.applied === this.#file.end) this.#health.goodLines++
      }
      value = operation.apply()
    } finally {
      // Release.
      this.#file.unlockData()
      queue.leave()
    }
    return this.#settled(value)
  }

  /** The last step, without the lock. */
  #settled<T>(value: T): { readonly value: T | Promise<T> } {
    if (this.#file.end >= this.#compaction.lookAt) this.#compaction.passed()
    // With durability 'disk' everything that it saw must be on the disk.
    const isSettled = !this.#writer.isDurable || this.#file.isSynced
    return { value: isSettled ? value : this.#writer.sync.settle().then(() => value) }
  }

  /** The same five steps by the addon, in one call or two. */
  #throughGate<T>(
    addon: Native,
    operation: StraightOperation<T>,
    enter: Enter,
  ): { readonly value: T | Promise<T> } | number {
    const blind = operation.isBlind ? operation.line() : undefined
    if (blind === null || (blind !== undefined && blind.length > LONGEST_LINE)) return ODD
    const lock = lockInternals.openFile(this.#options.lock)
    const data = this.#file.known
    if (!lock || !data) return ODD
    lock.used()
    data.used()
    const gate = this.#gateOf(addon)
    let value: T
    let answer = BUSY
    // The update may have getters, whose code may open files, so that idle ones are closed.
    const mayClose = [lock.keepOpen(), data.keepOpen()]
    let queue: ReturnType<Enter>
    try {
      queue = enter((turnFd) => {
        const [lockFd, dataFd] = [lock.fd, data.fd]
        if (lockFd === undefined || dataFd === undefined) answer = ODD
        else if (blind === undefined)
          answer = addon.begin(gate, lockFd, lock.serial, dataFd, data.serial, turnFd)
        else answer = addon.append(gate, lockFd, lock.serial, dataFd, data.serial, turnFd, blind)
        return answer >= DONE
      })
      // It need not have been asked, though the lock was taken: see `PassedLock`.
      if (answer < DONE || (!queue && blind === undefined)) return queue === false ? answer : ODD
      if (blind === undefined) {
        if (answer === NEWS && !this.#takeWhole(addon.news(gate))) return ODD
        const line = operation.line()
        if (line === null || (line !== undefined && line.length > LONGEST_LINE)) return ODD
        if (line !== undefined) {
          if (addon.commit(gate, line) !== DONE) return ODD
          this.#health.goodLines++
        }
      } else if (this.#file.applied === this.#file.end) this.#health.goodLines++
      value = operation.apply()
    } finally {
      addon.release(gate)
      for (const close of mayClose) close()
      if (queue) queue.leave()
    }
    return this.#settled(value)
  }

  readonly #enterFirst: Enter = (ask) => {
    try {
      return lockInternals.tryEnter(this.#options.lock, 'exclusive', ask && (() => ask(-1)))
    } catch {
      // It is met again on the general path, which waits until it is over, or says what it is.
      return undefined
    }
  }

  readonly #askAgain: Enter = (ask) => {
    try {
      return lockInternals.tryAgain(this.#options.lock, ask)
    } catch {
      return undefined
    }
  }

  #gateOf(addon: Native): Gate {
    this.#gate ??= addon.gate(this.#options.lock.path, this.path, this.#file.memory)
    return this.#gate
  }

  straightLook<T>(look: () => T): { readonly value: T } | undefined {
    if (!IS_STRAIGHT || !this.#queue.isClear) return undefined
    return this.#isUntouched || this.#isUpToDate() ? { value: look() } : undefined
  }

  /** Whether the addon says so. */
  get #isUntouched(): boolean {
    // Everything that the caller is shown must be on the disk.
    if (!this.#isSteady || (this.#writer.isDurable && !this.#file.isSynced)) return false
    if (this.#addon === undefined && ++this.#looks >= OFTEN) this.#addon = native() ?? null
    const addon = this.#addon
    const data = addon && this.#file.known
    if (!data) return false
    data.used()
    return addon.look(this.#gateOf(addon), data.fd as number, data.serial) === DONE
  }

  #isRefreshed(isBlind: boolean): boolean {
    try {
      return this.#refreshNow('exclusive', isBlind)
    } catch (error) {
      // The general path waits for its end.
      if (error instanceof LockLostError) return false
      throw this.#readFailure(error)
    }
  }

  create(): void {
    if (this.#writer.create()) this.#writeSet.revision++
  }

  drop(): void {
    if (this.#writeSet.isNested) throw removalInTransaction(this.path)
    this.#file.remove()
    this.#writeSet.revision++
    this.#writeSet.written()
  }

  async compact(ifStale: boolean): Promise<void> {
    // What was not written yet is more lines in memory than in the file.
    if (ifStale && !this.#writeSet.hasLines && !this.#writer.sync.failure && this.#compaction.isCompact)
      return
    this.#writeSet.revision++
    // The file must stay as it is until the transaction has ended well.
    if (this.#writeSet.isNested) this.#writeSet.compactAtCommit = true
    else await this.#writer.rewrite()
  }

  /**
   * Everything written so far. What was complete under the lock is never changed again, nor taken away from a
   * descriptor: so it is read when the lock is free.
   */
  snapshot(): Promise<Snapshot> {
    return this.#queue.push('shared', () => readSnapshot(this.path, () => this.#file.end), {
      isInternal: true,
      kind: 'transaction',
    })
  }

  async close(): Promise<void> {
    await this.#compaction.close()
    // What is issued meanwhile ends before the file is closed.
    do {
      await this.#writer.sync.idle()
      await this.#queue.idle()
    } while (this.#writer.sync.isRunning || this.#queue.isAtWork)
    this.#file.close()
    this.#mustReload = true
  }

  refresh(mode: LockMode, isBlind: boolean): Promise<void> | void {
    this.#mode = mode
    this.#writeSet.take()
    try {
      if (this.#refreshNow(mode, isBlind)) return
    } catch (error) {
      // The long way waits for its end.
      if (!(error instanceof LockLostError)) throw this.#readFailure(error)
    }
    return this.#refresh(mode, true).then(() => {})
  }

  async refreshUnlocked(): Promise<boolean> {
    this.#mode = 'shared'
    this.#writeSet.take()
    if (this.#writer.sync.failure) return false
    try {
      if (this.#refreshNow('shared', false)) return true
    } catch (error) {
      throw this.#readFailure(error)
    }
    return (await this.#refresh('shared', false)) !== 'changed'
  }

  async #refresh(mode: LockMode, isLocked: boolean): Promise<Taken> {
    try {
      await this.prepare()
      if (this.#mustReload) this.#file.forget()
      const delta = await untilUnsplit(this.timeoutMs, () => this.#file.delta(mode))
      if (delta.kind === 'none') return 'all'
      if (delta.kind !== 'tail') this.#compaction.reset()
      this.#mustReload = true
      const taken = await this.#reader.take(delta, mode, isLocked)
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

  lookNow<T>(look: () => T): { readonly value: T } | undefined {
    return this.#isUpToDate() ? { value: this.#writeSet.looking(look) } : undefined
  }

  /** Makes memory what the file says, at once and without the lock. @returns false where that cannot be done */
  #isUpToDate(): boolean {
    try {
      // A unit that is being written at this moment is none yet.
      if (!this.#refreshNow('shared', false)) return false
      return !this.#writer.isDurable || this.#file.isSynced
    } catch {
      // Under the lock it is met again, or was of this moment.
      return false
    } finally {
      this.#file.unlockData()
    }
  }

  /** Whether memory can be brought up to date by what is new in the file, and changed by lines. */
  get #isSteady(): boolean {
    return (
      this.#prepared && !this.#mustReload && !this.#writer.sync.failure && this.#memory.coder === undefined
    )
  }

  /** @returns false where it takes the lock, or time. @throws what `LogFile.delta` throws */
  #refreshNow(mode: LockMode, isBlind: boolean): boolean {
    if (!this.#isSteady) return false
    if (isBlind && this.#file.passOver(mode)) return true
    const tail = this.#file.tailNow(mode)
    if (!tail || tail.length === 0) return tail !== undefined
    return this.#takeWhole(tail, mode)
  }

  #takeWhole(tail: Buffer, mode: LockMode = 'exclusive'): boolean {
    try {
      return this.#reader.takeWhole(tail, mode)
    } catch {
      // The long way reads everything, meets it again and says what it is.
      this.#mustReload = true
      return false
    }
  }

  isFresh(timeoutMs: number): Promise<boolean> {
    return untilUnsplit(timeoutMs, () => this.#file.isFresh())
  }

  commit(): Promise<Commit> | Commit {
    return this.#writer.commit(this.#mode === 'exclusive')
  }

  settle(): Promise<void> {
    return this.#writer.settle()
  }

  end(): void {
    this.#file.unlockData()
    this.#compaction.passed()
  }
}
