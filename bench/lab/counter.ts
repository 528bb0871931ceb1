import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'

/** The number, and the pid of who raised it last. */
const BYTES = 16

/** A number in a file that is read, raised and written back: exact only if nobody else was inside meanwhile. */
export class Counter {
  readonly #fd: number
  readonly #bytes = Buffer.alloc(BYTES)

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o666)
  }

  get value(): number {
    return this.#read() === 0 ? 0 : Number(this.#bytes.readBigUInt64LE())
  }

  /** @returns whether it was somebody else who raised it last: a hand-over */
  raise(): boolean {
    const next = this.value + 1
    const last = Number(this.#bytes.readBigUInt64LE(8))
    this.#bytes.writeBigUInt64LE(BigInt(next))
    this.#bytes.writeBigUInt64LE(BigInt(process.pid), 8)
    writeSync(this.#fd, this.#bytes, 0, BYTES, 0)
    return last !== process.pid
  }

  #read(): number {
    return readSync(this.#fd, this.#bytes, 0, BYTES, 0)
  }

  close(): void {
    closeSync(this.#fd)
  }
}
