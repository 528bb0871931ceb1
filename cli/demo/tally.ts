import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../../src/errors.ts'

/** What a process that inserts says of itself. */
export interface Tally {
  readonly pid: number
  /** How many records it is to insert; undefined for the web site, which does as it is asked. */
  readonly num?: number | undefined
  readonly done: number
  readonly failed: number
  readonly longestMs: number
  readonly state: 'starting' | 'ready' | 'waiting' | 'holding' | 'pausing' | 'ended'
  /** Since when it has been in that state, in milliseconds of the epoch. */
  readonly since: number
  /** What went wrong last. */
  readonly error?: string | undefined
  /** Whether it has compacted the file. */
  readonly compacted?: boolean
}

/** Large enough for every tally: a process that is killed while it writes one leaves it whole. */
const TALLY_BYTES = 2048
const ERROR_LENGTH = 500

/** Where those who insert into a file say how far they are, each in a file of its own, whatever state it is in. */
export function talliesOf(file: string): string {
  return `${file}.tallies`
}

/** The tally of this process. */
export class OwnTally {
  readonly #fd: number | undefined
  readonly #bytes: Buffer = Buffer.alloc(TALLY_BYTES)
  now: Tally

  /** @param folder of `talliesOf`; where there is none nobody looks, and nothing is written */
  constructor(folder: string, num?: number) {
    this.now = {
      pid: process.pid,
      num,
      done: 0,
      failed: 0,
      longestMs: 0,
      state: 'starting',
      since: Date.now(),
    }
    try {
      this.#fd = openSync(join(folder, String(process.pid)), 'w')
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
    }
    this.become('starting')
  }

  become(state: Tally['state'], news: Partial<Tally> = {}): void {
    this.now = { ...this.now, ...news, state, since: Date.now() }
    if (this.#fd === undefined) return
    this.#bytes.fill(' ')
    this.#bytes.write(JSON.stringify(this.now))
    writeSync(this.#fd, this.#bytes, 0, TALLY_BYTES, 0)
  }

  /** Notes that a record is in, or why not. */
  inserted(afterMs: number, error?: unknown): void {
    const { done, failed, longestMs } = this.now
    this.now = {
      ...this.now,
      longestMs: Math.max(longestMs, afterMs),
      ...(error === undefined ? { done: done + 1 } : { failed: failed + 1, error: shortened(error) }),
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
  }
}

export function shortened(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.length > ERROR_LENGTH ? text.slice(0, ERROR_LENGTH).replace(/\S*$/, '…') : text
}

/** Every tally that is there; one that is just being written is left out. */
export function readTallies(folder: string): Tally[] {
  return readdirSync(folder).flatMap((name) => {
    try {
      return [JSON.parse(readFileSync(join(folder, name), 'utf8')) as Tally]
    } catch (error) {
      if (error instanceof SyntaxError) return []
      throw error
    }
  })
}
