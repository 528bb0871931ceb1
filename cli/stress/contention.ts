import type { History } from './history.ts'
import type { Entry } from './ledger.ts'
import { label } from './operation.ts'
import type { StressOptions } from './options.ts'

export interface Latency {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** What the ledgers say about speed, and about how much the processes really got in each other's way. */
export interface Measures {
  /** Operations that were answered as expected, reads and refusals included. */
  readonly acknowledged: number
  readonly elapsedMs: number
  readonly opsPerSecond: number
  /** Milliseconds from the call to its answer: of all operations, and of each kind. */
  readonly latencyMs: Readonly<Record<string, Latency>>
  /** How often the next operation to end was another worker's. */
  readonly handovers: number
  readonly handoversPerOperation: number
  /** Runs of consecutive operations of the worker that had the fewest (killed ones aside). */
  readonly leastTurns: number
  /** Fewest over most operations of a worker (killed ones aside) at half time. 1 is perfectly fair. */
  readonly fairness: number
}

type Ended = Entry & { end: number }

interface Event {
  readonly worker: number
  readonly entry: Ended
}

export function measure(histories: readonly History[]): Measures {
  const events = histories
    .flatMap(({ worker, entries }) => entries.filter(isAnswered).map((entry): Event => ({ worker, entry })))
    .sort((a, b) => a.entry.end - b.entry.end)
  const first = events.reduce((least, { entry }) => Math.min(least, entry.start), Number.POSITIVE_INFINITY)
  const last = events.at(-1)?.entry.end ?? 0
  const elapsedMs = events.length === 0 ? 0 : (last - first) / 1e6
  const middle = (first + last) / 2

  const alive = histories.filter(({ ended }) => ended !== 'killed').map(({ worker }) => worker)
  const turns = new Map(alive.map((worker) => [worker, 0]))
  const early = new Map(alive.map((worker) => [worker, 0]))
  let handovers = 0
  let before: number | undefined
  for (const { worker, entry } of events) {
    if (worker !== before) {
      if (before !== undefined) handovers++
      if (turns.has(worker)) turns.set(worker, (turns.get(worker) ?? 0) + 1)
    }
    before = worker
    if (entry.end <= middle && early.has(worker)) early.set(worker, (early.get(worker) ?? 0) + 1)
  }
  const most = Math.max(0, ...early.values())
  return {
    acknowledged: events.length,
    elapsedMs,
    opsPerSecond: elapsedMs === 0 ? 0 : events.length / (elapsedMs / 1000),
    latencyMs: latencies(events),
    handovers,
    handoversPerOperation: events.length === 0 ? 0 : handovers / events.length,
    leastTurns: alive.length === 0 ? 0 : Math.min(...turns.values()),
    fairness: most === 0 ? 0 : Math.min(...early.values()) / most,
  }
}

function isAnswered(entry: Entry): entry is Ended {
  return entry.end !== undefined && entry.answer?.said !== 'error'
}

function latencies(events: readonly Event[]): Record<string, Latency> {
  const times = new Map<string, number[]>([['all', []]])
  for (const { entry } of events) {
    const waitedMs = (entry.end - entry.start) / 1e6
    times.get('all')?.push(waitedMs)
    const kind = label(entry.operation)
    const list = times.get(kind)
    if (list) list.push(waitedMs)
    else times.set(kind, [waitedMs])
  }
  return Object.fromEntries([...times].map(([kind, list]) => [kind, summary(list)]))
}

function summary(times: number[]): Latency {
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? 0
  return { count: times.length, p50: at(0.5), p99: at(0.99), max: times.at(-1) ?? 0 }
}

/** The least contention with which a run proves anything, and whether there was as much. */
export interface Floor {
  readonly measure: 'handoversPerOperation' | 'leastTurns'
  readonly least: number
  readonly reached: boolean
}

/**
 * With pauses (or without time slices) processes must really alternate; with slices each must have had many turns.
 * @returns undefined where there is nobody to contend with, and for the control
 */
export function contentionFloor(options: StressOptions, measures: Measures): Floor | undefined {
  if (options.unlocked || options.procs === 1) return undefined
  if (options.thinkMs > 0 || options.sliceMs === 0) {
    const least = 0.25
    return { measure: 'handoversPerOperation', least, reached: measures.handoversPerOperation >= least }
  }
  const least = Math.min(20, Math.floor(options.ops / 4))
  return { measure: 'leastTurns', least, reached: measures.leastTurns >= least }
}
