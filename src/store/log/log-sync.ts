import type { StoreIoError } from '../../errors.ts'
import { notSynced } from '../engine.ts'
import type { LogFile } from './log-file.ts'

interface Waiting {
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

/**
 * The fsyncs of a log, with durability 'disk'. They run without the lock, one at a time, and each serves everything of this
 * process that was written before it began. Between processes there is nothing to agree on: the file system groups the
 * fsyncs of many by itself (50 processes: 1.6 times the inserts that a leader who syncs for all allows).
 */
export class LogSync {
  readonly #file: Pick<LogFile, 'path' | 'syncNow'>
  #waiting: Waiting[] = []
  #running: Promise<void> | undefined
  /** What an fsync failed with: the page cache can no longer be trusted, so the file is to be rewritten and synced anew. */
  failure: StoreIoError | undefined

  constructor(file: Pick<LogFile, 'path' | 'syncNow'>) {
    this.#file = file
  }

  /** Resolves when what is known of the file now survives power loss. @throws StoreIoError where that is not known */
  settle(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#running ??= this.#run()
    })
  }

  get isRunning(): boolean {
    return this.#running !== undefined
  }

  /** Resolves when none is running. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const served = this.#waiting
      this.#waiting = []
      try {
        await this.#file.syncNow()
        for (const { resolve } of served) resolve()
      } catch (cause) {
        this.failure = notSynced(this.#file.path, cause)
        // What was written while it ran may be lost as well, and the next fsync would not say so.
        const refused = [...served, ...this.#waiting]
        this.#waiting = []
        for (const { reject } of refused) reject(this.failure)
      }
    }
    this.#running = undefined
  }
}
