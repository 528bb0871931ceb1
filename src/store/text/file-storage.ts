import type { LockMode } from '../../errors.ts'
import { storeFailure } from '../../os/replace.ts'
import { runSteps, WAITING } from '../../os/steps.ts'
import { FileStoreLock, untilUnsplit } from '../data-file.ts'
import type { OpenOptions } from '../options.ts'
import type { TextStorage } from './storage.ts'
import { type FileContent, TextFile } from './text-file.ts'

/** A text that is all of a data file. */
export class TextFileStorage implements TextStorage {
  readonly path: string
  readonly lock: FileStoreLock
  readonly #timeoutMs: number
  readonly #isDurable: boolean
  readonly #file: TextFile
  #text: string | undefined

  constructor({ path, lock, timeoutMs, durability }: OpenOptions) {
    this.path = path
    this.lock = new FileStoreLock(lock)
    this.#timeoutMs = timeoutMs
    this.#isDurable = durability === 'disk'
    this.#file = new TextFile(path, (text) => text === this.#text)
  }

  get file(): string {
    return this.path
  }

  get isSynced(): boolean {
    return !this.#isDurable || this.#file.isSynced
  }

  async refresh(mode: LockMode): Promise<FileContent | undefined> {
    try {
      const found = await untilUnsplit(this.#timeoutMs, () => runSteps(this.#file.refresh(mode, WAITING)))
      if (found) this.#text = found.text
      return found
    } catch (error) {
      throw storeFailure(this.path, 'read', error)
    }
  }

  isFresh(timeoutMs: number): Promise<boolean> {
    return untilUnsplit(timeoutMs, () => runSteps(this.#file.isFresh('exclusive', WAITING)))
  }

  /** What is no UTF-8 is written as U+FFFD, as by node:fs. */
  requireText(): void {}

  async replace(text: string): Promise<undefined> {
    try {
      await runSteps(this.#file.replace(text, this.#isDurable, WAITING))
      this.#text = text
    } catch (error) {
      throw storeFailure(this.path, 'write', error)
    }
  }

  async sync(): Promise<void> {
    await runSteps(this.#file.sync(WAITING))
  }

  forget(): void {
    this.#file.forget()
  }

  end(): void {
    this.#file.unlockData()
  }

  close(): void {
    this.#file.close()
  }
}
