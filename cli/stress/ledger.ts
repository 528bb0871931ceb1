import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import type { Answer, Operation } from './operation.ts'

/** One operation of a worker as its ledger has it. Without `end` nobody knows whether it took effect. */
export interface Entry {
  readonly index: number
  readonly operation: Operation
  /** Nanoseconds of the system-wide monotonic clock, comparable between processes. */
  readonly start: number
  end?: number
  answer?: Answer
}

type Line =
  | { readonly i: number; readonly at: number; readonly op: Operation }
  | ({ readonly i: number; readonly at: number } & Answer)

/**
 * What a worker has been told, in a file of its own: the intent before the operation, the answer after it, each
 * written synchronously, so that kill -9 at any moment leaves the truth.
 */
export class Ledger {
  readonly #fd: number

  constructor(path: string) {
    this.#fd = openSync(path, 'a')
    // Whoever wrote it before was killed, perhaps in the middle of a line.
    if (!/^\n?$/.test(readFileSync(path, 'utf8').slice(-1))) writeSync(this.#fd, '\n')
  }

  intend(index: number, operation: Operation): void {
    this.#write({ i: index, at: now(), op: operation })
  }

  answered(index: number, answer: Answer): void {
    this.#write({ i: index, at: now(), ...answer })
  }

  close(): void {
    closeSync(this.#fd)
  }

  #write(line: Line): void {
    writeSync(this.#fd, `${JSON.stringify(line)}\n`)
  }
}

/** The operations in a ledger. A line cut short by a kill was never finished, so it counts for nothing. */
export function readLedger(path: string): Entry[] {
  const entries: Entry[] = []
  const lines = readFileSync(path, 'utf8').split('\n')
  lines.pop()
  for (const text of lines) {
    if (!text.endsWith('}')) continue
    const { i, at, ...rest } = JSON.parse(text) as Line
    if ('op' in rest) {
      entries.push({ index: i, operation: rest.op, start: at })
      continue
    }
    const entry = entries.at(-1)
    if (entry?.index !== i) throw new Error(`${path}: an answer to operation ${i}, which was never intended`)
    entry.end = at
    entry.answer = rest
  }
  return entries
}

/** The clock that all processes of a machine share (CLOCK_MONOTONIC on Linux), in nanoseconds. */
export function now(): number {
  return Number(process.hrtime.bigint())
}
