import { setTimeout } from 'node:timers/promises'
import type { LockMode } from '../errors.ts'
import { type Commit, conflict, type Engine, runIn } from './engine.ts'
import type { Operation } from './operation.ts'
import { Scope } from './scope.ts'
import type { StoreHold, StoreLock } from './store-lock.ts'

/**
 * Runs what does not hold the lock while the user's code runs, views and optimistic transactions: it is free again as
 * soon as the present state is in memory, which nobody else in this process touches meanwhile.
 */
export class Unlocked {
  readonly #owner: object
  readonly #lock: StoreLock
  readonly #engine: Engine
  /** Of the optimistic transaction that runs now. */
  #giveUp: AbortController | undefined
  /** What must still be so when it is written. */
  #conditions: (() => boolean)[] = []

  /** @param owner whose operations they are */
  constructor(owner: object, lock: StoreLock, engine: Engine) {
    this.#owner = owner
    this.#lock = lock
    this.#engine = engine
  }

  /** @param hold ended by this; undefined where a reader goes without */
  async run(operation: Operation, mode: LockMode, hold: StoreHold | undefined): Promise<unknown> {
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
    const hold = await this.#lock.enter('exclusive', operation, giveUp, 0)
    try {
      const { wait } = this.#lock.asked('exclusive', operation)
      const isFresh =
        (await this.#engine.isFresh(wait.timeoutMs)) && this.#conditions.every((condition) => condition())
      if (!isFresh) throw conflict(this.#lock.path)
      return await this.#engine.commit()
    } finally {
      this.#engine.end()
      await hold?.end()
    }
  }
}

/**
 * So often a reader that waits for the lock looks whether it can do without, more and more rarely: after 40 ms, 200, 840 and
 * 3,400. What kept it from that, the end of a file that is being mended, is over in a moment where nobody is stopped.
 */
const UNLOCKED_TRIES = 4
const FIRST_PAUSE_MS = 40

/**
 * Waits for the lock, for a reader that may do without.
 * @param enter takes the lock; its signal ends that wait
 * @param readUnlocked tries to do without
 * @returns 'unlocked' where it has done without
 */
export async function enterUnless(
  enter: (served: AbortSignal) => Promise<StoreHold | undefined>,
  readUnlocked: () => Promise<boolean>,
): Promise<StoreHold | undefined | 'unlocked'> {
  const served = new AbortController()
  const entering = enter(served.signal)
  const entered = entering.then(
    () => true,
    () => true,
  )
  for (let tries = 0, pauseMs = FIRST_PAUSE_MS; tries < UNLOCKED_TRIES; tries++, pauseMs *= 4) {
    const pause = new AbortController()
    const paused = setTimeout(pauseMs, false, { signal: pause.signal }).catch(() => false)
    const isOver = await Promise.race([entered, paused])
    pause.abort()
    if (isOver) break
    if (!(await readUnlocked())) continue
    served.abort()
    const hold = await entering.catch(() => undefined)
    await hold?.end()
    return 'unlocked'
  }
  return entering
}
