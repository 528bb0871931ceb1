import type { PeerName } from './peers.ts'
import { isForOne } from './peers.ts'
import type { WorkloadName } from './workloads.ts'

/** What is measured interleaved: one workload, done by one peer after the other in each round. */
export interface Group {
  readonly workload: WorkloadName
  readonly processes: number
  /** In the store at first. */
  readonly records: number
  /** Ours first: the others are what it is compared with. */
  readonly peers: readonly PeerName[]
  /** How fair it is can only be seen in a longer window; asked of the first two. */
  readonly isFairnessAsked?: boolean
  /** So many first operations of new processes are measured too, and of whom. */
  readonly first?: { readonly operations: number; readonly peers: readonly PeerName[] }
  /** Belongs to `--quick`. */
  readonly isQuick?: boolean
}

/** What fairness needs with 50 processes. */
const FAIR_MS = 4000
const WINDOW_MS = 1500
const QUICK_MS = 700

/** A record of lowdb's file has some 145 bytes: 10 KB, 1 MB, 10 MB. */
export const LOW_RECORDS = { '10 KB': 70, '1 MB': 7_000, '10 MB': 70_000 } as const

const BY_HAND = ['locked-low', 'lowdb-flock-sync'] as const
const LOW = [...BY_HAND, 'lowdb-journal', 'lowdb-flock', 'lowdb-lockfile'] as const
const crowd = { processes: 50, records: 1000 } as const
const alone = { processes: 1, records: 1000 } as const
const large = { processes: 10, records: 100_000 } as const
const fair = { isFairnessAsked: true } as const
const quick = { isQuick: true } as const
const OURS = ['locked-nedb', 'sqlite', 'nedb-native'] as const
const DURABLE = ['locked-nedb-disk', 'sqlite-full', 'nedb-native-disk'] as const
const first = (operations: number, peers: readonly PeerName[] = OURS) => ({ first: { operations, peers } })

/** Not the product of everything, which would take hours: the lines that targets are set for, and what explains them. */
const PLAN: readonly Group[] = [
  {
    workload: 'insert',
    ...crowd,
    ...fair,
    ...quick,
    ...first(400),
    peers: [...OURS, 'lmdb', 'nedb-lockfile'],
  },
  { workload: 'insert-now-and-then', ...crowd, ...fair, ...first(100), peers: OURS },
  { workload: 'insert-own-id', ...crowd, peers: ['locked-nedb', 'sqlite'] },
  {
    workload: 'inc-one',
    ...crowd,
    ...fair,
    ...quick,
    ...first(400),
    peers: [...OURS, 'lmdb', 'nedb-lockfile'],
  },
  { workload: 'inc-many', ...crowd, ...fair, peers: ['locked-nedb', 'sqlite', 'lmdb'] },
  { workload: 'find', ...crowd, ...first(400), peers: ['locked-nedb', 'sqlite', 'lmdb'] },
  { workload: 'mix', ...crowd, ...fair, ...quick, ...first(400), peers: ['locked-nedb', 'sqlite', 'lmdb'] },
  { workload: 'transaction', ...crowd, ...first(40), peers: ['locked-nedb', 'sqlite', 'lmdb'] },
  {
    workload: 'durable-insert',
    ...crowd,
    ...fair,
    ...quick,
    ...first(100, DURABLE),
    peers: [...DURABLE, 'lmdb-durable'],
  },
  { workload: 'insert', ...crowd, processes: 2, peers: ['locked-nedb', 'sqlite'] },
  { workload: 'insert', ...crowd, processes: 10, peers: ['locked-nedb', 'sqlite'] },
  { workload: 'mix', ...crowd, processes: 10, peers: ['locked-nedb', 'sqlite'] },
  { workload: 'insert', ...alone, ...quick, peers: ['locked-nedb', 'sqlite', 'lmdb', 'vanilla-nedb'] },
  { workload: 'inc-one', ...alone, peers: ['locked-nedb', 'sqlite', 'vanilla-nedb'] },
  { workload: 'find', ...alone, peers: ['locked-nedb', 'sqlite', 'vanilla-nedb'] },
  { workload: 'insert', ...large, peers: ['locked-nedb', 'sqlite'] },
  { workload: 'inc-many', ...large, peers: ['locked-nedb', 'sqlite'] },
  { workload: 'find', ...large, peers: ['locked-nedb', 'sqlite'] },
  {
    workload: 'update',
    processes: 50,
    records: LOW_RECORDS['10 KB'],
    ...quick,
    ...first(40, BY_HAND),
    peers: LOW,
  },
  { workload: 'update', processes: 50, records: LOW_RECORDS['1 MB'], ...first(6, BY_HAND), peers: LOW },
  // With 50 processes a single round of the recipes takes a minute.
  {
    workload: 'update',
    processes: 10,
    records: LOW_RECORDS['10 MB'],
    peers: ['locked-low', 'lowdb-journal', 'lowdb-flock-sync', 'lowdb-flock'],
  },
  ...(['10 KB', '1 MB'] as const).map((size) => ({
    workload: 'update' as const,
    processes: 1,
    records: LOW_RECORDS[size],
    peers: ['locked-low', 'lowdb-flock-sync', 'vanilla-lowdb'] as const,
  })),
  {
    workload: 'append',
    processes: 50,
    records: 0,
    ...quick,
    ...fair,
    ...first(400, ['pslock', 'fs-ext']),
    peers: ['pslock', 'fs-ext', 'pslock-sync', 'proper-lockfile', 'c-flock'],
  },
]

export interface PlanOptions {
  readonly only?: readonly string[] | undefined
  readonly peers?: readonly PeerName[] | undefined
  readonly processes?: readonly number[] | undefined
  readonly records?: readonly number[] | undefined
  readonly quick?: boolean | undefined
}

/** The part of the plan that is asked for. Other numbers of processes and records take the place of the plan's own. */
export function plan({ only, peers: wanted, processes, records, quick }: PlanOptions): Group[] {
  const asked: Group[] = []
  for (const line of PLAN) {
    if (only && !only.includes(line.workload)) continue
    if (quick && !line.isQuick) continue
    for (const count of processes ?? [line.processes]) {
      for (const size of records ?? [line.records]) {
        const able = (peer: PeerName) => wanted?.includes(peer) ?? (count === 1 || !isForOne(peer))
        const group = { ...line, processes: count, records: size, peers: line.peers.filter(able) }
        const same = asked.findIndex((other) => groupKey(other) === groupKey(group))
        if (same === -1) asked.push(group)
        else
          asked[same] = {
            ...asked[same],
            ...group,
            peers: [...new Set([...asked[same]!.peers, ...group.peers])],
          }
      }
    }
  }
  return asked.filter(({ peers }) => peers.length > 0)
}

function groupKey({ workload, processes, records }: Group): string {
  return `${workload} ${processes} ${records}`
}

/** For how long a peer is measured in one round, in milliseconds. */
export function windowMs(group: Group, peer: PeerName, isQuick: boolean): number {
  if (isQuick) return QUICK_MS
  return group.isFairnessAsked && group.peers.indexOf(peer) < 2 ? FAIR_MS : WINDOW_MS
}
