/** What happens to the workers, and to the file, while they work. Rates are times per second; 0 is never. */
export interface ChaosOptions {
  /** kill -9 of a worker, which is started again. */
  readonly killsPerSecond: number
  /** SIGSTOP of a worker for a random while, then SIGCONT. */
  readonly stopsPerSecond: number
  /** A worker compacts the file. */
  readonly compactionsPerSecond: number
  /** A worker dumps the store; every dump is checked. */
  readonly dumpsPerSecond: number
  /** A worker copies the file under the shared lock; the vanilla library opens every copy. */
  readonly copiesPerSecond: number
  /** So many workers take their time inside transactions. */
  readonly slow: number
  /** So many workers block their event loop for random whiles. */
  readonly block: number
  /** The Date of every other worker jumps by days. */
  readonly clockJump: boolean
}

export const CALM: ChaosOptions = Object.freeze({
  killsPerSecond: 0,
  stopsPerSecond: 0,
  compactionsPerSecond: 0,
  dumpsPerSecond: 0,
  copiesPerSecond: 0,
  slow: 0,
  block: 0,
  clockJump: false,
})
