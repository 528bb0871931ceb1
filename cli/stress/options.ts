/** The stores that can be put under stress. */
export const STORES = ['nedb', 'nedb-promises', 'lowdb'] as const
export type StoreName = (typeof STORES)[number]

export interface StressOptions {
  readonly store: StoreName
  /** How many processes. */
  readonly procs: number
  /** Operations of each process. */
  readonly ops: number
  readonly seed: number
  /** The control: the vanilla library, without any lock. */
  readonly unlocked: boolean
  /** How many processes are killed (SIGKILL) while they work. */
  readonly kill: number
  /** Longest pause between two operations of a process; 0 is none at all. */
  readonly thinkMs: number
  /** The store's time slice; undefined is its default. */
  readonly sliceMs: number | undefined
  readonly durability: 'process' | 'disk'
  /** Where the temporary folder is made. */
  readonly dir: string
  /** Leaves the data and the ledgers where they are. */
  readonly keep: boolean
  /** A process without any progress for this long is taken as hung. */
  readonly stallMs: number
}

type Defaulted = 'store' | 'procs' | 'ops' | 'thinkMs' | 'durability' | 'stallMs'

export const DEFAULTS: Readonly<Pick<StressOptions, Defaulted>> = Object.freeze({
  store: 'nedb',
  procs: 50,
  ops: 40,
  thinkMs: 5,
  durability: 'process',
  stallMs: 60_000,
})
