import { AsyncResource } from 'node:async_hooks'
import type { LogSession } from '../../src/db/adapter.ts'
import { StoreIoError } from '../../src/errors.ts'

interface Waiting {
  readonly start: () => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  readonly timer: NodeJS.Timeout | undefined
}

/**
 * The operations issued before the store was loaded. Vanilla keeps them for ever should no load succeed; here they are
 * told when a load fails, or when none comes within the lock's timeout.
 */
export class BeforeLoad {
  readonly #session: LogSession
  #waiting: Waiting[] = []

  constructor(session: LogSession) {
    this.#session = session
  }

  hold(run: () => Promise<unknown>): Promise<unknown> {
    const { timeoutMs, path } = this.#session
    return new Promise((resolve, reject) => {
      const refuse = () => {
        this.#waiting = this.#waiting.filter((other) => other !== entry)
        reject(notLoaded(path))
      }
      const timer = timeoutMs < 2 ** 31 ? setTimeout(refuse, timeoutMs) : undefined
      // In the context that issued it: it is no part of the load that lets it run.
      const start = AsyncResource.bind(run)
      const entry: Waiting = { start, resolve, reject, timer }
      this.#waiting.push(entry)
    })
  }

  /** The store is loaded: they run, in order, ahead of everything issued from now on. */
  run(): void {
    for (const { start, resolve, reject } of this.#take()) start().then(resolve, reject)
  }

  /** The load failed. */
  refuse(reason: unknown): void {
    for (const { reject } of this.#take()) reject(reason)
  }

  /** The load failed, and the user's `onload` was told: they wait for a later load, as in vanilla. */
  keep(): void {
    for (const { timer } of this.#waiting) clearTimeout(timer)
  }

  drop(): void {
    this.#take()
  }

  #take(): Waiting[] {
    this.keep()
    const taken = this.#waiting
    this.#waiting = []
    return taken
  }
}

function notLoaded(path: string): StoreIoError {
  return new StoreIoError(
    `${path} was not loaded in time. Call loadDatabaseAsync() first, or use autoload: true, and look at what it says.`,
    { path },
  )
}
