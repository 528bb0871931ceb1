import { PIECE_BYTES, readRange } from '../../os/io.ts'

/** Bytes that are read in pieces: those of a file, or what is put together of parts of others. */
export interface Source {
  readonly length: number
  /** @returns fewer bytes than asked for at the end */
  read(position: number, length: number): Buffer | Promise<Buffer>
}

export function bytesSource(bytes: Buffer): Source {
  return {
    length: bytes.length,
    read: (position, length) => bytes.subarray(position, position + length),
  }
}

/** The first bytes of an open file. */
export function fileSource(fd: number, length: number): Source {
  return { length, read: (position, wanted) => readRange(fd, position, Math.min(wanted, length - position)) }
}

interface Part {
  readonly source: Source
  /** Where in the source it begins, and how long it is. */
  readonly from: number
  readonly length: number
  /** Where in the whole it begins. */
  readonly at: number
}

/** Parts of other sources, one after the other. */
export class Spliced implements Source {
  readonly #parts: Part[] = []
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Adds the bytes of a source between two places. */
  add(source: Source, from = 0, to: number = source.length): this {
    if (to <= from) return this
    const last = this.#parts.at(-1)
    const isNext = last?.source === source && last.from + last.length === from
    if (isNext) this.#parts[this.#parts.length - 1] = { ...last, length: to - last.from }
    else this.#parts.push({ source, from, length: to - from, at: this.#length })
    this.#length += to - from
    return this
  }

  /** The same without its last bytes. */
  upTo(length: number): Spliced {
    const shorter = new Spliced()
    for (const { source, from, length: most, at } of this.#parts)
      shorter.add(source, from, from + Math.min(most, length - at))
    return shorter
  }

  async read(position: number, length: number): Promise<Buffer> {
    const found: Buffer[] = []
    const end = Math.min(position + length, this.#length)
    for (let at = position, index = this.#indexOf(position); at < end; index++) {
      const part = this.#parts[index] as Part
      const from = part.from + at - part.at
      const bytes = await part.source.read(from, Math.min(end - at, part.from + part.length - from))
      // The file became shorter.
      if (bytes.length === 0) break
      found.push(bytes)
      at += bytes.length
      if (at < part.at + part.length) index--
    }
    return found.length === 1 ? (found[0] as Buffer) : Buffer.concat(found)
  }

  /** The part that a place is in. */
  #indexOf(position: number): number {
    let [low, high] = [0, this.#parts.length]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((this.#parts[middle] as Part).at <= position) low = middle
      else high = middle
    }
    return low
  }
}

/** All of it, piece by piece. */
export async function* piecesOf(source: Source): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < source.length; ) {
    const piece = await source.read(at, Math.min(PIECE_BYTES, source.length - at))
    if (piece.length === 0) return
    yield piece
    at += piece.length
  }
}

/** All of it at once. */
export async function allOf(source: Source): Promise<Buffer> {
  return source.read(0, source.length)
}
