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

export function sections(run: Run): Section[] {
  return [targets(run), ...run.groups.map(group), ...solos(run.solos)]
}

function targets(run: Run): Section {
  const judged = verdicts(run).filter(({ measured }) => run.isWhole || measured !== undefined)
  const rows = judged.map(({ title, asked, measured, isMet }) =>
    measured === undefined
      ? [title, asked, '-', 'not measured']
      : [title, asked, times(measured, 3), isMet ? 'met' : '**missed**'],
  )
  return { title: 'Targets', rows: [['what, and by what', 'target', 'measured', ''], ...rows] }
}

function group({ group, outcomes }: Run['groups'][number]): Section {
  const header = [
    '',
    'state',
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
  const cold = outcomes.filter(({ firsts }) => firsts.length > 0)
  const rows = [
    ...cold.map((each) => row(each, ours, 'cold')),
    ...outcomes.map((each) => row(each, ours, 'warm')),
  ]
  return { title: groupTitle(group), rows: [header, ...rows] }
}

export function groupTitle({ workload, processes, records }: Group): string {
  const size =
    workload === 'update'
      ? `${bytes(records * 145)}`
      : workload === 'append'
        ? ''
        : `${records.toLocaleString('en-US')} records`
  return [WORKLOADS[workload].title, processes === 1 ? '1 process' : `${processes} processes`, size]
    .filter(Boolean)
    .join(', ')
}

function row(outcome: Outcome, ours: Outcome | undefined, state: State): string[] {
  const { title } = PEERS[outcome.peer]
  if (outcome.void !== undefined)
    return [title, state, `void: ${outcome.void}`, ...Array.from({ length: 7 }, () => '-')]
  const results = resultsOf(outcome, state)
  const of = (pick: (result: Result) => number) => median(results.map(pick))
  return [
    title,
    state,
    figure(of(({ perSecond }) => perSecond)),
    times(median(ratios(ours, outcome, state))),
    duration(of(({ p50Ms }) => p50Ms)),
    duration(of(({ p99Ms }) => p99Ms)),
    duration(of(({ longestMs }) => longestMs)),
    figure(of(({ fairnessAtHalf }) => fairnessAtHalf)),
    state === 'cold' ? '' : figure(of(({ fairness }) => fairness)),
    cpu(of(({ cpuUs }) => cpuUs)),
  ]
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

/** The short table of the README. Empty cells where something was not measured. */
export function summary(run: Run): string[][] {
  const header = [
    'operations a second',
    'pslock, cold',
    'with @pslock/native',
    'better-sqlite3 (WAL), cold',
    'pslock / SQLite, cold',
    'pslock, warm',
    'better-sqlite3, warm',
    'pslock / SQLite, warm',
    'store + proper-lockfile, warm',
  ]
  const lines = run.groups.filter(({ group }) => group.processes === 50 && SUMMARY.includes(group.workload))
  return [
    header,
    ...lines.map(({ group, outcomes }) => {
      const of = (...names: string[]) => outcomes.find(({ peer }) => names.includes(peer))
      const cell = (outcome: Outcome | undefined, state: State) => {
        const results = resultsOf(outcome, state)
        return results.length === 0 ? '-' : figure(median(results.map(({ perSecond }) => perSecond)))
      }
      const sqlite = of('sqlite', 'sqlite-full')
      const size = group.workload === 'update' ? ` of ${bytes(group.records * 145)}` : ''
      return [
        WORKLOADS[group.workload].title + size,
        cell(outcomes[0], 'cold'),
        cell(of('nedb-native', 'nedb-native-disk'), 'cold'),
        cell(sqlite, 'cold'),
        times(median(ratios(outcomes[0], sqlite, 'cold'))),
        cell(outcomes[0], 'warm'),
        cell(sqlite, 'warm'),
        times(median(ratios(outcomes[0], sqlite, 'warm'))),
        cell(of('nedb-lockfile', 'lowdb-lockfile', 'proper-lockfile'), 'warm'),
      ]
    }),
  ]
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
