/**
 * One peer's store as a process has it open: the calls that workloads are made of. Each resolves, or returns, once it is
 * acknowledged; what a peer cannot do is not there.
 */
export interface Store {
  /** Adds a record, with an id of the library's own making where none is given. */
  insert?(id?: string): unknown
  /** Reads the record with this number. Throws where it is not there. */
  find?(record: number): unknown
  /** Reads every record at once. Answers how many there are. */
  readAll?(): number | Promise<number>
  /** Adds 1 to the counter with this number. */
  increment?(counter: number): unknown
  /** Adds so many records, all or none. */
  transaction?(records: number): unknown
  /** Adds a line. */
  append?(): unknown
  /** Does all that the workload does by itself, in a process of its own. */
  alone?(startAtMs: number, forMs: number): Promise<Done>
  close(): unknown
}

/** What a peer that measures by itself has done. */
export interface Done {
  readonly operations: number
  readonly atHalf: number
  readonly atEnd: number
  /** One for each operation. */
  readonly waitsMs: readonly number[]
}

/** What is in a store after a run. */
export interface Contents {
  /** Without the counters. */
  readonly records: number
  /** The sum of all counters. */
  readonly increments: number
}

/** Another way to share a store, or a lock. All of it runs in the measured processes. */
export interface Peer {
  /** Makes a store of so many records and `COUNTERS` counters of 0. */
  prepare(path: string, records: number): unknown
  open(path: string): Store | Promise<Store>
  /** What the peer's own library finds in the closed store, opened anew. */
  contents(path: string): Contents | Promise<Contents>
}

export const COUNTERS = 1000

/** The text of every record: a record is about 100 bytes, as JSON. */
export const TEXT = 'a record of about one hundred bytes, its id and its braces included'

export function recordId(record: number): string {
  return `record-${record}`
}

export function counterId(counter: number): string {
  return `counter-${counter}`
}
