import { CALM, type ChaosOptions } from './chaos/options.ts'

/** The stores that can be put under stress. */
export const STORES = ['nedb', 'nedb-promises', 'lowdb'] as const
export type StoreName = (typeof STORES)[number]

export interface StressOptions {
  readonly store: StoreName
  /** Of the store, where it is on a server. There may be a password in it: it is neither shown nor given as an argument. */
  readonly url?: string | undefined
  /** How many processes. */
  readonly procs: number
  /** Operations of each process; with `seconds` there is no limit (`Infinity`). */
  readonly ops: number
  /** How long the workers work, if not until their operations are done. */
  readonly seconds: number | undefined
  readonly seed: number
  /** The control: the vanilla library, without any lock. */
  readonly unlocked: boolean
  /** How many processes are killed (SIGKILL) while they work, and not started again. */
  readonly kill: number
  readonly chaos: ChaosOptions
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

type Defaulted = 'store' | 'procs' | 'ops' | 'thinkMs' | 'durability' | 'stallMs' | 'seconds' | 'chaos'

export const DEFAULTS: Readonly<Pick<StressOptions, Defaulted>> = Object.freeze({
  store: 'nedb',
  procs: 50,
  ops: 40,
  seconds: undefined,
  chaos: CALM,
  thinkMs: 5,
  durability: 'process',
  stallMs: 60_000,
})

/** By which a worker is told the `url`: everybody can see the arguments of a process. */
export const URL_VARIABLE = 'PSLOCK_STRESS_URL'
