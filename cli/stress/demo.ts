import { tmpdir } from 'node:os'
import pc from 'picocolors'
import { EXIT } from '../base/exit-codes.ts'
import { duration, figure, table } from '../base/table.ts'
import { DEFAULTS, type StressOptions } from './options.ts'
import { progressDisplay } from './progress.ts'
import { missingPackage } from './stores/packages.ts'
import { type StressRun, stress } from './stress.ts'
import type { Verdict } from './verdict.ts'

/** Chosen so that all four runs together stay well under a minute on two slow cores. */
const RUNS = [
  { store: 'nedb', unlocked: true, ops: 25 },
  { store: 'nedb', unlocked: false, ops: 25 },
  { store: 'lowdb', unlocked: true, ops: 10 },
  { store: 'lowdb', unlocked: false, ops: 10 },
] as const

export interface Demo {
  /** The packages of stores that were left out, since they are not installed. */
  readonly missing: readonly string[]
  readonly runs: readonly Verdict[]
  readonly elapsedMs: number
  /** Whether both locked runs are clean. */
  readonly clean: boolean
}

/**
 * The same work by many processes four times: each store that is installed without a lock, then with it.
 * @param onRun is given every run with all that happened in it
 */
export async function demo(
  seed: number,
  procs: number,
  signal: AbortSignal,
  onRun: (run: StressRun) => void = () => {},
): Promise<Demo> {
  const start = performance.now()
  const runs: Verdict[] = []
  const missing = new Set<string>()
  const possible = RUNS.filter(({ store }) => {
    const name = missingPackage(store)
    if (name !== undefined) missing.add(name)
    return name === undefined
  })
  for (const run of possible) {
    const options: StressOptions = {
      ...DEFAULTS,
      ...run,
      seed,
      procs,
      kill: 0,
      sliceMs: undefined,
      dir: tmpdir(),
      keep: false,
    }
    const display = progressDisplay(
      `${runs.length + 1}/${possible.length} ${run.store} ${run.unlocked ? 'unlocked' : 'locked'}`,
    )
    try {
      const done = await stress(options, display.show, signal)
      signal.throwIfAborted()
      runs.push(done.verdict)
      onRun(done)
    } finally {
      display.stop()
    }
  }
  const locked = runs.filter(({ mode }) => mode === 'locked')
  return {
    runs,
    missing: [...missing],
    elapsedMs: performance.now() - start,
    clean: locked.every(({ exitCode }) => exitCode === EXIT.clean),
  }
}

/** What the demo ends with: 1 means losses, and nothing else, so too little contention is not that. */
export function demoExitCode(runs: readonly Verdict[]): number {
  const codes = runs.filter(({ mode }) => mode === 'locked').map(({ exitCode }) => exitCode)
  if (codes.length === 0) return EXIT.failed
  return [EXIT.damaged, EXIT.idle].find((code) => codes.includes(code)) ?? EXIT.clean
}

/** Both stores, for whoever has neither of them. */
const EVERYTHING = 'npx -p pslock -p lowdb -p nedb-promises pslock demo'

/** What was left out, and what to type for it; in one line. Nothing was: undefined. */
export function missingText({ missing, runs }: Demo): string | undefined {
  if (missing.length === 0) return undefined
  const names = missing.join(' and ')
  const verb = missing.length === 1 ? 'is' : 'are'
  const what = runs.length === 0 ? 'there is nothing to show' : 'the rest was left out'
  return `${names} ${verb} not installed, so ${what}. For all of it: ${EVERYTHING}`
}

const HEADER = [
  'store',
  'mode',
  'processes',
  'acknowledged',
  'lost',
  'duplicated/torn/other',
  'ops/s',
  'p99 wait',
  'fairness',
  'verdict',
]

/** The runs as rows of cells, the names of the columns first. */
export function demoRows({ runs }: Demo): string[][] {
  return [HEADER, ...runs.map(row)]
}

/** The runs in one table, and what they show. */
export function demoText(result: Demo): string {
  return [
    table(demoRows(result), { right: [2, 3, 4, 5, 6, 7, 8] }),
    '',
    explanation(result.runs),
    `seed ${result.runs[0]?.seed}, ${(result.elapsedMs / 1000).toFixed(1)} s in all`,
  ].join('\n')
}

function row(run: Verdict): string[] {
  const { lost, duplicated, torn, ...others } = run.found
  const other = Object.values(others).reduce((sum, count) => sum + count, 0)
  return [
    run.store,
    run.mode === 'control' ? 'unlocked (control)' : 'locked',
    String(run.procs),
    `${run.acknowledged}/${run.planned}`,
    String(lost),
    `${duplicated}/${torn}/${other}`,
    figure(run.opsPerSecond),
    duration(run.latencyMs.all?.p99 ?? 0),
    run.fairness.toFixed(2),
    judgement(run),
  ]
}

function judgement({ mode, verdict }: Verdict): string {
  if (mode === 'control')
    return verdict === 'damaged' ? pc.yellow('corrupt, as expected') : 'no damage this time'
  if (verdict === 'clean') return pc.green('clean')
  return verdict === 'damaged' ? pc.red('DAMAGED') : pc.yellow(verdict)
}

function explanation(runs: readonly Verdict[]): string {
  const harmless = runs.filter(({ mode, verdict }) => mode === 'control' && verdict === 'clean')
  const lines = [
    'Each row is the same kind of seeded work by separate processes on one file, checked afterwards with the vanilla',
    'library against what every process had been told. "other" is out of order, unexpected, unreadable, stale, not linearizable, errors.',
  ]
  for (const { store } of harmless) {
    lines.push(`The control of ${store} lost nothing this time: its locked run proves less than it could.`)
  }
  return lines.join('\n')
}
