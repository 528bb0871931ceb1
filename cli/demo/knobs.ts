/** The three ways to run the demo. */
export const WAYS = ['pslock', 'none', 'sqlite'] as const
export type Way = (typeof WAYS)[number]

/** What a run of the demo can be set to. Durations are in milliseconds. */
export interface Knobs {
  readonly way: Way
  /** How many processes insert, besides the web site. */
  readonly processes: number
  /** How many records each of them inserts. */
  readonly num: number
  /** A pause of each process between two records. */
  readonly delayMs: number
  /** How long the lock is kept with each record. */
  readonly sleepMs: number
  /** How long a process waits for the lock before it gives the record up. */
  readonly timeoutMs: number
  /** Whether SQLite keeps a write-ahead log; its rollback journal otherwise. */
  readonly wal: boolean
}

export const DEFAULT_KNOBS: Knobs = {
  way: 'pslock',
  processes: 3,
  num: 15_000,
  delayMs: 0,
  sleepMs: 0,
  timeoutMs: 10_000,
  wal: true,
}

/** The numbers among them: least, most. */
export const BOUNDS = {
  processes: [1, 10],
  num: [1, 100_000],
  delayMs: [0, 10_000],
  sleepMs: [0, 10_000],
  timeoutMs: [0, 60_000],
} as const

export type NumberKnob = keyof typeof BOUNDS

/**
 * What a request asks for; a knob that it leaves out has its default.
 * @throws RangeError which says what is wrong
 */
export function knobsOf(asked: unknown): Knobs {
  if (typeof asked !== 'object' || asked === null || Array.isArray(asked))
    throw new RangeError('The knobs must be an object.')
  const unknown = Object.keys(asked).find((name) => !Object.hasOwn(DEFAULT_KNOBS, name))
  if (unknown !== undefined) throw new RangeError(`There is no knob ${JSON.stringify(unknown.slice(0, 40))}.`)
  const knobs = { ...DEFAULT_KNOBS, ...asked }
  for (const [name, [least, most]] of Object.entries(BOUNDS)) {
    const value: unknown = knobs[name as NumberKnob]
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
      throw new RangeError(`${name} must be a whole number from ${least} to ${most}.`)
  }
  if (!WAYS.includes(knobs.way)) throw new RangeError(`way must be one of ${WAYS.join(', ')}.`)
  if (typeof knobs.wal !== 'boolean') throw new RangeError('wal must be true or false.')
  return knobs
}
