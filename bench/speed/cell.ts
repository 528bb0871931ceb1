import { nowMs } from '../lab/clock.ts'
import { within } from '../lab/lab.ts'
import { sum } from '../lab/statistics.ts'
import type { Crew } from './crew.ts'
import type { PeerName } from './peers.ts'
import { Waits } from './waits.ts'
import type { WorkloadName } from './workloads.ts'

/** Time to send all of them the message, so that they start together. */
const HEAD_START_MS = 100
/** No measurement takes as long, but one that hangs. */
export const HANGS_MS = 180_000

/**
 * What each process does in the very store that is measured, or less if it takes as long as the measurement: compiled code
 * that has only met another store object is thrown away at the first sight of this one (50 processes finding: 20 times as
 * slow for the first seconds).
 */
const WARM_UP_OPERATIONS = 3000

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

/**
 * Measures a cell once, and counts what is in the store afterwards.
 * @param path of a prepared store that nobody has open
 * @throws Error where something acknowledged is not there
 */
export async function measure(
  crew: Crew,
  { workload, peer, records }: Cell,
  path: string,
  forMs: number,
): Promise<Result> {
  const step = <T>(what: string, run: Promise<T>) => within(what, HANGS_MS, run)
  await step('open', crew.all('open', peer, path, records))
  await step('warm-up', crew.all('run', workload, nowMs() + HEAD_START_MS, forMs, WARM_UP_OPERATIONS))
  const shares = await step('run', crew.all('run', workload, nowMs() + HEAD_START_MS, forMs))
  const acknowledged = await step('close', crew.all('close'))
  const found = await step('count', crew.first.call('contents', peer, path))
  const expected = {
    records: records + sum(acknowledged.map((each) => each.records)),
    increments: sum(acknowledged.map((each) => each.increments)),
  }
  if (found.records !== expected.records || found.increments !== expected.increments) {
    throw new Error(`${JSON.stringify(expected)} were acknowledged, ${JSON.stringify(found)} are there`)
  }
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

function fairness(operations: readonly number[]): number {
  const most = Math.max(...operations)
  return most === 0 ? 0 : Math.min(...operations) / most
}
