import { median } from '../lab/statistics.ts'
import type { Result } from './cell.ts'
import { PEERS, type PeerName } from './peers.ts'
import { LOW_RECORDS } from './plan.ts'
import { outcome, type Run, ratios, resultsOf, type State } from './run.ts'
import type { Solos } from './solos.ts'
import { WORKLOADS, type WorkloadName } from './workloads.ts'

/** What pslock sets itself. */
export interface Target {
  readonly title: string
  /** The bound, and on which side of it one must be. */
  readonly atLeast?: number
  readonly atMost?: number
  /** Of new processes; of such as are warm, where it is left out. */
  readonly state?: State
  /** One figure for each round; empty where it was not measured. */
  readonly measured: (run: Run) => readonly number[]
}

/** Processes of every target that does not say otherwise. */
const CROWD = 50
const RECORDS = 1000
const STATES: readonly State[] = ['cold', 'warm']

interface Where {
  readonly processes?: number
  readonly records?: number
  readonly state?: State
}

/** What is measured, as multiples of a peer's in the same round. */
function byPeer(
  workload: WorkloadName,
  ours: PeerName,
  theirs: PeerName,
  { processes = CROWD, records = RECORDS, state = 'warm' }: Where,
  of?: (result: Result) => number,
): Pick<Target, 'state' | 'measured'> {
  const did = (run: Run, peer: PeerName) => outcome(run, workload, processes, records, peer)
  return { state, measured: (run) => ratios(did(run, ours), did(run, theirs), state, of) }
}

/** Operations a second. */
function speed(
  atLeast: number,
  title: string,
  workload: WorkloadName,
  ours: PeerName,
  theirs: PeerName,
  where: Where = {},
): Target {
  return { title, atLeast, ...byPeer(workload, ours, theirs, where) }
}

/** Both states: of new processes, and of such as are warm. */
function both(
  [cold, warm]: readonly [cold: number, warm: number],
  title: string,
  workload: WorkloadName,
  ours: PeerName,
  theirs: PeerName,
  where: Where = {},
): Target[] {
  const target = (atLeast: number, state: State) =>
    speed(atLeast, title, workload, ours, theirs, { ...where, state })
  return [target(cold, 'cold'), target(warm, 'warm')]
}

function longest(atMost: number, workload: WorkloadName, ours: PeerName, theirs: PeerName): Target[] {
  const title = `${WORKLOADS[workload].title}: longest wait, by ${PEERS[theirs].title}'s`
  const of = ({ longestMs }: Result) => longestMs
  return STATES.map((state) => ({ title, atMost, ...byPeer(workload, ours, theirs, { state }, of) }))
}

/** At the same time: how even the shares are. */
function fairness(
  atLeast: number,
  workload: WorkloadName,
  ours: PeerName,
  records = RECORDS,
  states: readonly State[] = STATES,
): Target[] {
  return states.map((state) => ({
    title: `${WORKLOADS[workload].title}: fewest by most operations of a process at half time`,
    atLeast,
    state,
    measured: (run) =>
      resultsOf(outcome(run, workload, CROWD, records, ours), state).map(
        ({ fairnessAtHalf }) => fairnessAtHalf,
      ),
  }))
}

function solo<K extends keyof Solos>(
  name: K,
  atMost: number,
  title: string,
  of: (measured: NonNullable<Solos[K]>) => readonly number[],
): Target {
  return { title, atMost, measured: ({ solos }) => (solos[name] ? of(solos[name]) : []) }
}

type Weighed = NonNullable<Solos['open']>
const weights = (of: (weight: Weighed['ours'][number]) => number) => (open: Weighed) =>
  open.ours.map((weight, round) => of(weight) / of(open.vanilla[round]!))
const growth = (step: 'insert' | 'increment' | 'find') => (steps: NonNullable<Solos['steps']>) =>
  steps.map((costs) => costs[step].ours / costs[step].vanilla)

const small = { records: LOW_RECORDS['10 KB'] }
/** The recipe that gives the same promises. */
const BY_HAND = [
  { atLeast: [1, 1], size: '10 KB', records: LOW_RECORDS['10 KB'] },
  { atLeast: [0.9, 1], size: '1 MB', records: LOW_RECORDS['1 MB'] },
] as const
const largest = { records: LOW_RECORDS['10 MB'], processes: 10 }

const TARGETS: readonly Target[] = [
  ...both([0.9, 1.2], 'NeDB insert, by better-sqlite3 WAL/NORMAL', 'insert', 'locked-nedb', 'sqlite'),
  ...both(
    [0.9, 1.2],
    'NeDB insert with @pslock/native, by better-sqlite3 WAL/NORMAL',
    'insert',
    'nedb-native',
    'sqlite',
  ),
  {
    title: 'NeDB insert: longest wait in seconds',
    atMost: 1,
    state: 'cold',
    measured: (run) =>
      resultsOf(outcome(run, 'insert', CROWD, RECORDS, 'locked-nedb'), 'cold').map(
        ({ longestMs }) => longestMs / 1000,
      ),
  },
  ...both(
    [0.6, 0.6],
    'NeDB insert, 5 ms between two, by better-sqlite3',
    'insert-now-and-then',
    'locked-nedb',
    'sqlite',
  ),
  ...longest(1.5, 'insert-now-and-then', 'locked-nedb', 'sqlite'),
  ...both([0.4, 0.6], 'NeDB `$inc` of one counter, by better-sqlite3', 'inc-one', 'locked-nedb', 'sqlite'),
  speed(1, 'NeDB `$inc` of 1000 counters, by better-sqlite3', 'inc-many', 'locked-nedb', 'sqlite'),
  ...both([0.9, 1], 'NeDB find by id, by better-sqlite3', 'find', 'locked-nedb', 'sqlite'),
  ...both([0.3, 0.5], 'NeDB 95% find, 5% `$inc`, by better-sqlite3', 'mix', 'locked-nedb', 'sqlite'),
  ...both(
    [1.5, 2],
    'NeDB durable insert, by better-sqlite3 WAL/FULL',
    'durable-insert',
    'locked-nedb-disk',
    'sqlite-full',
  ),
  ...longest(0.3, 'durable-insert', 'locked-nedb-disk', 'sqlite-full'),
  ...both(
    [0.5, 1],
    'NeDB transaction of 10 inserts, by better-sqlite3',
    'transaction',
    'locked-nedb',
    'sqlite',
  ),
  ...fairness(0.4, 'insert', 'locked-nedb'),
  ...fairness(0.4, 'inc-one', 'locked-nedb'),
  ...fairness(0.4, 'inc-many', 'locked-nedb', RECORDS, ['warm']),
  ...fairness(0.4, 'mix', 'locked-nedb'),
  ...fairness(0.4, 'durable-insert', 'locked-nedb-disk'),
  ...both([0.5, 0.5], '`PsLock.exclusive` contended, by fs-ext `flockSync`', 'append', 'pslock', 'fs-ext', {
    records: 0,
  }),
  ...fairness(0.4, 'append', 'pslock', 0),
  speed(10, 'NeDB insert, one process, by vanilla nedb', 'insert', 'locked-nedb', 'vanilla-nedb', {
    processes: 1,
  }),
  speed(1, 'NeDB insert, one process, by better-sqlite3', 'insert', 'locked-nedb', 'sqlite', {
    processes: 1,
  }),
  solo('steps', 1.2, 'insert, 100k records against 1k, by vanilla nedb in memory', growth('insert')),
  solo('steps', 1.2, '`$inc`, 100k records against 1k, by vanilla nedb in memory', growth('increment')),
  solo('steps', 1.2, 'find by id, 100k records against 1k, by vanilla nedb in memory', growth('find')),
  speed(
    10,
    'lowdb update, 10 KB, by the proper-lockfile recipe',
    'update',
    'locked-low',
    'lowdb-lockfile',
    small,
  ),
  ...BY_HAND.flatMap(({ atLeast, size, records }) => {
    const title = (processes: string) =>
      `lowdb update, ${size}, ${processes}, by flock, read, write, fsync, rename`
    return [
      ...both(atLeast, title('50 processes'), 'update', 'locked-low', 'lowdb-flock-sync', { records }),
      speed(atLeast[1], title('one process'), 'update', 'locked-low', 'lowdb-flock-sync', {
        processes: 1,
        records,
      }),
    ]
  }),
  speed(
    50,
    'lowdb update with a journal, 10 MB, 10 processes, by the whole file',
    'update',
    'lowdb-journal',
    'locked-low',
    largest,
  ),
  speed(100, '`PsLock.exclusive` contended, by proper-lockfile', 'append', 'pslock', 'proper-lockfile', {
    records: 0,
  }),
  solo('pairs', 3, '`acquireSync` and `release` uncontended: time, by C', (pairs) =>
    pairs.map(({ acquireSync }) => acquireSync),
  ),
  solo('pairs', 3, '`exclusiveSync` uncontended: time, by C', (pairs) =>
    pairs.map(({ exclusiveSync }) => exclusiveSync),
  ),
  solo('pairs', 10, '`exclusive` uncontended: time, by C', (pairs) =>
    pairs.map(({ exclusive }) => exclusive),
  ),
  solo(
    'open',
    1.2,
    '100k records open: heap and external memory, by vanilla nedb',
    weights(({ heldBytes }) => heldBytes),
  ),
  solo(
    'open',
    1.2,
    '100k records open and read: heap and external memory, by vanilla nedb',
    weights(({ heldAfterReadBytes }) => heldAfterReadBytes),
  ),
  solo(
    'open',
    1.2,
    '100k records open: memory of the process (RSS), by vanilla nedb',
    weights(({ residentBytes }) => residentBytes),
  ),
  solo(
    'open',
    0.7,
    'open of a file of 100k records: time, by vanilla nedb',
    weights(({ openMs }) => openMs),
  ),
]

export interface Verdict {
  readonly title: string
  readonly asked: string
  /** The median of the rounds; undefined where it was not measured. */
  readonly measured: number | undefined
  readonly isMet: boolean
}

export function verdicts(run: Run, state: State): Verdict[] {
  return TARGETS.filter((target) => (target.state ?? 'warm') === state).map(
    ({ title, atLeast, atMost, measured }) => {
      const rounds = measured(run)
      const found = rounds.length === 0 ? undefined : median(rounds)
      const isMet =
        found !== undefined &&
        found >= (atLeast ?? Number.NEGATIVE_INFINITY) &&
        found <= (atMost ?? Number.POSITIVE_INFINITY)
      const asked = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`
      return { title, asked, measured: found, isMet }
    },
  )
}
