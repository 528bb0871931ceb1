import { closeSync, openSync, readSync } from 'node:fs'

const LINE_FEED = 10

/** Counts a ledger's answers while it is being written. Asking it costs the worker nothing. */
export class LedgerTail {
  readonly #fd: number
  readonly #buffer = Buffer.allocUnsafe(64 * 1024)
  #offset = 0
  #lines = 0
  #closed = false

  constructor(path: string) {
    this.#fd = openSync(path, 'r')
  }

  /** Every operation has two lines, its intent and its answer. */
  answers(): number {
    for (;;) {
      const length = this.#closed ? 0 : readSync(this.#fd, this.#buffer, 0, this.#buffer.length, this.#offset)
      for (let at = 0; at < length; at++) if (this.#buffer[at] === LINE_FEED) this.#lines++
      this.#offset += length
      if (length < this.#buffer.length) return this.#lines >> 1
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#fd)
  }
}
