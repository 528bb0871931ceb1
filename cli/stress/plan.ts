import { ABSENT, type Operation } from './operation.ts'
import { between, type Random, shuffled, stream, weighted } from './random.ts'

/** What the plan depends on, besides the worker's number. */
export interface PlanOptions {
  readonly seed: number
  readonly store: 'lowdb' | 'nedb' | 'nedb-promises'
  /** How many; `Infinity` for a worker that goes on until it is stopped. */
  readonly ops: number
}

type Kind = Exclude<Operation['kind'], 'compact' | 'compactByNeed' | 'dump' | 'copy'>

const WEIGHTS: Record<Kind, number> = {
  insert: 30,
  insertMany: 5,
  update: 18,
  delete: 7,
  increment: 16,
  claim: 6,
  readRecord: 5,
  readCount: 3,
  readCounter: 4,
  readRegister: 3,
  writeRegister: 3,
  compareAndSet: 5,
  insertKey: 5,
  deleteKey: 3,
  readKey: 3,
}

const REGISTERS = ['register-0', 'register-1', 'register-2']
const UNIQUE_KEYS = ['unique-0', 'unique-1', 'unique-2']

/** A worker's values are its own: who wrote what was read is known. */
const VALUES_EACH = 10_000_000

/** No file grows for ever: a worker with this many records deletes one before it makes more. */
const LIVE_AT_MOST = { lowdb: 60, nedb: 150, 'nedb-promises': 150 } as const

/** How many unique keys there are to claim where nobody knows how long it will go on. */
const CLAIMS_OF_ENDLESS = 120

const COUNTERS = ['counter-0', 'counter-1', 'counter-2', 'counter-3', 'counter-4']

/** How much of lowdb's work is bare: `db.data...` and `db.write()` instead of `db.update()`. */
const BARE: Partial<Record<Kind, number>> = { insert: 0.45, update: 0.45, increment: 0.2 }

/** The operations of one worker: the same ones for the same seed, whatever the other workers do. */
export function planOf(worker: number, options: PlanOptions): Operation[] {
  return [...operationsOf(worker, options)]
}

/**
 * The same, one after the other. What it is worth comparing with is not known here: `from` of a compareAndSet is left to
 * the worker, which does it as if it were what it has seen last.
 */
export function* operationsOf(worker: number, { seed, store, ops }: PlanOptions): Generator<Operation> {
  const random = stream(seed, 'plan', worker)
  const inOneFile = store === 'lowdb'
  const keys = shuffled(random, contestedKeys(ops))
  const live: number[] = []
  const versions = new Map<number, number>()
  let next = 0
  let value = worker * VALUES_EACH

  const born = (n: number) => {
    live.push(n)
    versions.set(n, 0)
  }
  const insert = (): Operation => {
    if (live.length >= LIVE_AT_MOST[store]) return make.delete()
    const n = next++
    born(n)
    return { kind: 'insert', n, length: payloadLength(random, inOneFile) }
  }
  const make: Record<Kind, () => Operation> = {
    insert,
    insertMany: () => {
      if (live.length >= LIVE_AT_MOST[store]) return make.delete()
      const n = next
      const count = between(random, 3, 8)
      next += count
      for (let index = 0; index < count; index++) born(n + index)
      return { kind: 'insertMany', n, count, length: payloadLength(random, inOneFile) }
    },
    update: () => {
      const n = pick(random, live)
      if (n === undefined) return insert()
      const v = (versions.get(n) ?? 0) + 1
      versions.set(n, v)
      return { kind: 'update', n, v, length: payloadLength(random, inOneFile) }
    },
    delete: () => {
      const n = pick(random, live)
      if (n === undefined) return insert()
      live.splice(live.indexOf(n), 1)
      return { kind: 'delete', n }
    },
    increment: () => ({ kind: 'increment', counter: pick(random, COUNTERS) as string }),
    claim: () => {
      const key = keys.pop()
      return key === undefined ? make.increment() : { kind: 'claim', key }
    },
    readRecord: () => {
      const n = between(random, 0, next)
      return n === next ? make.readCounter() : { kind: 'readRecord', n }
    },
    readCount: () => ({ kind: 'readCount' }),
    readCounter: () => ({ kind: 'readCounter', counter: pick(random, COUNTERS) as string }),
    readRegister: () => ({ kind: 'readRegister', register: pick(random, REGISTERS) as string }),
    writeRegister: () => ({
      kind: 'writeRegister',
      register: pick(random, REGISTERS) as string,
      value: value++,
    }),
    compareAndSet: () => ({
      kind: 'compareAndSet',
      register: pick(random, REGISTERS) as string,
      from: ABSENT,
      to: value++,
    }),
    insertKey: () => ({ kind: 'insertKey', key: pick(random, UNIQUE_KEYS) as string, value: value++ }),
    deleteKey: () => ({ kind: 'deleteKey', key: pick(random, UNIQUE_KEYS) as string }),
    readKey: () => ({ kind: 'readKey', key: pick(random, UNIQUE_KEYS) as string }),
  }

  for (let made = 0; made < ops; made++) {
    const operation = make[weighted(random, WEIGHTS)]()
    const bare = inOneFile && random() < (BARE[operation.kind as Kind] ?? 0)
    yield bare ? ({ ...operation, bare } as Operation) : operation
  }
}

/** The pauses of one worker between its operations, in milliseconds. */
export function thinkTimes(worker: number, seed: number, thinkMs: number): () => number {
  const random = stream(seed, 'think', worker)
  return () => random() * thinkMs
}

/** The unique keys that every worker tries to get, each in its own order. */
function contestedKeys(ops: number): string[] {
  return Array.from(
    { length: ops === Number.POSITIVE_INFINITY ? CLAIMS_OF_ENDLESS : Math.max(2, Math.ceil(ops / 12)) },
    (_, index) => `key-${index}`,
  )
}

/** Mostly small, and some that no single block of the file can hold. */
function payloadLength(random: Random, inOneFile: boolean): number {
  const size = random()
  if (size < 0.8) return between(random, 5, inOneFile ? 80 : 250)
  if (size < 0.95) return between(random, 250, inOneFile ? 500 : 2000)
  return inOneFile ? between(random, 1000, 3000) : between(random, 4200, 12_000)
}

function pick<T>(random: Random, items: readonly T[]): T | undefined {
  return items[Math.floor(random() * items.length)]
}
