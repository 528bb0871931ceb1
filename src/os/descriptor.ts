import { closeSync } from 'node:fs'

/** Stores that are forgotten without `close()` give their descriptors back; none of these carries a lock then. */
const forgotten = new FinalizationRegistry<{ fd: number | undefined }>(({ fd }) => {
  if (fd !== undefined) closeSync(fd)
})

/**
 * A numeric descriptor that belongs to an object. Not a FileHandle: one of those may be collected, and closed, while
 * its number is still in use and locked.
 */
export class Descriptor {
  readonly #slot: { fd: number | undefined } = { fd: undefined }

  constructor() {
    forgotten.register(this, this.#slot)
  }

  get fd(): number | undefined {
    return this.#slot.fd
  }

  set fd(fd: number | undefined) {
    this.#slot.fd = fd
  }

  /** Closes it, and with it drops what is locked on it. */
  close(): void {
    const { fd } = this.#slot
    this.#slot.fd = undefined
    if (fd !== undefined) closeSync(fd)
  }
}
