/** What a mate can be told, whatever language it is written in. Times are of the common clock (clock.ts). */
export interface Commands {
  /** Rejects where the lock cannot be had here: its package is not installed. Answers the package's version, if known. */
  load(lock: string): string | undefined
  /** Takes the lock and keeps it. Answers when it was granted. */
  acquire(lock: string, path: string): number
  /** Gives back what `acquire` took after a while. Answers when it began to do so. */
  releaseAfter(ms: number): number
  /** Takes the lock and gives it back again and again, with nobody else there. Answers how often it did in a second. */
  alone(lock: string, path: string, form: 'async' | 'sync', forMs: number): number | undefined
  /** Wants it again and again from a moment on, and raises a counter each time. */
  contend(lock: string, path: string, counter: string, startAtMs: number, forMs: number): Contended
}

/** What one process got in a crowd. */
export interface Contended {
  /** How often it had the lock. */
  readonly count: number
  /** How often somebody else had had it just before. */
  readonly turns: number
  /** For how long it waited for its turns, in all. */
  readonly waitedMs: number
  readonly longestMs: number
  /** When it was done. */
  readonly endedAtMs: number
}

/** What only the mates of the waiting lab can be told. */
export interface WaitingCommands extends Commands {
  /** Begins to wait, and answers what that cost: milliseconds of processor time within the window after a warm-up. */
  idle(lock: string, path: string, warmUpMs: number, windowMs: number): number
  /** Resolves when everything that began to wait here has had the lock and given it back. */
  drained(): number
  /** Begins so many waits, and answers how many milliseconds a small `fs.readFile` takes beside them. */
  readBeside(lock: string, path: string, waits: number, file: string): number
  /** Waits and gives up after a while. */
  giveUp(lock: string, path: string, afterMs: number): void
  /** How many waits were granted after they had been given up. */
  lateGrants(): number
}
