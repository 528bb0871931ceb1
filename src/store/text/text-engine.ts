import { show } from '../../arguments.ts'
import type { LockMode } from '../../errors.ts'
import { storeFailure } from '../../os/replace.ts'
import { runSteps, WAITING } from '../../os/steps.ts'
import type { Call, ImageAdapter } from '../adapter.ts'
import { readFailure, untilUnsplit } from '../data-file.ts'
import type { Commit, Engine } from '../engine.ts'
import { FileStoreLock } from '../file-store-lock.ts'
import type { OpenOptions } from '../options.ts'
import { Pipeline } from '../pipeline.ts'
import { allOf, type Source } from '../snapshot.ts'
import { type Transacting, transacting } from '../transaction.ts'
import { TextFile } from './text-file.ts'

/**
 * A store whose file is one text and whose memory only its adapter understands. After every changing operation the
 * store is asked for its text; when something fails it is given the last good one back.
 */
export class TextEngine<S extends object> implements Engine {
  readonly #store: S
  readonly #adapter: ImageAdapter<S>
  readonly #options: OpenOptions
  readonly #file: TextFile
  readonly #isDurable: boolean
  readonly queue: Pipeline
  readonly transacting: Transacting<void>
  /** What the file holds; undefined: there is none, or it was not read yet. */
  #saved: string | undefined
  /** What the operations of this batch have made of it. */
  #text: string | undefined
  #running: LockMode | undefined
  /** Grows with every operation that changes something; what is undone is taken back. */
  revision = 0

  constructor(store: S, adapter: ImageAdapter<S>, path: string, options: OpenOptions) {
    this.#store = store
    this.#adapter = adapter
    this.#options = options
    this.#file = new TextFile(path, (text) => text === this.#saved)
    this.#isDurable = options.durability === 'disk'
    this.queue = new Pipeline(new FileStoreLock(options.lock), this)
    this.transacting = transacting(this.queue)
  }

  perform<T>(mode: LockMode, run: () => T, call?: Call): Promise<Awaited<T>> {
    return mode === 'exclusive' ? this.queue.write(run, { call }) : this.queue.push(mode, run, { call })
  }

  async close(): Promise<void> {
    await this.queue.idle()
    this.#file.close()
  }

  async refresh(mode: LockMode): Promise<void> {
    try {
      const found = await untilUnsplit(this.#options.timeoutMs, () =>
        runSteps(this.#file.refresh(mode, WAITING)),
      )
      if (found) {
        this.#adapter.load(this.#store, found.text)
        this.#saved = found.text
      }
      this.#text = this.#saved
    } catch (error) {
      this.#file.forget()
      throw readFailure(this.#adapter.name, this.#file.path, error)
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
    return untilUnsplit(timeoutMs, () => runSteps(this.#file.isFresh('exclusive', WAITING)))
  }

  abandon(): void {
    this.#text = this.#saved
    this.#adapter.load(this.#store, this.#saved)
    // It may be newer than what is in memory now: the next look shall say so.
    this.#file.forget()
  }

  async commit(): Promise<Commit> {
    const settle = this.#isDurable ? () => this.settle() : undefined
    if (this.#text === this.#saved || this.#text === undefined)
      return { committed: Number.POSITIVE_INFINITY, settle }
    try {
      await runSteps(this.#file.replace(this.#text, this.#isDurable, WAITING))
      this.#saved = this.#text
      return { committed: Number.POSITIVE_INFINITY }
    } catch (error) {
      this.#adapter.load(this.#store, this.#saved)
      return { committed: 0, error: storeFailure(this.#file.path, 'write', error) }
    }
  }

  async settle(): Promise<void> {
    if (this.#isDurable && !this.#file.isSynced) await runSteps(this.#file.sync(WAITING))
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
    if (typeof text === 'string') return text
    throw new TypeError(`save() of the ${this.#adapter.name} adapter must return a text, got ${show(text)}`)
  }

  end(): void {
    this.#file.unlockData()
  }
}
