import type { LockMode } from '../errors.ts'
import type { Hold } from '../lock/hold.ts'
import { lockInternals, type PsLock } from '../lock/lock.ts'
import { untilUnsplit } from './data-file.ts'
import { type Commit, conflict, type Engine, runIn } from './engine.ts'
import type { Operation } from './operation.ts'
import { enterFor } from './operation.ts'
import { Scope } from './scope.ts'

/**
 * Runs what does not hold the lock while the user's code runs, views and optimistic transactions: it is free again as
 * soon as the present state is in memory, which nobody else in this process touches meanwhile.
 */
export class Unlocked {
  readonly #owner: object
  readonly #lock: PsLock
  readonly #engine: Engine
  /** Of the optimistic transaction that runs now. */
  #giveUp: AbortController | undefined
  /** What must still be so when it is written. */
  #conditions: (() => boolean)[] = []

  /** @param owner whose operations they are */
  constructor(owner: object, lock: PsLock, engine: Engine) {
    this.#owner = owner
    this.#lock = lock
    this.#engine = engine
  }

  /** @param hold ended by this; undefined where a reader goes without */
  async run(operation: Operation, mode: LockMode, hold: Hold | undefined): Promise<unknown> {
    try {
      await this.#engine.refresh(mode, false)
    } finally {
      this.#engine.end()
      await hold?.end()
    }
    return operation.kind === 'optimistic' ? this.#optimistically(operation) : this.view(operation)
  }

  /** Runs a view of what is in memory. */
  async view(operation: Operation): Promise<unknown> {
    await this.#engine.settle?.()
    return operation.inContext(() => new Scope(this.#owner, 'shared', operation.observed).run(operation.run))
  }

  /** A hold of the user's own needs the memory: an optimistic transaction cannot be committed then. */
  giveUp(): void {
    // Else both would wait for each other for ever.
    this.#giveUp?.abort(conflict(this.#lock.path))
  }

  provided(condition: () => boolean): void {
    if (this.#giveUp) this.#conditions.push(condition)
  }

  async #optimistically(operation: Operation): Promise<unknown> {
    const giveUp = new AbortController()
    this.#giveUp = giveUp
    this.#conditions = []
    let value: unknown
    let commit: Commit
    try {
      value = await operation.inContext(() => runIn(this.#owner, this.#engine, 'run', operation))
      giveUp.signal.throwIfAborted()
      commit = await this.#commitUnlessConflict(operation, giveUp.signal)
    } catch (error) {
      this.#engine.abandon()
      throw error
    } finally {
      this.#giveUp = undefined
    }
    await commit.settle?.()
    if (commit.error !== undefined) throw commit.error
    return value
  }

  async #commitUnlessConflict(operation: Operation, giveUp: AbortSignal): Promise<Commit> {
    const hold = await enterFor(this.#lock, 'exclusive', operation, giveUp, 0)
    try {
      const { timeoutMs } = lockInternals.entry(this.#lock, 'exclusive', operation).wait
      const isFresh =
        (await untilUnsplit(timeoutMs, () => this.#engine.isFresh())) &&
        this.#conditions.every((condition) => condition())
      if (!isFresh) throw conflict(this.#lock.path)
      return await this.#engine.commit()
    } finally {
      this.#engine.end()
      await hold?.end()
    }
  }
}
