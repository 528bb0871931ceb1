import { EXIT } from '../exit-codes.ts'
import { check } from './checks/check.ts'
import { contentionFloor, type Floor, type Measures, measure } from './contention.ts'
import type { Content } from './contents/content.ts'
import type { Finding, FindingKind } from './findings.ts'
import type { History } from './history.ts'
import type { StressOptions } from './options.ts'

/** The outcome of one run, as `--json` prints it. */
export interface Verdict extends Measures {
  readonly store: StressOptions['store']
  /** `control`: the vanilla library without a lock. */
  readonly mode: 'locked' | 'control'
  readonly seed: number
  readonly procs: number
  readonly ops: number
  readonly thinkMs: number
  readonly sliceMs: number | 'default'
  readonly durability: 'process' | 'disk'
  /** How many were to be killed; how many were is in `workers`. */
  readonly kill: number
  /** procs x ops */
  readonly planned: number
  readonly workers: { readonly finished: number; readonly killed: number; readonly failed: number }
  /** Refusals that are right: a contested key that was taken, a bare change that met another one. */
  readonly refused: { readonly taken: number; readonly staleWrite: number }
  readonly found: Readonly<Record<FindingKind, number>>
  /** The first findings in full. */
  readonly findings: readonly Finding[]
  readonly floor: Floor | undefined
  readonly verdict: 'clean' | 'damaged' | 'not enough contention'
  readonly exitCode: number
  /** Where the data and the ledgers are, with `--keep`. */
  readonly kept: string | undefined
}

/** Judges a run by what the workers were told and what the vanilla library finds in the file. */
export function judge(
  options: StressOptions,
  histories: readonly History[],
  content: Content,
  kept?: string,
): Verdict {
  const findings = check(histories, options.unlocked ? { ...content, trail: undefined } : content)
  const measures = measure(histories)
  const floor = contentionFloor(options, measures)
  const damaged = findings.total > 0
  const idle = !damaged && floor?.reached === false
  return {
    store: options.store,
    mode: options.unlocked ? 'control' : 'locked',
    seed: options.seed,
    procs: options.procs,
    ops: options.ops,
    thinkMs: options.thinkMs,
    sliceMs: options.sliceMs ?? 'default',
    durability: options.durability,
    kill: options.kill,
    planned: options.procs * options.ops,
    ...measures,
    workers: {
      finished: endedAs(histories, 'finished'),
      killed: endedAs(histories, 'killed'),
      failed: endedAs(histories, 'failed'),
    },
    refused: { taken: answered(histories, 'taken'), staleWrite: answered(histories, 'stale') },
    found: findings.counts,
    findings: findings.first,
    floor,
    verdict: damaged ? 'damaged' : idle ? 'not enough contention' : 'clean',
    exitCode: damaged ? EXIT.damaged : idle ? EXIT.idle : EXIT.clean,
    kept,
  }
}

function endedAs(histories: readonly History[], how: History['ended']): number {
  return histories.filter(({ ended }) => ended === how).length
}

function answered(histories: readonly History[], said: 'taken' | 'stale'): number {
  return histories.reduce(
    (sum, { entries }) => sum + entries.filter(({ answer }) => answer?.said === said).length,
    0,
  )
}
