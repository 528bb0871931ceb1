import { COUNTERS, type Store } from './store.ts'

/** What a process has been told that it did. */
export interface Acknowledged {
  records: number
  increments: number
}

/** What an operation of a workload may draw on. */
export interface Hand {
  readonly store: Required<Store>
  /** A number from 0, below this one, seeded. */
  draw(below: number): number
  /** An id that no other process gives. */
  newId(): string
  /** How many records there were at first. */
  readonly records: number
  readonly acknowledged: Acknowledged
}

/** One kind of operation, done one after the other by every process. */
export interface Workload {
  /** As it stands in the tables. */
  readonly title: string
  /** The calls that a store must have for it. */
  readonly needs: readonly (keyof Store)[]
  readonly operation: (hand: Hand) => unknown
  /** Between two operations, in milliseconds; no part of a wait. */
  readonly pauseMs?: number
}

/** Records of one transaction. */
const TOGETHER = 10
/** One of so many operations of the mix writes. */
const WRITES_ONE_OF = 20

function insert({ store, acknowledged }: Hand): unknown {
  acknowledged.records++
  return store.insert()
}

function increment({ store, acknowledged }: Hand, counter: number): unknown {
  acknowledged.increments++
  return store.increment(counter)
}

function find({ store, draw, records }: Hand): unknown {
  return store.find(draw(records))
}

const incrementOne: Workload['operation'] = (hand) => increment(hand, 0)

export const WORKLOADS = {
  insert: { title: 'insert', needs: ['insert'], operation: insert },
  'insert-own-id': {
    title: "insert with an id of one's own",
    needs: ['insert'],
    operation({ store, newId, acknowledged }) {
      acknowledged.records++
      return store.insert(newId())
    },
  },
  'insert-now-and-then': {
    title: 'insert, 5 ms between two',
    needs: ['insert'],
    operation: insert,
    pauseMs: 5,
  },
  'inc-one': { title: '`$inc` of one counter', needs: ['increment'], operation: incrementOne },
  'inc-many': {
    title: `\`$inc\` of ${COUNTERS} counters`,
    needs: ['increment'],
    operation: (hand) => increment(hand, hand.draw(COUNTERS)),
  },
  find: { title: 'find by id', needs: ['find'], operation: find },
  mix: {
    title: '95% find, 5% `$inc`',
    needs: ['find', 'increment'],
    operation: (hand) => (hand.draw(WRITES_ONE_OF) === 0 ? increment(hand, hand.draw(COUNTERS)) : find(hand)),
  },
  transaction: {
    title: `transaction of ${TOGETHER} inserts`,
    needs: ['transaction'],
    operation({ store, acknowledged }) {
      acknowledged.records += TOGETHER
      return store.transaction(TOGETHER)
    },
  },
  update: {
    title: '`update` of one record of a JSON file',
    needs: ['increment'],
    operation: (hand) => increment(hand, hand.draw(hand.records)),
  },
  append: {
    title: 'append 100 bytes under the lock',
    needs: ['append'],
    operation({ store, acknowledged }) {
      acknowledged.records++
      return store.append()
    },
  },
  'durable-insert': { title: 'durable insert', needs: ['insert'], operation: insert },
} as const satisfies Record<string, Workload>

export type WorkloadName = keyof typeof WORKLOADS

/** The calls by which a store grows. */
const ADDING: ReadonlySet<keyof Store> = new Set(['insert', 'transaction', 'append'])

/** Whether the store grows with each operation of it. */
export function addsTo(name: WorkloadName): boolean {
  const { needs }: Workload = WORKLOADS[name]
  return needs.some((call) => ADDING.has(call))
}
