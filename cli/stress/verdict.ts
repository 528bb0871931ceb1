import { EXIT } from '../base/exit-codes.ts'
import type { Disturbance } from './chaos/disturber.ts'
import type { ChaosOptions } from './chaos/options.ts'
import { check } from './checks/check.ts'
import { checkCopies } from './checks/copies.ts'
import { contentionFloor, type Floor, type Measures, measure } from './contention.ts'
import type { Content } from './contents/content.ts'
import type { CrewRun } from './crew.ts'
import type { Finding, FindingKind } from './findings.ts'
import { type History, isAcknowledged } from './history.ts'
import type { Entry } from './ledger.ts'
import { checkLinearizability, type LinearizabilityChecked } from './linearizability/check.ts'
import type { Operation } from './operation.ts'
import type { StressOptions } from './options.ts'

/** The outcome of one run, as `--json` prints it. */
export interface Verdict extends Measures {
  readonly store: StressOptions['store']
  /** `control`: the vanilla library without a lock. */
  readonly mode: 'locked' | 'control'
  /** Where the store was, if on a server. */
  readonly server?: string | undefined
  readonly seed: number
  readonly procs: number
  /** Undefined with `seconds`: as many as there was time for. */
  readonly ops: number | undefined
  readonly seconds: number | undefined
  readonly chaos: ChaosOptions
  readonly thinkMs: number
  readonly sliceMs: number | 'default'
  readonly durability: 'process' | 'disk'
  /** How many were to be killed; how many were is in `workers`. */
  readonly kill: number
  /** procs x ops, or with `seconds` what was begun */
  readonly planned: number
  readonly workers: { readonly finished: number; readonly killed: number; readonly failed: number }
  /** Refusals that are right: a contested key that was taken, a bare change that met another one. */
  readonly refused: { readonly taken: number; readonly staleWrite: number }
  /** What was done to them besides: how often. `copies` were opened with the vanilla library, as were the dumps. */
  readonly disturbed: {
    readonly kills: number
    readonly restarts: number
    readonly stops: number
    readonly compactions: number
    /** Made necessary, and then found done. */
    readonly compactionsByNeed: number
    readonly dumps: number
    readonly copies: number
    /** Copies that ended in what a kill had left, and were mended as pslock mends the file. */
    readonly mended: number
  }
  readonly linearizability: LinearizabilityChecked
  /** Ended by Ctrl-C: the verdict is on what was done by then. */
  readonly interrupted: boolean
  readonly found: Readonly<Record<FindingKind, number>>
  /** The first findings in full. */
  readonly findings: readonly Finding[]
  readonly floor: Floor | undefined
  readonly verdict: 'clean' | 'damaged' | 'not enough contention'
  readonly exitCode: number
  /** Where the data and the ledgers are, with `--keep`. */
  readonly kept: string | undefined
}

/** What a run has left. */
export interface Remains {
  readonly content: Content
  /** Why pslock could not open the file again after kills. */
  readonly refusal: string | undefined
  /** Where the data and the ledgers are, if they were not removed. */
  readonly kept: string | undefined
  /** Where the store was, if on a server. */
  readonly server?: string | undefined
}

/** So many findings are told in full; of each kind so many at least. */
const TOLD = 20
const TOLD_OF_A_KIND = 3

/** Judges a run by what the workers were told and what the vanilla library finds in the file, and in every copy of it. */
export async function judge(
  options: StressOptions,
  run: CrewRun,
  { content, refusal, kept, server }: Remains,
): Promise<{ verdict: Verdict; findings: readonly Finding[] }> {
  const { histories, disturbances, interrupted } = run
  // A compaction writes the file in an order of its own, and so does a dump of rows.
  const isSorted = options.unlocked || options.url !== undefined || options.chaos.compactionsPerSecond > 0
  const findings = check(histories, isSorted ? { ...content, trail: undefined } : content)
  if (refusal !== undefined) {
    findings.add({ kind: 'errors', message: `pslock cannot open the file again: ${refusal}` })
  }
  const linearizability = checkLinearizability(histories, content, findings)
  const { dumps, copies, mended } = await checkCopies(histories, options, findings)
  const measures = measure(histories)
  const floor = contentionFloor(options, measures)
  const damaged = findings.total > 0
  const idle = !damaged && floor?.reached === false
  const count = (what: Disturbance['what']) => disturbances.filter((one) => one.what === what).length
  const verdict: Verdict = {
    store: options.store,
    mode: options.unlocked ? 'control' : 'locked',
    server,
    seed: options.seed,
    procs: options.procs,
    ops: options.seconds === undefined ? options.ops : undefined,
    seconds: options.seconds,
    chaos: options.chaos,
    thinkMs: options.thinkMs,
    sliceMs: options.sliceMs ?? 'default',
    durability: options.durability,
    kill: options.kill,
    planned:
      options.seconds === undefined
        ? options.procs * options.ops
        : histories.reduce((sum, { entries }) => sum + entries.length, 0),
    ...measures,
    workers: {
      finished: endedAs(histories, 'finished'),
      killed: endedAs(histories, 'killed'),
      failed: endedAs(histories, 'failed'),
    },
    refused: { taken: answered(histories, 'taken'), staleWrite: answered(histories, 'stale') },
    disturbed: {
      kills: count('kill'),
      restarts: histories.reduce((sum, { restarts = 0 }) => sum + restarts, 0),
      stops: count('stop'),
      compactions: acknowledged(histories, 'compact'),
      compactionsByNeed: acknowledged(histories, 'compactByNeed', 1),
      dumps,
      copies,
      mended,
    },
    linearizability,
    interrupted,
    found: findings.counts,
    findings: told(findings.first),
    floor,
    verdict: damaged ? 'damaged' : idle ? 'not enough contention' : 'clean',
    exitCode: interrupted ? EXIT.interrupted : damaged ? EXIT.damaged : idle ? EXIT.idle : EXIT.clean,
    kept,
  }
  return { verdict, findings: findings.first }
}

/** The first findings, in their order, with some of every kind among them. */
function told(all: readonly Finding[]): Finding[] {
  const seen = new Map<FindingKind, number>()
  const nth = (kind: FindingKind) => {
    seen.set(kind, (seen.get(kind) ?? 0) + 1)
    return seen.get(kind) as number
  }
  const first = all.filter(({ kind }) => nth(kind) <= TOLD_OF_A_KIND)
  const others = all.filter((finding) => !first.includes(finding))
  const chosen = new Set([...first, ...others].slice(0, Math.max(TOLD, first.length)))
  return all.filter((finding) => chosen.has(finding))
}

function acknowledged(histories: readonly History[], kind: Operation['kind'], value?: number): number {
  const counts = (entry: Entry) =>
    entry.operation.kind === kind &&
    isAcknowledged(entry) &&
    (value === undefined || (entry.answer as { value?: number }).value === value)
  return histories.reduce((sum, { entries }) => sum + entries.filter(counts).length, 0)
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
