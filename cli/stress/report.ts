import pc from 'picocolors'
import { duration, figure, table } from '../base/table.ts'
import { isUtf8 } from '../base/terminal-text.ts'
import type { FindingKind } from './findings.ts'
import type { StressRun } from './stress.ts'
import type { Verdict } from './verdict.ts'
import { waitLine } from './wait-line.ts'
import { waitsOf } from './waits.ts'
import { words } from './words.ts'

/** What each kind of finding means, in the words of the table. */
export const MEANING: Record<FindingKind, string> = {
  lost: 'acknowledged, and not in the file',
  duplicated: 'more than once in the file, or given to two',
  torn: 'in part',
  outOfOrder: 'ahead of what had ended before it began',
  unexpected: 'nobody wrote it',
  unreadable: 'the unmodified library refuses the file',
  stale: 'reads that missed what was acknowledged',
  notLinearizable: 'answers that no order in time explains',
  errors: 'operations rejected, workers broken',
}

/** The verdict for people. */
export function report({ verdict, record }: StressRun): string {
  const waits = waitLine(waitsOf(record), verdict.latencyMs.all, isUtf8())
  return [
    headline(verdict),
    '',
    table(
      Object.entries(verdict.found).map(([kind, count]) => [
        words(kind),
        count === 0 ? '0' : pc.red(grouped(count)),
        pc.dim(MEANING[kind as FindingKind]),
      ]),
      { right: [1] },
    ),
    '',
    latencyTable(verdict),
    ...(waits === undefined ? [] : [waits]),
    '',
    contention(verdict),
    ...trials(verdict),
    ...(verdict.findings.length === 0 ? [] : ['', ...findings(verdict)]),
    '',
    `seed ${verdict.seed}: ${repeatCommand(verdict)}`,
    ...(verdict.kept === undefined
      ? []
      : [`kept in ${verdict.kept}${verdict.server === undefined ? '' : ` and ${verdict.server}`}`]),
    conclusion(verdict),
  ].join('\n')
}

function headline(verdict: Verdict): string {
  const { store, mode, server, procs, acknowledged, planned, elapsedMs, opsPerSecond, workers, refused } =
    verdict
  const killed = workers.killed > 0 && !verdict.interrupted ? `, ${workers.killed} killed` : ''
  const failed = workers.failed > 0 ? `, ${workers.failed} broken` : ''
  return (
    `${pc.bold(store)}, ${mode}${server === undefined ? '' : ` on ${server}`}: ${procs} processes${killed}${failed}, ${grouped(acknowledged)} of ` +
    `${grouped(planned)} operations acknowledged in ${duration(elapsedMs)} (${figure(opsPerSecond)}/s); rightly ` +
    `refused: ${refused.taken} taken keys, ${refused.staleWrite} stale writes`
  )
}

/** What was done to the processes and the file, and what was looked at. */
export function trials({
  disturbed,
  linearizability: { histories, operations, undecided },
}: Verdict): string[] {
  const { kills, restarts, stops, compactions, compactionsByNeed, dumps, copies, mended } = disturbed
  const done = [
    `${grouped(kills)} kills (${grouped(restarts)} restarts)`,
    `${grouped(stops)} stops`,
    `${grouped(compactions)} compactions, and ${grouped(compactionsByNeed)} by need`,
    `${grouped(dumps)} dumps checked`,
    `${grouped(copies)} vanilla opens (${mended} after mending what a kill had left)`,
  ]
  const trouble =
    kills + stops + compactions + compactionsByNeed + dumps + copies > 0
      ? [`trouble: ${done.join(', ')}`]
      : []
  const left = undecided > 0 ? pc.yellow(`; ${undecided} had too many possible orders to decide`) : ''
  return [
    ...trouble,
    `linearizability: ${grouped(histories)} histories (counters, registers, unique keys) of ${grouped(operations)} operations checked${left}`,
  ]
}

function latencyTable({ latencyMs }: Verdict): string {
  const rows = Object.entries(latencyMs).map(([kind, { count, p50, p99, max }]) => [
    words(kind),
    grouped(count),
    ...[p50, p99, max].map(figure),
  ])
  return table([['wait in ms', 'count', 'p50', 'p99', 'max'], ...rows], { right: [1, 2, 3, 4] })
}

function contention({ handovers, handoversPerOperation, leastTurns, fairness, floor }: Verdict): string {
  const lines = [
    `contention: ${grouped(handovers)} hand-overs between processes (${handoversPerOperation.toFixed(2)} per operation), ` +
      `at least ${leastTurns} turns for each; fairness at half time ${fairness.toFixed(2)}`,
  ]
  if (floor && !floor.reached) {
    const what = floor.measure === 'leastTurns' ? 'turns for each process' : 'hand-overs per operation'
    lines.push(
      pc.yellow(`not enough contention: at least ${floor.least} ${what} are needed to prove anything`),
    )
  }
  return lines.join('\n')
}

function findings({ findings: first, found }: Verdict): string[] {
  const total = Object.values(found).reduce((sum, count) => sum + count, 0)
  return [
    `the first of ${grouped(total)} findings:`,
    ...first.map(({ kind, worker, operation, message }) => {
      const where = operation
        ? ` (worker ${worker}, operation ${operation.index}: ${words(operation.kind)})`
        : ''
      return `  ${pc.red(words(kind))}${where} ${message}`
    }),
  ]
}

/** The seed repeats the plan of operations and of the trouble; how the processes interleave is up to the system. */
export function repeatCommand(verdict: Verdict): string {
  const { store, server, procs, ops, seconds, seed, mode, thinkMs, sliceMs, durability, kill, chaos } =
    verdict
  const rate = (flag: string, perSecond: number) => (perSecond === 0 ? [] : [`--${flag} ${perSecond}/s`])
  const count = (flag: string, value: number) => (value === 0 ? [] : [`--${flag} ${value}`])
  const flags = [
    `--store ${store} --procs ${procs} ${seconds === undefined ? `--ops ${ops}` : `--seconds ${seconds}`}`,
    `--seed ${seed} --think ${thinkMs}`,
    ...(sliceMs === 'default' ? [] : [`--slice ${sliceMs}`]),
    ...(durability === 'disk' ? ['--durability disk'] : []),
    ...count('kill', kill),
    ...rate('kill', chaos.killsPerSecond),
    ...rate('stop', chaos.stopsPerSecond),
    ...rate('compact', chaos.compactionsPerSecond),
    ...rate('dump', chaos.dumpsPerSecond),
    ...rate('vanilla-open', chaos.copiesPerSecond),
    ...count('slow', chaos.slow),
    ...count('block', chaos.block),
    ...(chaos.clockJump ? ['--clock-jump'] : []),
    ...(server === undefined ? [] : [`--url ${server.replace(/#.*$/, '')}`]),
    ...(mode === 'control' ? ['--unlocked'] : []),
  ]
  return `pslock stress ${flags.join(' ')}`
}

function conclusion({ interrupted, ...rest }: Verdict): string {
  return interrupted ? `${judgement(rest)} ${pc.yellow('(interrupted: so far)')}` : judgement(rest)
}

function judgement({ mode, verdict }: Pick<Verdict, 'mode' | 'verdict'>): string {
  if (verdict === 'not enough contention') return pc.yellow('NOT ENOUGH CONTENTION: the run proves nothing')
  if (mode === 'control') {
    return verdict === 'damaged'
      ? pc.yellow('DAMAGED, as this control without a lock is expected to be')
      : pc.yellow('CLEAN: this control without a lock happened to lose nothing')
  }
  return verdict === 'clean' ? pc.green('CLEAN: nothing lost') : pc.red('DAMAGED')
}

function grouped(count: number): string {
  return count.toLocaleString('en-US')
}
