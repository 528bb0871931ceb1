import type { Disturbance } from '../../cli/stress/chaos/disturber.ts'
import { CALM } from '../../cli/stress/chaos/options.ts'
import { measure } from '../../cli/stress/contention.ts'
import { type Finding, Findings } from '../../cli/stress/findings.ts'
import type { History } from '../../cli/stress/history.ts'
import { runRecord, type WorkerRecord } from '../../cli/stress/run-record.ts'
import type { StressRun } from '../../cli/stress/stress.ts'
import type { Verdict } from '../../cli/stress/verdict.ts'

/** What a made-up run is made of; whatever is left out did not happen. Times are milliseconds from the beginning. */
export interface MadeUp {
  readonly mode?: Verdict['mode']
  readonly workers: readonly {
    /** Of each operation: from when to when; without an end nobody answered it. */
    readonly operations: readonly (readonly [fromMs: number, toMs?: number])[]
    readonly holds?: WorkerRecord['holds']
    readonly ended?: History['ended']
  }[]
  readonly findings?: readonly Finding[]
  readonly disturbances?: readonly {
    what: Disturbance['what']
    worker: number
    atMs: number
    untilMs?: number
  }[]
  readonly verdict?: Partial<Verdict>
}

/** A run that never was: its measures are true to its operations, as those of a real one are. */
export function madeUpRun({ mode = 'locked', workers, disturbances = [], ...more }: MadeUp): StressRun {
  const histories = workers.map(({ operations, ended = 'finished' }, worker): History => {
    const entries = operations.map(([fromMs, toMs], index) => ({
      index,
      operation: { kind: 'readCount' } as const,
      start: fromMs * 1e6,
      ...(toMs === undefined ? {} : { end: toMs * 1e6, answer: { said: 'done' } as const }),
    }))
    return { worker, entries, ended }
  })
  const findings = new Findings()
  for (const finding of more.findings ?? []) findings.add(finding)
  const damaged = findings.total > 0
  const verdict: Verdict = {
    store: 'nedb',
    mode,
    seed: 1,
    procs: workers.length,
    ops: 10,
    seconds: undefined,
    chaos: CALM,
    thinkMs: 0,
    sliceMs: 'default',
    durability: 'process',
    kill: 0,
    planned: histories.reduce((sum, { entries }) => sum + entries.length, 0),
    ...measure(histories),
    workers: { finished: workers.length, killed: 0, failed: 0 },
    refused: { taken: 0, staleWrite: 0 },
    disturbed: {
      kills: 0,
      restarts: 0,
      stops: 0,
      compactions: 0,
      compactionsByNeed: 0,
      dumps: 0,
      copies: 0,
      mended: 0,
    },
    linearizability: { histories: 0, operations: 0, undecided: 0 },
    interrupted: false,
    found: findings.counts,
    findings: findings.first.slice(0, 20),
    floor: undefined,
    verdict: damaged ? 'damaged' : 'clean',
    exitCode: damaged ? 1 : 0,
    kept: undefined,
    ...more.verdict,
  }
  const run = {
    histories,
    disturbances: disturbances.map(({ what, worker, atMs, untilMs }) => {
      return { what, worker, at: atMs * 1e6, ...(untilMs === undefined ? {} : { until: untilMs * 1e6 }) }
    }),
    begin: 0,
    interrupted: false,
  }
  const record = runRecord('/nowhere/data.db', run, findings.first)
  return {
    verdict,
    record: {
      ...record,
      workers: record.workers.map((worker, index) => ({ ...worker, holds: workers[index]?.holds ?? [] })),
    },
  }
}

/** Workers in turns, each with the lock for half of its operation. */
export function inTurns(procs: number, ops: number, eachMs = 2): MadeUp['workers'] {
  return Array.from({ length: procs }, (_, worker) => {
    const starts = Array.from({ length: ops }, (_, index) => (index * procs + worker) * eachMs)
    return {
      operations: starts.map((fromMs) => [fromMs, fromMs + eachMs] as const),
      holds: starts.map((askedMs, index) => ({
        mode: index % 3 === 0 ? ('shared' as const) : ('exclusive' as const),
        askedMs,
        grantedMs: askedMs + eachMs / 2,
        releasedMs: askedMs + eachMs,
      })),
    }
  })
}
