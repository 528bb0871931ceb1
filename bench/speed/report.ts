import { duration, figure } from '../../cli/base/table.ts'
import { median } from '../lab/statistics.ts'
import type { Result } from './cell.ts'
import type { Outcome } from './group.ts'
import { PEERS } from './peers.ts'
import type { Group } from './plan.ts'
import { isVoid, type Run, ratios, resultsOf, type State } from './run.ts'
import type { Pairs } from './solos/pairs.ts'
import type { Solos } from './solos.ts'
import { verdicts } from './targets.ts'
import { WORKLOADS } from './workloads.ts'

/** A heading and its table, the names of the columns first. */
export interface Section {
  readonly title: string
  readonly rows: string[][]
}

/** Of new processes. Nothing where that was not measured. */
export function coldSections(run: Run): Section[] {
  const isMeasured = run.groups.some(({ outcomes }) => outcomes.some((each) => each.firsts.length > 0))
  return isMeasured ? [firsts(run), targets(run, 'cold')] : []
}

/** Of processes that are warm. */
export function warmSections(run: Run): Section[] {
  return run.isCold ? [] : [targets(run, 'warm'), ...run.groups.map(group), ...solos(run.solos)]
}

function targets(run: Run, state: State): Section {
  const judged = verdicts(run, state).filter(({ measured }) => run.isWhole || measured !== undefined)
  const rows = judged.map(({ title, asked, measured, isMet }) =>
    measured === undefined
      ? [title, asked, '-', 'not measured']
      : [title, asked, times(measured, 3), isMet ? 'met' : '**missed**'],
  )
  return { title: `Targets, ${state}`, rows: [['what, and by what', 'target', 'measured', ''], ...rows] }
}

function group({ group, outcomes }: Run['groups'][number]): Section {
  const header = [
    '',
    'ops/s',
    'ours by it',
    'median wait',
    'p99',
    'longest',
    'fairness at half',
    'at the end',
    'CPU of an operation',
  ]
  const [ours] = outcomes
  return { title: groupTitle(group), rows: [header, ...outcomes.map((each) => row(each, ours))] }
}

export function groupTitle(group: Group): string {
  const { processes, workload, records } = group
  const size =
    workload === 'update' || workload === 'append' ? '' : `${records.toLocaleString('en-US')} records`
  return [workTitle(group), processes === 1 ? '1 process' : `${processes} processes`, size]
    .filter(Boolean)
    .join(', ')
}

function workTitle({ workload, records }: Group): string {
  const size = workload === 'update' ? ` of ${bytes(records * 145)}` : ''
  return WORKLOADS[workload].title + size
}

function row(outcome: Outcome, ours: Outcome | undefined): string[] {
  const { title } = PEERS[outcome.peer]
  if (outcome.void !== undefined)
    return [title, `void: ${outcome.void}`, ...Array.from({ length: 7 }, () => '-')]
  const { results } = outcome
  const of = (pick: (result: Result) => number) => median(results.map(pick))
  return [
    title,
    figure(of(({ perSecond }) => perSecond)),
    times(median(ratios(ours, outcome))),
    duration(of(({ p50Ms }) => p50Ms)),
    duration(of(({ p99Ms }) => p99Ms)),
    duration(of(({ longestMs }) => longestMs)),
    figure(of(({ fairnessAtHalf }) => fairnessAtHalf)),
    figure(of(({ fairness }) => fairness)),
    cpu(of(({ cpuUs }) => cpuUs)),
  ]
}

/** The first operations of new processes: all workloads in one table. */
function firsts(run: Run): Section {
  const header = [
    'first operations of new processes',
    '',
    'ops/s',
    'by it',
    'p99',
    'longest',
    'fairness at half',
    'CPU of an operation',
  ]
  const rows = run.groups.flatMap(({ group, outcomes }) => {
    const cold = outcomes.filter((each) => group.first?.peers.includes(each.peer))
    const base = cold.find(({ peer }) => peer === group.first?.peers[1])
    return cold.map((outcome, index) => {
      const what = index === 0 ? `${workTitle(group)}, ${group.first?.operations} each` : ''
      const { title } = PEERS[outcome.peer]
      if (outcome.void !== undefined)
        return [what, title, `void: ${outcome.void}`, ...Array.from({ length: 5 }, () => '-')]
      const of = (pick: (result: Result) => number) => median(outcome.firsts.map(pick))
      return [
        what,
        title,
        figure(of(({ perSecond }) => perSecond)),
        times(median(ratios(outcome, base, 'cold'))),
        duration(of(({ p99Ms }) => p99Ms)),
        duration(of(({ longestMs }) => longestMs)),
        figure(of(({ fairnessAtHalf }) => fairnessAtHalf)),
        cpu(of(({ cpuUs }) => cpuUs)),
      ]
    })
  })
  return { title: 'Cold', rows: [header, ...rows] }
}

function solos({ pairs, open, steps }: Solos): Section[] {
  const found: Section[] = []
  if (pairs) {
    const of = (pick: (each: Pairs) => number) => times(median(pairs.map(pick)))
    found.push({
      title: 'Lock and unlock with nobody else there: time, by a C loop of flock, stat and unlock',
      rows: [
        ['`acquireSync` and `release`', '`exclusiveSync`', '`exclusive`'],
        [of((each) => each.acquireSync), of((each) => each.exclusiveSync), of((each) => each.exclusive)],
      ],
    })
  }
  if (open) {
    const weighed = (title: string, weights: typeof open.ours) => {
      const of = (pick: (weight: (typeof weights)[number]) => number) => median(weights.map(pick))
      return [
        title,
        duration(of(({ openMs }) => openMs)),
        bytes(of(({ heldBytes }) => heldBytes)),
        bytes(of(({ residentBytes }) => residentBytes)),
        duration(of(({ readMs }) => readMs)),
        bytes(of(({ heldAfterReadBytes }) => heldAfterReadBytes)),
      ]
    }
    found.push({
      title: 'Opening a file of 100,000 records, each time in a new process',
      rows: [
        ['', 'open', 'heap and external', 'RSS', 'first read of all', 'heap and external then'],
        weighed('LockedNedb', open.ours),
        weighed('vanilla nedb', open.vanilla),
      ],
    })
  }
  if (steps) {
    const line = (title: string, name: keyof (typeof steps)[number]) => [
      title,
      times(median(steps.map((costs) => costs[name].ours))),
      times(median(steps.map((costs) => costs[name].vanilla))),
    ]
    found.push({
      title: 'Time of an operation at 100,000 records, by that at 1,000',
      rows: [
        ['', 'LockedNedb', 'vanilla nedb in memory'],
        line('insert', 'insert'),
        line('`$inc` by id', 'increment'),
        line('find by id', 'find'),
      ],
    })
  }
  return found
}

/** The short tables of the README. */
export function coldSummary(run: Run): string[][] {
  const columns = ['pslock', 'with @pslock/native', 'better-sqlite3 (WAL), or by hand', 'pslock / it']
  return summary(run, 'cold', columns, (outcomes) => {
    const cold = outcomes.filter(({ firsts }) => firsts.length > 0)
    const native = cold.find(({ peer }) => peer.startsWith('nedb-native'))
    return [cold[0], native, cold[1]]
  })
}

export function warmSummary(run: Run): string[][] {
  const columns = ['pslock', 'lmdb', 'store + proper-lockfile', 'better-sqlite3 (WAL)', 'pslock / SQLite']
  return summary(run, 'warm', columns, (outcomes) => {
    const of = (...names: string[]) => outcomes.find(({ peer }) => names.includes(peer))
    return [
      outcomes[0],
      of('lmdb', 'lmdb-durable'),
      of('nedb-lockfile', 'lowdb-lockfile', 'proper-lockfile'),
      of('sqlite', 'sqlite-full'),
    ]
  })
}

/**
 * @param columns of the peers, and of what the first does by the last
 * @param cells the peers of a line; empty where something was not measured
 */
function summary(
  run: Run,
  state: State,
  columns: readonly string[],
  cells: (outcomes: readonly Outcome[]) => readonly (Outcome | undefined)[],
): string[][] {
  const lines = run.groups.filter(({ group }) => group.processes === 50 && SUMMARY.includes(group.workload))
  const rows = lines.map(({ group, outcomes }) => {
    const peers = cells(outcomes)
    const figures = peers.map((peer) => {
      const results = resultsOf(peer, state)
      return results.length === 0 ? '-' : figure(median(results.map(({ perSecond }) => perSecond)))
    })
    return [workTitle(group), ...figures, times(median(ratios(peers[0], peers.at(-1), state)))]
  })
  return [[`operations a second, ${state}`, ...columns], ...rows]
}

const SUMMARY: readonly Group['workload'][] = ['insert', 'inc-one', 'find', 'mix', 'durable-insert', 'update']

/** What must stand below every table of a run. */
export function footnotes(run: Run): string[] {
  const lines = [run.how]
  if (isVoid(run)) lines.push('Void: what was acknowledged was not all there.')
  if (run.leftOut.length > 0) lines.push(`Left out: ${run.leftOut.join('; ')}.`)
  return lines
}

/** Two digits that matter: more are not to be had on a shared machine. */
function times(ratio: number, digits = 2): string {
  if (Number.isNaN(ratio)) return '-'
  const rounded = Number(ratio.toPrecision(digits))
  return `${rounded >= 1 && rounded < 10 ? rounded.toFixed(digits - 1) : rounded.toLocaleString('en-US')}x`
}

function bytes(count: number): string {
  return count < 1e6 ? `${Math.round(count / 1e3)} KB` : `${Math.round(count / 1e6)} MB`
}

function cpu(us: number): string {
  if (Number.isNaN(us)) return '-'
  return us < 1000 ? `${figure(us)} us` : duration(us / 1000)
}
