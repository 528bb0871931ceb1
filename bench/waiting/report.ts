import { duration, figure } from '../../cli/base/table.ts'
import { CANDIDATES, type CandidateName } from '../candidates/registry.ts'
import type { Crowd } from '../lab/contention.ts'
import { median, quantile } from '../lab/statistics.ts'
import { WAITS_OF_ONE } from './measures.ts'

/** All that was measured of one way of waiting, round by round. */
export interface Waiting {
  readonly name: CandidateName
  /** Milliseconds from a release to the next holder, by how long the lock was held. */
  readonly handOverMs: { readonly 5: number[]; readonly 50: number[] }
  readonly idlePercent: number[]
  readonly crowds: Crowd[]
  readonly readMs: number[]
  /** Milliseconds from a timeout to the end of the process; undefined: kept until the release. */
  exitMs?: number | undefined
  processExitMs?: number | undefined
  cancels?: boolean
}

export function isVoid({ crowds }: Waiting): boolean {
  return crowds.some(({ lost }) => lost !== 0)
}

/** The figures as rows of cells, the names of the columns first. */
export function waitingRows(results: readonly Waiting[], procs: number): string[][] {
  const header = [
    'way of waiting',
    'hand-over after 5 ms (median / p90)',
    'after 50 ms',
    `CPU of ${procs - 1} waiters`,
    `ops/s of ${procs}`,
    'turns, fewest / most',
    'longest / mean wait',
    `readFile beside ${WAITS_OF_ONE} waits`,
    'timed out: ends by itself',
    'by process.exit',
    'can be cancelled',
  ]
  return [header, ...results.map(row)]
}

function row(result: Waiting): string[] {
  const { name, handOverMs, idlePercent, crowds, readMs, exitMs, processExitMs, cancels } = result
  const both = (values: number[]) => `${figure(median(values))} / ${duration(quantile(values, 0.9))}`
  const crowd = [...crowds].sort((a, b) => a.perSecond - b.perSecond)[crowds.length >> 1]
  const ends = (ms: number | undefined) => (ms === undefined ? 'no' : `yes, ${duration(ms)}`)
  if (!crowd || isVoid(result)) {
    const lost = crowds.map((run) => run.lost).join(', ')
    return [CANDIDATES[name].title, `void: lost ${lost}`, ...Array.from({ length: 9 }, () => '-')]
  }
  return [
    CANDIDATES[name].title,
    both(handOverMs[5]),
    both(handOverMs[50]),
    `${figure(median(idlePercent))} %`,
    figure(crowd.perSecond),
    `${crowd.fewest} / ${crowd.most}`,
    `${duration(crowd.longestMs)} / ${duration(crowd.meanMs)} = ${figure(crowd.longestMs / crowd.meanMs)}x`,
    duration(median(readMs)),
    ends(exitMs),
    ends(processExitMs),
    cancels ? 'yes' : 'no',
  ]
}
