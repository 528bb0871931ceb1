import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LockedNedb, type LockedNedbOptions } from '../../../adapters/nedb.ts'
import { type Inside, type State, stateOf } from './model.ts'
import type { Calls, Store } from './steps.ts'

/** A locked store under test, in a file or, where the name of that is a url, on a server. */
export class Subject implements Store {
  readonly #options: LockedNedbOptions & { filename: string }
  readonly #dump: string
  #db!: LockedNedb
  #hasDump = false

  static async open(options: LockedNedbOptions & { filename: string }): Promise<Subject> {
    const subject = new Subject(options)
    await subject.#open()
    return subject
  }

  private constructor(options: LockedNedbOptions & { filename: string }) {
    this.#options = options
    this.#dump = isUrl(options.filename)
      ? join(tmpdir(), `pslock-property-${process.pid}.dump`)
      : `${options.filename}.dump`
  }

  get calls(): Calls {
    return this.#db as unknown as Calls
  }

  /** As memory has it, without a look at the file. */
  get state(): State {
    return stateOf(this.#db as unknown as Inside)
  }

  transaction(run: () => Promise<void>): Promise<void> {
    return this.#db.transaction(() => run())
  }

  view(run: () => Promise<void>): Promise<void> {
    return this.#db.view(() => run())
  }

  load(): Promise<void> {
    return this.#db.loadDatabaseAsync()
  }

  async reopen(): Promise<void> {
    await this.close()
    await this.#open()
  }

  together<T>(starts: readonly (() => Promise<T>)[]): Promise<T[]> {
    return Promise.all(starts.map((start) => start()))
  }

  async dump(): Promise<void> {
    await this.#db.dump(this.#dump, { overwrite: true })
    this.#hasDump = true
  }

  async restore(): Promise<void> {
    if (!this.#hasDump) return
    await this.#db.restore(this.#dump)
    // Else an explicit load would bring back the indexes that this object was told to ensure since the dump.
    await this.reopen()
  }

  close(): Promise<void> {
    return this.#db.close()
  }

  /** For good. */
  async end(): Promise<void> {
    await this.close()
    rmSync(this.#dump, { force: true })
  }

  async #open(): Promise<void> {
    const { filename, ...options } = this.#options
    const place = isUrl(filename) ? { url: filename } : { filename }
    this.#db = new LockedNedb({ ...place, ...options, autoload: true })
    await (this.#db as unknown as { autoloadPromise: Promise<void> }).autoloadPromise
  }
}

function isUrl(path: string): boolean {
  return path.startsWith('postgres:')
}
