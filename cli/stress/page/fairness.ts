import type { WorkerRecord } from '../run-record.ts'
import type { StressRun } from '../stress.ts'
import type { Plot } from './plot.ts'

/**
 * Operations of each worker, in the first half of the time and in the second, when the quick ones may be done.
 * @param most the end of the scale, in operations
 */
export function fairnessPlot({ verdict, record: { workers } }: StressRun, most: number): Plot {
  const halfTimeMs = halfTime(workers)
  const counted = workers.map(({ worker, ended, restarts, operations }) => {
    const ends = answeredAt(operations)
    const early = ends.filter((toMs) => toMs <= halfTimeMs).length
    return { worker, ended, restarts, early, late: ends.length - early }
  })
  // Who was killed for good has not had its share, and cannot tell whether it would have had.
  const alive = counted.filter(({ ended }) => ended !== 'killed').map(({ early }) => early)
  const fewest = alive.reduce((least, count) => Math.min(least, count), alive[0] ?? 0)
  const greatest = alive.reduce((sofar, count) => Math.max(sofar, count), 0)
  return {
    finding:
      greatest === 0
        ? 'No process had done anything by half time.'
        : `By half time every process had done between ${fewest} and ${greatest} operations: fairness ${verdict.fairness.toFixed(2)}, where 1 is equal shares.`,
    drawing: counted.every(({ early, late }) => early + late === 0)
      ? undefined
      : {
          kind: 'fairness',
          workers: counted.map(({ worker }) => String(worker)),
          early: counted.map(({ early }) => early),
          late: counted.map(({ late }) => late),
          most,
        },
    table: {
      head: ['process', 'by half time', 'after it', 'ended', 'restarts'],
      rows: counted.map(({ worker, early, late, ended, restarts }) =>
        [worker, early, late, ended, restarts].map(String),
      ),
    },
  }
}

/** When a worker's operations were answered. */
export function answeredAt(operations: WorkerRecord['operations']): number[] {
  return operations.flatMap(({ toMs, said }) => (toMs === undefined || said === 'error' ? [] : [toMs]))
}

/** As the verdict has it: between the first call that was answered and the last answer. */
function halfTime(workers: readonly WorkerRecord[]): number {
  let first = Number.POSITIVE_INFINITY
  let last = 0
  for (const { fromMs, toMs, said } of workers.flatMap(({ operations }) => operations)) {
    if (toMs === undefined || said === 'error') continue
    first = Math.min(first, fromMs)
    last = Math.max(last, toMs)
  }
  return (first + last) / 2
}
