import { show } from '../../arguments.ts'
import type { LockMode } from '../../errors.ts'
import type { Call, ImageAdapter } from '../adapter.ts'
import { readFailure } from '../data-file.ts'
import type { Commit, Engine } from '../engine.ts'
import { Pipeline } from '../pipeline.ts'
import { allOf, type Snapshot, type Source, textSnapshot } from '../snapshot.ts'
import { type Transacting, transacting } from '../transaction.ts'
import type { TextStorage } from './storage.ts'

/**
 * A store whose content is one text and whose memory only its adapter understands. After every changing operation the
 * store is asked for its text; when something fails it is given the last good one back.
 */
export class TextEngine<S extends object> implements Engine {
  readonly #store: S
  readonly #adapter: ImageAdapter<S>
  readonly #storage: TextStorage
  readonly queue: Pipeline
  readonly transacting: Transacting<void>
  /** What the storage holds; undefined: there is none, or it was not read yet. */
  #saved: string | undefined
  /** What the operations of this batch have made of it. */
  #text: string | undefined
  #running: LockMode | undefined
  /** Grows with every operation that changes something; what is undone is taken back. */
  revision = 0

  constructor(store: S, adapter: ImageAdapter<S>, storage: TextStorage) {
    this.#store = store
    this.#adapter = adapter
    this.#storage = storage
    this.queue = new Pipeline(storage.lock, this)
    this.transacting = transacting(this.queue)
  }

  perform<T>(mode: LockMode, run: () => T, call?: Call): Promise<Awaited<T>> {
    return mode === 'exclusive' ? this.queue.write(run, { call }) : this.queue.push(mode, run, { call })
  }

  async close(): Promise<void> {
    // What is issued meanwhile ends before.
    do await this.queue.idle()
    while (this.queue.isAtWork)
    await this.#storage.close()
  }

  async refresh(mode: LockMode): Promise<void> {
    try {
      const found = await this.#storage.refresh(mode)
      if (found) {
        this.#load(found.text)
        this.#saved = found.text
      }
      this.#text = this.#saved
    } catch (error) {
      this.#storage.forget()
      throw error
    }
  }

  /** @throws CorruptStoreError where the store cannot load it */
  #load(text: string | undefined): void {
    try {
      this.#adapter.load(this.#store, text)
    } catch (error) {
      throw readFailure(this.#adapter.name, this.#storage.path, error)
    }
  }

  async run(operation: () => unknown, mode: LockMode): Promise<unknown> {
    const before = this.#text
    const outer = this.#running
    this.#running = mode
    const revision = this.revision
    try {
      const result = await operation()
      if (mode === 'exclusive') this.#text = this.#save()
      if (this.#text !== before) this.revision++
      return result
    } catch (error) {
      // Whatever it did half is gone: the store is as before this operation.
      this.#text = before
      this.revision = revision
      this.#adapter.load(this.#store, before)
      throw error
    } finally {
      this.#running = outer
    }
  }

  async savepoint(operation: () => unknown, mode: LockMode): Promise<unknown> {
    // What the outer method did so far is no part of what a throw here undoes.
    if (this.#running === 'exclusive') this.#text = this.#save()
    return this.run(operation, mode)
  }

  isFresh(timeoutMs: number): Promise<boolean> {
    return this.#storage.isFresh(timeoutMs)
  }

  abandon(): void {
    this.#text = this.#saved
    this.#adapter.load(this.#store, this.#saved)
    // It may be newer than what is in memory now: the next look shall say so.
    this.#storage.forget()
  }

  async commit(): Promise<Commit> {
    if (this.#text === this.#saved || this.#text === undefined)
      return {
        committed: Number.POSITIVE_INFINITY,
        settle: this.#storage.isSynced ? undefined : () => this.settle(),
      }
    try {
      const settle = await this.#storage.replace(this.#text)
      this.#saved = this.#text
      return { committed: Number.POSITIVE_INFINITY, settle }
    } catch (error) {
      this.#adapter.load(this.#store, this.#saved)
      return { committed: 0, error }
    }
  }

  async settle(): Promise<void> {
    if (!this.#storage.isSynced) await this.#storage.sync()
  }

  /** All of it, where it is in no file. */
  get snapshot(): (() => Promise<Snapshot>) | undefined {
    if (this.#storage.file !== undefined) return undefined
    return async () => {
      const text = await this.queue.push('shared', () => this.#text, {
        kind: 'transaction',
        isInternal: true,
      })
      return textSnapshot(this.#storage.path, text)
    }
  }

  /** Replaces all of it by the content of a file, where it is in none itself. */
  get replace(): ((content: Source) => Promise<void>) | undefined {
    if (this.#storage.file !== undefined) return undefined
    return async (content) => {
      const text = (await allOf(content)).toString()
      await this.queue.push('exclusive', () => this.#load(text), { isInternal: true })
    }
  }

  /** Loads a text in an operation that is undone. @throws CorruptStoreError where the store cannot load it */
  async tryOn(content: Source): Promise<void> {
    const text = (await allOf(content)).toString()
    const undo = new Error('undone on purpose')
    const load = () => {
      try {
        this.#adapter.load(this.#store, text)
      } catch (error) {
        throw readFailure(this.#adapter.name, 'the dump', error)
      }
      throw undo
    }
    await this.queue.push('exclusive', load, { kind: 'transaction', isInternal: true }).catch((error) => {
      if (error !== undo) throw error
    })
  }

  #save(): string {
    const text: unknown = this.#adapter.save(this.#store)
    if (typeof text === 'string') {
      if (text !== this.#saved) this.#storage.requireText(text)
      return text
    }
    throw new TypeError(`save() of the ${this.#adapter.name} adapter must return a text, got ${show(text)}`)
  }

  end(): void {
    this.#storage.end()
  }
}
