import { AsyncResource } from 'node:async_hooks'
import { StoreIoError } from '../../src/errors.ts'
import type { LogSession } from '../../src/store/adapter.ts'
import { isWithCallback } from './calls.ts'

interface Waiting {
  readonly start: () => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  readonly hasCallback: boolean
  timer?: NodeJS.Timeout
}

/**
 * The operations issued before the store was loaded. Vanilla keeps them for ever should no load succeed. Here they are
 * told what a load fails with, and the next operation tries to load again: a damaged file may have been mended, and
 * whoever held the lock may be gone. Where no load is asked for at all, they wait for it as long as for the lock.
 */
export class BeforeLoad {
  readonly #session: LogSession
  readonly #loadAgain: () => Promise<void>
  #waiting: Waiting[] = []
  /** How many loads are under way. */
  #loading = 0
  #isAskedFor = false

  /** @param loadAgain what an operation does after a load that has failed; it is to pass `during` */
  constructor(session: LogSession, loadAgain: () => Promise<void>) {
    this.#session = session
    this.#loadAgain = loadAgain
  }

  /**
   * Runs a load. Should it fail, and no other be under way, whoever waits is told so.
   * @param isTold whether the user's `onload` is told: then callbacks are not called before the next attempt has ended, as
   * NeDB's own tests want it
   */
  async during(load: () => Promise<void>, isTold = false): Promise<void> {
    this.#isAskedFor = true
    this.#loading++
    for (const { timer } of this.#waiting) clearTimeout(timer)
    try {
      await load()
      this.#loading--
    } catch (error) {
      if (--this.#loading === 0) this.#refuse(error, isTold)
      throw error
    }
  }

  hold(run: () => Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      // In the context that issued it: it is no part of the load that lets it run.
      const entry: Waiting = {
        start: AsyncResource.bind(run),
        resolve,
        reject,
        hasCallback: isWithCallback(),
      }
      this.#waiting.push(entry)
      if (!this.#isAskedFor) this.#expectLoad(entry)
      // What it fails with, the operation says.
      else if (this.#loading === 0) this.#loadAgain().catch(() => {})
    })
  }

  /** The store is loaded: they run, in order, ahead of everything issued from now on. */
  run(): void {
    for (const { start, resolve, reject } of this.#take()) start().then(resolve, reject)
  }

  drop(): void {
    this.#take()
  }

  #refuse(reason: unknown, exceptCallbacks: boolean): void {
    const waiting = this.#take()
    if (exceptCallbacks) this.#waiting = waiting.filter(({ hasCallback }) => hasCallback)
    // After whoever waits for the load itself has been told.
    setImmediate(() => {
      for (const { reject, hasCallback } of waiting) if (!(exceptCallbacks && hasCallback)) reject(reason)
    })
  }

  #expectLoad(entry: Waiting): void {
    const { timeoutMs, path } = this.#session
    if (timeoutMs >= 2 ** 31) return
    entry.timer = setTimeout(() => {
      this.#waiting = this.#waiting.filter((other) => other !== entry)
      entry.reject(notLoaded(path))
    }, timeoutMs)
  }

  #take(): Waiting[] {
    const taken = this.#waiting
    this.#waiting = []
    for (const { timer } of taken) clearTimeout(timer)
    return taken
  }
}

function notLoaded(path: string): StoreIoError {
  return new StoreIoError(
    `${path} was not loaded in time. Call loadDatabaseAsync() first, or use autoload: true, and look at what it says.`,
    { path },
  )
}
