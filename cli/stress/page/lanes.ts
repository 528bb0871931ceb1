import { duration } from '../../base/table.ts'
import type { RunRecord, WorkerRecord } from '../run-record.ts'
import type { StressRun } from '../stress.ts'
import { clock } from './clock.ts'
import type { BarKind, Plot, Span } from './plot.ts'
import { window } from './window.ts'

/** More lanes than these nobody can tell apart. */
const LANES_AT_MOST = 50

interface Bar extends Span {
  readonly what: BarKind
}

/**
 * Who waited for the lock and who had it; in a run without a lock, who was in the middle of an operation.
 * @param lengthMs how much time the plot shows, however short the run was
 */
export function lanesPlot(run: StressRun, lengthMs: number): Plot {
  const { verdict, record } = run
  const isControl = verdict.mode === 'control'
  const bars = workBars(run)
  const [fromMs, untilMs] = window(record, lengthMs)
  const isInside = (start: number, end: number) => end >= fromMs && start <= untilMs
  const inside = [...bars, ...stopBars(record)].filter((bar) => isInside(bar.fromMs, bar.toMs))
  const killed = record.disturbances.filter(({ what, atMs }) => what === 'kill' && isInside(atMs, atMs))
  const busy = new Set([...inside.map(({ lane }) => Number(lane)), ...killed.map(({ worker }) => worker)])
  const seen = record.workers
    .map(({ worker }) => worker)
    .filter((worker) => busy.has(worker))
    .slice(0, LANES_AT_MOST)
  const isShown = (worker: number) => seen.includes(worker)
  const shown = inside.filter(({ lane }) => isShown(Number(lane)))
  const kills = killed
    .filter(({ worker }) => isShown(worker))
    .map(({ worker, atMs }) => ({ lane: String(worker), ms: atMs }))
  const kinds: readonly BarKind[] = ['stopped', 'waiting', 'shared', 'exclusive', 'operation']
  const of = (what: BarKind) => shown.filter((bar) => bar.what === what)
  return {
    finding:
      shown.length === 0
        ? nothing(isControl)
        : [
            part(fromMs, untilMs, record.elapsedMs),
            seen.length < record.workers.length && `${seen.length} of ${record.workers.length} processes`,
            isControl
              ? `up to ${together(of('operation'))} operations at one moment, with nothing to keep them apart`
              : `${of('exclusive').length} exclusive holds, ${of('shared').length} shared`,
            kills.length > 0 && `${kills.length} killed`,
            of('stopped').length > 0 && `${of('stopped').length} stopped`,
          ]
            .filter(Boolean)
            .join('; ')
            .concat('.'),
    drawing:
      shown.length === 0
        ? undefined
        : {
            kind: 'lanes',
            lanes: seen.map(String),
            fromMs,
            untilMs: fromMs + lengthMs,
            bars: kinds
              .map((what) => ({
                what,
                spans: of(what).map(({ lane, fromMs: from, toMs }) => ({ lane, fromMs: from, toMs })),
              }))
              .filter(({ spans }) => spans.length > 0),
            kills,
          },
    table: {
      head: [
        'process',
        isControl ? 'operations' : 'exclusive holds',
        ...(isControl ? [] : ['shared', 'held', 'waited']),
        'stopped',
        'killed',
      ],
      rows: seen.map((worker) => {
        const own = shown.filter(({ lane }) => lane === String(worker))
        const count = (what: BarKind) => String(own.filter((bar) => bar.what === what).length)
        const time = (...what: BarKind[]) =>
          duration(
            own.filter((bar) => what.includes(bar.what)).reduce((sum, bar) => sum + bar.toMs - bar.fromMs, 0),
          )
        const trouble = [time('stopped'), String(kills.filter(({ lane }) => lane === String(worker)).length)]
        if (isControl) return [String(worker), count('operation'), ...trouble]
        return [
          String(worker),
          count('exclusive'),
          count('shared'),
          time('exclusive', 'shared'),
          time('waiting'),
          ...trouble,
        ]
      }),
    },
  }
}

/** What each worker did, in the order of the workers. */
export function workBars({ verdict, record }: StressRun): Bar[] {
  const barsOf = verdict.mode === 'control' ? operationBars : holdBars
  return record.workers.flatMap((worker) => barsOf(worker, record))
}

function part(fromMs: number, untilMs: number, elapsedMs: number): string {
  const length = clock(untilMs - fromMs)
  if (fromMs > 0) return `${length} from ${clock(fromMs)} on, of ${clock(elapsedMs)}`
  return untilMs >= elapsedMs ? `All ${length}` : `The first ${length} of ${clock(elapsedMs)}`
}

function nothing(isControl: boolean): string {
  return isControl ? 'No operation was begun.' : 'Nobody asked for the lock.'
}

function holdBars({ worker, holds }: WorkerRecord, record: RunRecord): Bar[] {
  const lane = String(worker)
  return holds.flatMap(({ mode, askedMs, grantedMs, releasedMs }) => [
    { lane, what: 'waiting' as const, fromMs: askedMs, toMs: grantedMs },
    { lane, what: mode, fromMs: grantedMs, toMs: releasedMs ?? deathAfter(grantedMs, worker, record) },
  ])
}

function operationBars({ worker, operations }: WorkerRecord, record: RunRecord): Bar[] {
  return operations.map(({ fromMs, toMs }) => {
    return {
      lane: String(worker),
      what: 'operation',
      fromMs,
      toMs: toMs ?? deathAfter(fromMs, worker, record),
    }
  })
}

function stopBars(record: RunRecord): Bar[] {
  return record.disturbances
    .filter(({ what }) => what === 'stop')
    .map(({ worker, atMs, untilMs = record.elapsedMs }) => {
      const toMs = Math.min(untilMs, deathAfter(atMs, worker, record))
      return { lane: String(worker), what: 'stopped', fromMs: atMs, toMs }
    })
}

/** What a worker was doing when it was killed ended with it. */
function deathAfter(ms: number, worker: number, { disturbances, elapsedMs }: RunRecord): number {
  const death = disturbances.find((one) => one.what === 'kill' && one.worker === worker && one.atMs >= ms)
  return death?.atMs ?? Math.max(ms, elapsedMs)
}

/** The most spans that overlap at one moment. */
function together(spans: readonly Span[]): number {
  const changes = spans
    .flatMap(({ fromMs, toMs }) => [
      { ms: fromMs, by: 1 },
      { ms: toMs, by: -1 },
    ])
    .sort((a, b) => a.ms - b.ms || a.by - b.by)
  let now = 0
  let most = 0
  for (const { by } of changes) {
    now += by
    most = Math.max(most, now)
  }
  return most
}
