import type { LockMode } from '../../errors.ts'
import type { LineCoder, LogMemory, LogSession, OperationTraits } from '../adapter.ts'
import type { Commit, Engine, Notes } from '../engine.ts'
import { Pipeline } from '../pipeline.ts'
import { callListener } from '../scope.ts'
import type { Snapshot, Source } from '../snapshot.ts'
import { type Transacting, transacting } from '../transaction.ts'
import { WriteSet } from '../write-set.ts'
import type { LogStorage } from './storage.ts'

/**
 * One log store in this process: memory and storage, and the batches of operations that keep them equal. An operation changes
 * memory first and names its lines; the batch then writes the units of all its operations in one go. Whatever fails, memory
 * goes back to what the storage says.
 */
export class LogEngine implements LogSession, Engine {
  readonly path: string
  readonly file: string | undefined
  readonly timeoutMs: number
  readonly queue: Pipeline
  readonly transact: Transacting<void>['transact']
  readonly look: Transacting<void>['look']
  readonly straight: LogSession['straight']
  readonly straightLook: LogSession['straightLook']
  readonly #storage: LogStorage
  readonly #writeSet = new WriteSet(() => this.distrustMemory())
  readonly #attach: () => LogMemory
  #memory!: LogMemory

  constructor(storage: LogStorage, attach: (session: LogSession) => LogMemory) {
    this.#storage = storage
    this.path = storage.path
    this.file = storage.file
    this.timeoutMs = storage.timeoutMs
    this.straight = storage.straight.bind(storage)
    this.straightLook = storage.straightLook.bind(storage)
    this.queue = new Pipeline(storage.lock, this)
    const { transact, look } = transacting(this.queue)
    this.transact = transact
    this.look = (run, options) => this.#afterRewrite(() => look(run, options))
    this.#attach = () => attach(this)
  }

  /** Wires the store to this session. Apart from the constructor, so that the adapter may already use the session. */
  start(): LogMemory {
    this.#memory = this.#attach()
    this.#storage.start({ memory: this.#memory, writeSet: this.#writeSet, queue: this.queue })
    return this.#memory
  }

  /** Afterwards the user's serialization hooks are known. */
  prepare(): Promise<void> {
    return this.#storage.prepare()
  }

  get running(): LockMode | undefined {
    return this.#writeSet.running
  }

  get now(): number {
    return this.queue.now
  }

  get isInside(): boolean {
    return this.queue.isInside()
  }

  perform<T>(mode: LockMode, run: () => T, traits?: OperationTraits): Promise<Awaited<T>> {
    const push = () => this.queue.push(mode, run, traits)
    return mode === 'shared' ? this.#afterRewrite(push) : push()
  }

  /** After a failed fsync the content is written anew first: nobody is shown what may be lost. */
  #afterRewrite<T>(look: () => Promise<T>): Promise<T> {
    if (!this.#storage.mustRewrite || this.queue.isInside()) return look()
    return this.queue.push('exclusive', () => {}, { isInternal: true }).then(look)
  }

  append(lines: readonly string[]): Promise<void> | void {
    const { coder } = this.#memory
    return coder ? this.#appendWith(coder, lines) : this.#writeSet.append(lines)
  }

  /** Now, and not when they are written: what a hook throws is of this operation alone. */
  async #appendWith(coder: LineCoder, lines: readonly string[]): Promise<void> {
    const encoded: string[] = []
    for (const line of lines) encoded.push(await coder.encode(line))
    this.#writeSet.append(encoded)
  }

  onUndo(undo: () => void): void {
    this.#writeSet.onUndo(undo)
  }

  afterwards(run: () => void): void {
    const { segment } = this.#writeSet
    if (segment && this.queue.isInside('exclusive')) segment.afterwards.push(run)
    else callListener(run)
  }

  distrustMemory(): void {
    this.#storage.distrustMemory()
  }

  create(): void {
    this.#storage.create()
  }

  drop(): void {
    this.#storage.drop()
  }

  compact(ifStale = false): Promise<void> {
    return this.#storage.compact(ifStale)
  }

  snapshot(): Promise<Snapshot> {
    return this.#storage.snapshot()
  }

  get notes(): Notes | undefined {
    return this.#storage.notes
  }

  /** See `LogStorage.replace`. */
  get replace(): ((content: Source) => Promise<void>) | undefined {
    return this.#storage.replace?.bind(this.#storage)
  }

  get endsTorn(): boolean {
    return this.#storage.endsTorn
  }

  async close(): Promise<void> {
    await this.#storage.close()
    this.#memory.close?.()
  }

  // --- Engine ---

  get revision(): number {
    return this.#writeSet.revision
  }

  refresh(mode: LockMode, isBlind: boolean): Promise<void> | void {
    return this.#storage.refresh(mode, isBlind)
  }

  refreshUnlocked(): Promise<boolean> {
    return this.#storage.refreshUnlocked()
  }

  run(operation: () => unknown, mode: LockMode): Promise<unknown> {
    return this.#writeSet.run(operation, mode)
  }

  savepoint(operation: () => unknown, mode: LockMode): Promise<unknown> {
    return this.#writeSet.savepoint(operation, mode)
  }

  isFresh(timeoutMs: number): Promise<boolean> {
    return this.#storage.isFresh(timeoutMs)
  }

  lookNow<T>(look: () => T): { readonly value: T } | undefined {
    return this.#storage.lookNow(look)
  }

  settle(): Promise<void> {
    return this.#storage.settle()
  }

  abandon(): void {
    this.#writeSet.abandon()
  }

  commit(): Promise<Commit> | Commit {
    return this.#storage.commit()
  }

  end(): void {
    this.#storage.end()
  }
}
