import { nowMs } from '../lab/clock.ts'
import { within } from '../lab/lab.ts'
import { sum } from '../lab/statistics.ts'
import type { Crew } from './crew.ts'
import type { PeerName } from './peers.ts'
import { Waits } from './waits.ts'
import { addsTo, type WorkloadName } from './workloads.ts'

/** Time to send all of them the message, so that they start together. */
const HEAD_START_MS = 100
/** No measurement takes as long, but one that hangs. */
export const HANGS_MS = 180_000

/**
 * Before it is measured the store itself is worked in for so many measurements' time, or for so long for each process that
 * shares the processor (not in the short measurements of a first look), or until every process has done so many operations,
 * fewer where they add to the store: each process has but a small part of the processor, and V8 compiles what it has seen a
 * few thousand times (160 functions of an `$inc`: after 2,000 of them in each of 50 processes it is still 40% of all processor
 * time).
 */
const WARM_UP = { windows: 3, msOfEach: 600, operations: 40_000, additions: 8_000 }
const SHORT_MS = 1000

/** Who does what, in how large a store. */
export interface Cell {
  readonly workload: WorkloadName
  readonly peer: PeerName
  readonly records: number
}

/** What a cell's processes did in one round. */
export interface Result {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly longestMs: number
  /** Operations of who did fewest by those of who did most. */
  readonly fairnessAtHalf: number
  readonly fairness: number
  /** Processor time of an operation, in all processes together; NaN where it is not known. */
  readonly cpuUs: number
}

const step = <T>(what: string, run: Promise<T>): Promise<T> => within(what, HANGS_MS, run)

/** Opens a store in every process, and works in it. */
export async function warmUp(
  crew: Crew,
  { workload, peer, records }: Cell,
  path: string,
  forMs: number,
): Promise<void> {
  const { windows, msOfEach, operations, additions } = WARM_UP
  const atLeastMs = forMs < SHORT_MS ? 0 : crew.members.length * msOfEach
  const warmUpMs = Math.max(windows * forMs, atLeastMs)
  const atMost = addsTo(workload) ? additions : operations
  await step('open', crew.all('open', peer, path, records))
  const startAtMs = nowMs() + HEAD_START_MS
  await step('warm-up', crew.all('run', peer, workload, startAtMs, warmUpMs, atMost))
}

/** Measures once, in a store that is open. */
export async function measure(crew: Crew, { workload, peer }: Cell, forMs: number): Promise<Result> {
  const shares = await step('run', crew.all('run', peer, workload, nowMs() + HEAD_START_MS, forMs))
  const waits = new Waits()
  for (const share of shares) waits.merge(share.waits)
  const operations = sum(shares.map(({ atEnd }) => atEnd))
  return {
    perSecond: (operations / forMs) * 1000,
    p50Ms: waits.quantileMs(0.5),
    p99Ms: waits.quantileMs(0.99),
    longestMs: waits.longestMs,
    fairnessAtHalf: fairness(shares.map(({ atHalf }) => atHalf)),
    fairness: fairness(shares.map(({ atEnd }) => atEnd)),
    cpuUs: (sum(shares.map(({ cpuMs = Number.NaN }) => cpuMs)) / operations) * 1000,
  }
}

/** Measures the first operations of processes that have just begun. */
export async function measureFirst(
  crew: Crew,
  { workload, peer, records }: Cell,
  path: string,
  operations: number,
): Promise<Result> {
  await step('open', crew.all('open', peer, path, records))
  const firsts = await step('run', crew.all('first', peer, workload, nowMs() + HEAD_START_MS, operations))
  const waits = new Waits()
  for (const first of firsts) waits.merge(first.waits)
  const tookMs = Math.max(...firsts.map(({ endsMs }) => endsMs.at(-1) ?? 0))
  const doneBy = (ms: number) => firsts.map(({ endsMs }) => endsMs.filter((end) => end <= ms).length)
  const all = operations * firsts.length
  return {
    perSecond: (all / tookMs) * 1000,
    p50Ms: waits.quantileMs(0.5),
    p99Ms: waits.quantileMs(0.99),
    longestMs: waits.longestMs,
    fairnessAtHalf: fairness(doneBy(tookMs / 2)),
    fairness: 1,
    cpuUs: (sum(firsts.map(({ cpuMs }) => cpuMs)) / all) * 1000,
  }
}

/**
 * Closes a store, and counts what is in it.
 * @throws Error where something acknowledged is not there
 */
export async function count(crew: Crew, { peer, records }: Cell, path: string): Promise<void> {
  const acknowledged = await step('close', crew.all('close', peer))
  const found = await step('count', crew.first.call('contents', peer, path))
  const expected = {
    records: records + sum(acknowledged.map((each) => each.records)),
    increments: sum(acknowledged.map((each) => each.increments)),
  }
  if (found.records !== expected.records || found.increments !== expected.increments) {
    throw new Error(`${JSON.stringify(expected)} were acknowledged, ${JSON.stringify(found)} are there`)
  }
}

function fairness(operations: readonly number[]): number {
  const most = Math.max(...operations)
  return most === 0 ? 0 : Math.min(...operations) / most
}
