import { setTimeout as sleep } from 'node:timers/promises'
import { random } from '../../test/fixtures/random.ts'
import { serve } from '../../test/harness/serve.ts'
import { nowMs } from '../lab/clock.ts'
import { PEERS, type PeerName } from './peers.ts'
import type { Pairs } from './solos/pairs.ts'
import type { StepCosts } from './solos/steps.ts'
import { type Weight, weigh } from './solos/weigh.ts'
import type { Contents, Done, Peer, Store } from './store.ts'
import { type WaitCounts, Waits } from './waits.ts'
import { type Acknowledged, type Hand, WORKLOADS, type Workload, type WorkloadName } from './workloads.ts'

/** A measured process. Driven by crew.ts. */

/** What one process did between two moments. */
export interface Share {
  /** Operations that ended before the half of the time, and before its end. */
  readonly atHalf: number
  readonly atEnd: number
  /** Of all operations that were begun before the end. */
  readonly waits: WaitCounts
  /** Processor time, in milliseconds, where it is known. */
  readonly cpuMs?: number
}

/** The first operations of one process. */
export interface First {
  /** When each ended, in milliseconds after the common start. */
  readonly endsMs: readonly number[]
  readonly waits: WaitCounts
  /** Processor time, in milliseconds. */
  readonly cpuMs: number
}

/** What such a process can be told. */
export type Commands = {
  /** Rejects where the peer is not installed, or cannot do the workload. */
  load(peer: PeerName): void
  prepare(peer: PeerName, path: string, records: number): void
  /** @param records how many the store was prepared with */
  open(peer: PeerName, path: string, records: number): void
  /**
   * Does operations from this moment of the common clock (bench/lab/clock.ts) on, for so long, or until it has done so many.
   */
  run(peer: PeerName, workload: WorkloadName, startAtMs: number, forMs: number, atMost?: number): Share
  /** Does so many operations from this moment on. */
  first(peer: PeerName, workload: WorkloadName, startAtMs: number, operations: number): First
  /** Answers what this store was told that it did, warm-up included. */
  close(peer: PeerName): Acknowledged
  contents(peer: PeerName, path: string): Contents
  pairs(path: string, loop: string, count: number): Pairs
  weigh(peer: PeerName, path: string, records: number): Weight
  steps(folder: string): StepCosts
}

/** The clock of all processes, by way of the one that is cheap to ask. */
const CLOCK_OFFSET_MS = nowMs() - performance.now()
const [seed = 1, worker = 0] = process.argv.slice(2).map(Number)
const draw = random(seed + worker)

/** For so long a program of its own is run, where only so many operations are asked for: to warm it up. */
const ALONE_WARM_MS = 500

const opened = new Map<PeerName, { readonly store: Store; readonly hand: Hand }>()
let ids = 0

function load(peer: PeerName): Promise<Peer> {
  return PEERS[peer].load()
}

function handOf(store: Store, records: number): Hand {
  return {
    store: store as Required<Store>,
    draw: (below) => Math.floor(draw() * below),
    newId: () => `${worker}-${process.pid}-${ids++}`,
    records,
    acknowledged: { records: 0, increments: 0 },
  }
}

function openedBy(peer: PeerName) {
  const found = opened.get(peer)
  if (!found) throw new Error(`no store of ${peer} is open`)
  return found
}

/** The workload, if this store can do it. @throws Error otherwise */
function workloadOf(name: WorkloadName, store: Store): Workload {
  const workload: Workload = WORKLOADS[name]
  const missing = workload.needs.filter((call) => !store[call])
  if (missing.length > 0) throw new Error(`it has no ${missing.join(', ')}`)
  return workload
}

/**
 * Does one operation after the other, until the moment `end` of our clock, or until it has done so many.
 * @param ended is given the moment at which each ended
 */
async function operate(
  { operation, pauseMs }: Workload,
  hand: Hand,
  start: number,
  end: number,
  atMost: number,
  ended: (now: number) => void,
): Promise<{ waits: WaitCounts; cpuMs: number }> {
  const waits = new Waits()
  await sleep(start - performance.now())
  const cpu = process.cpuUsage()
  for (let asked = performance.now(), left = atMost; asked < end && left > 0; left--) {
    const done = operation(hand)
    // A synchronous peer shall not pay for an await.
    if (done instanceof Promise) await done
    const now = performance.now()
    waits.add(now - asked)
    ended(now)
    if (pauseMs === undefined) asked = now
    else {
      await sleep(pauseMs)
      asked = performance.now()
    }
  }
  const { user, system } = process.cpuUsage(cpu)
  return { waits: waits.toJSON(), cpuMs: (user + system) / 1000 }
}

async function run(
  workload: Workload,
  hand: Hand,
  startAtMs: number,
  forMs: number,
  atMost = Number.MAX_SAFE_INTEGER,
): Promise<Share> {
  const start = startAtMs - CLOCK_OFFSET_MS
  const [half, end] = [start + forMs / 2, start + forMs]
  let [atHalf, atEnd] = [0, 0]
  const did = await operate(workload, hand, start, end, atMost, (now) => {
    if (now <= half) atHalf++
    if (now <= end) atEnd++
  })
  return { atHalf, atEnd, ...did }
}

/** What a program of its own has done. */
function runAlone({ operations, atHalf, atEnd, waitsMs }: Done, hand: Hand): Share {
  hand.acknowledged.records += operations
  const waits = new Waits()
  for (const ms of waitsMs) waits.add(ms)
  return { atHalf, atEnd, waits: waits.toJSON() }
}

type Answers = {
  [K in keyof Commands]: (...args: Parameters<Commands[K]>) => Promise<ReturnType<Commands[K]>>
}

const commands: Answers = {
  async load(peer) {
    await load(peer)
  },

  async prepare(peer, path, records) {
    await (await load(peer)).prepare(path, records)
  },

  async open(peer, path, records) {
    const store = await (await load(peer)).open(path)
    opened.set(peer, { store, hand: handOf(store, records) })
  },

  async run(peer, workload, startAtMs, forMs, atMost) {
    const { store, hand } = openedBy(peer)
    if (store.alone) {
      // It cannot be told how many. What is compiled before it starts is warm soon, and would fill the disk meanwhile.
      const aloneMs = atMost === undefined ? forMs : Math.min(forMs, ALONE_WARM_MS)
      return runAlone(await store.alone(startAtMs, aloneMs), hand)
    }
    return run(workloadOf(workload, store), hand, startAtMs, forMs, atMost)
  },

  async first(peer, workload, startAtMs, operations) {
    const { store, hand } = openedBy(peer)
    const start = startAtMs - CLOCK_OFFSET_MS
    const endsMs: number[] = []
    const ended = (now: number) => endsMs.push(now - start)
    const did = await operate(
      workloadOf(workload, store),
      hand,
      start,
      Number.POSITIVE_INFINITY,
      operations,
      ended,
    )
    return { endsMs, ...did }
  },

  async close(peer) {
    const { store, hand } = openedBy(peer)
    opened.delete(peer)
    await store.close()
    // What this store leaves behind must not be collected while the next one is measured.
    globalThis.gc?.()
    return hand.acknowledged
  },

  async contents(peer, path) {
    return (await load(peer)).contents(path)
  },

  pairs: async (...args) => (await import('./solos/pairs.ts')).measurePairs(...args),
  weigh: async (peer, path, records) => weigh(await load(peer), path, records),
  steps: async (folder) => (await import('./solos/steps.ts')).measureSteps(folder),
}

serve(commands)
// Whoever drives us is gone, or has no more for us.
process.on('disconnect', () => process.exit())
