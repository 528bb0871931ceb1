import fc from 'fast-check'
import { figures } from '../fixtures/figures.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** Ten minutes instead of seconds: PSLOCK_LONG=1 multiplies the cases of every property by this. */
const LONG_FACTOR = 40

/** How many cases a property is tried with: PSLOCK_RUNS, else `normal`, and more of them with PSLOCK_LONG=1. */
function runsOf(normal: number): number {
  const wanted = Number(process.env.PSLOCK_RUNS)
  if (Number.isSafeInteger(wanted) && wanted > 0) return wanted
  return process.env.PSLOCK_LONG === '1' ? normal * LONG_FACTOR : normal
}

export interface Tried<T> {
  /** What is tried, for the figures. */
  readonly name: string
  /** How many cases the normal run tries. */
  readonly runs: number
  /** The case as a program that one can run. */
  script(example: T): string
}

/**
 * Tries a property with random cases. A failing one is shrunk, and shown as a script beside what replays it:
 * PSLOCK_SEED (printed with every run) and PSLOCK_PATH.
 * @param property rejects for a case that it does not hold for
 */
export async function holds<T>(
  cases: fc.Arbitrary<T>,
  property: (example: T) => Promise<void>,
  { name, runs, script }: Tried<T>,
): Promise<void> {
  const seed = newSeed()
  const numRuns = runsOf(runs)
  const path = process.env.PSLOCK_PATH
  const started = performance.now()
  const result = await fc.check(fc.asyncProperty(cases, property), {
    seed,
    numRuns,
    ...(path === undefined ? {} : { path }),
    // A shrinking that finds ever smaller cases is stopped; the smallest so far is shown.
    interruptAfterTimeLimit: 20 * 60_000,
    markInterruptAsFailure: false,
  })
  note(`seed ${seed}: ${result.numRuns} cases in ${((performance.now() - started) / 1000).toFixed(1)} s`)
  figures(`random cases: ${name}`, { seed, cases: result.numRuns })
  if (!result.failed) return
  const [example] = result.counterexample ?? []
  const why = result.errorInstance instanceof Error ? result.errorInstance : undefined
  throw new Error(
    `${why?.message ?? 'it failed'}\n\nPSLOCK_SEED=${seed} PSLOCK_PATH=${result.counterexamplePath} replays it, ` +
      `after ${result.numShrinks} shrinks. As a script:\n\n${example === undefined ? '' : script(example)}\n`,
    { cause: why },
  )
}

/** A value as JavaScript source. */
export function source(value: unknown): string {
  return fc.stringify(value)
}
