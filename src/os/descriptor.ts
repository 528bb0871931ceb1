import { closeSync } from 'node:fs'

/** Stores that are forgotten without `close()` give their descriptors back; none of these carries a lock then. */
const forgotten = new FinalizationRegistry<{ fd: number | undefined }>(({ fd }) => {
  if (fd !== undefined) closeSync(fd)
})

/**
 * Closes a descriptor through which nothing was written, or nothing that is not synced or given up. Whatever close(2) says
 * then concerns nobody, and the number is free in any case.
 */
export function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // As said above.
  }
}

/** Does something with a descriptor that was just opened; where that fails nobody else will close it. */
export function orClose<T>(fd: number, run: () => T): T {
  try {
    return run()
  } catch (error) {
    closeQuietly(fd)
    throw error
  }
}

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

  /** Takes another one and gives the old one back; what the system says to that concerns nobody any more. */
  replace(fd: number): void {
    const old = this.#slot.fd
    this.#slot.fd = fd
    if (old !== undefined) closeQuietly(old)
  }

  /** Closes it, and with it drops what is locked on it. */
  close(): void {
    const { fd } = this.#slot
    this.#slot.fd = undefined
    if (fd !== undefined) closeSync(fd)
  }
}
