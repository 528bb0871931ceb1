import type { TextStorage } from '../../store/text/storage.ts'
import type { FileContent } from '../../store/text/text-file.ts'
import type { OpenServerOptions } from '../server/url.ts'
import type { StoreSession } from './store-session.ts'
import { requireStorable, Units } from './units.ts'

/** A text on a server that is replaced as a whole. */
export class PgText implements TextStorage {
  readonly path: string
  /** It is in no file. */
  readonly file: undefined
  readonly lock: StoreSession
  readonly #units: Units

  constructor(options: OpenServerOptions) {
    this.#units = new Units(options)
    this.lock = this.#units.session
    this.path = this.#units.path
  }

  get isSynced(): boolean {
    return this.#units.isSynced
  }

  async refresh(): Promise<FileContent | undefined> {
    const found = await this.#units.refresh()
    return found.kind === 'whole' ? { text: found.text } : undefined
  }

  isFresh(): Promise<boolean> {
    return this.#units.isFresh()
  }

  requireText(text: string): void {
    requireStorable(this.path, text)
  }

  replace(text: string): Promise<(() => Promise<void>) | undefined> {
    return this.#units.commit({ image: text, isChange: true })
  }

  sync(): Promise<void> {
    return this.#units.sync()
  }

  forget(): void {
    this.#units.forget()
  }

  end(): void {}

  close(): Promise<void> {
    this.forget()
    return this.lock.close()
  }
}
