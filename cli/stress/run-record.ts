import type { Disturbance } from './chaos/disturber.ts'
import { type Hold, holdsPath, readHolds } from './chaos/lock-log.ts'
import type { CrewRun } from './crew.ts'
import type { Finding } from './findings.ts'
import type { History } from './history.ts'
import { type Answer, label } from './operation.ts'

/**
 * What happened in a run, as plain data: whatever can be drawn or counted afterwards can be taken from here. Times are
 * milliseconds since the workers began together; it is of one machine's monotonic clock, so they compare.
 */
export interface RunRecord {
  readonly elapsedMs: number
  readonly workers: readonly WorkerRecord[]
  /** What was done to the workers and when: kills, stops (with their end), and orders to compact, dump and copy. */
  readonly disturbances: readonly {
    readonly what: Disturbance['what']
    readonly worker: number
    readonly atMs: number
    readonly untilMs: number | undefined
  }[]
  /** Everything that was found, not only the first ones. */
  readonly findings: readonly Finding[]
}

export interface WorkerRecord {
  readonly worker: number
  readonly ended: History['ended']
  /** How often it was started again after a kill. */
  readonly restarts: number
  readonly operations: readonly {
    /** The name under which its latency is reported. */
    readonly kind: string
    readonly fromMs: number
    /** Undefined where it was never answered. */
    readonly toMs: number | undefined
    readonly said: Answer['said'] | undefined
  }[]
  /** When it waited for the lock, and had it; none in the control. Good to look at, a few microseconds late. */
  readonly holds: readonly {
    readonly mode: 'exclusive' | 'shared'
    readonly askedMs: number
    readonly grantedMs: number
    /** Undefined where it was killed with the lock in its hands. */
    readonly releasedMs: number | undefined
  }[]
}

/** @param path of the data: what the workers noted of their holds is beside it */
export function runRecord(path: string, run: CrewRun, findings: readonly Finding[]): RunRecord {
  const ms = (at: number) => (at - run.begin) / 1e6
  const msOr = (at: number | undefined) => (at === undefined ? undefined : ms(at))
  const workers = run.histories.map(({ worker, ended, restarts = 0, entries }): WorkerRecord => {
    return {
      worker,
      ended,
      restarts,
      operations: entries.map(({ operation, start, end, answer }) => ({
        kind: label(operation),
        fromMs: ms(start),
        toMs: msOr(end),
        said: answer?.said,
      })),
      holds: readHolds(holdsPath(path, worker)).map(({ mode, asked, granted, released }: Hold) => ({
        mode,
        askedMs: ms(asked),
        grantedMs: ms(granted),
        releasedMs: msOr(released),
      })),
    }
  })
  const lastMs = workers.flatMap(({ operations }) =>
    operations.slice(-1).map(({ fromMs, toMs }) => toMs ?? fromMs),
  )
  return {
    elapsedMs: Math.max(0, ...lastMs),
    workers,
    disturbances: run.disturbances.map(({ what, worker, at, until }) => ({
      what,
      worker,
      atMs: ms(at),
      untilMs: msOr(until),
    })),
    findings,
  }
}
