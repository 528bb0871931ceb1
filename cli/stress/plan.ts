import type { Operation } from './operation.ts'
import { between, type Random, shuffled, stream, weighted } from './random.ts'

/** What the plan depends on, besides the worker's number. */
export interface PlanOptions {
  readonly seed: number
  readonly store: 'lowdb' | 'nedb' | 'nedb-promises'
  readonly ops: number
}

type Kind = Operation['kind']

const WEIGHTS: Record<Kind, number> = {
  insert: 30,
  insertMany: 5,
  update: 18,
  delete: 7,
  increment: 20,
  claim: 8,
  readRecord: 5,
  readCount: 3,
  readCounter: 4,
}

const COUNTERS = ['counter-0', 'counter-1', 'counter-2', 'counter-3', 'counter-4']

/** How much of lowdb's work is bare: `db.data...` and `db.write()` instead of `db.update()`. */
const BARE: Partial<Record<Kind, number>> = { insert: 0.45, update: 0.45, increment: 0.2 }

/** The operations of one worker: the same ones for the same seed, whatever the other workers do. */
export function planOf(worker: number, { seed, store, ops }: PlanOptions): Operation[] {
  const random = stream(seed, 'plan', worker)
  const inOneFile = store === 'lowdb'
  const keys = shuffled(random, contestedKeys(ops))
  const live: number[] = []
  const versions = new Map<number, number>()
  let next = 0

  const born = (n: number) => {
    live.push(n)
    versions.set(n, 0)
  }
  const insert = (): Operation => {
    const n = next++
    born(n)
    return { kind: 'insert', n, length: payloadLength(random, inOneFile) }
  }
  const make: Record<Kind, () => Operation> = {
    insert,
    insertMany: () => {
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
  }

  return Array.from({ length: ops }, () => {
    const operation = make[weighted(random, WEIGHTS)]()
    return inOneFile && random() < (BARE[operation.kind] ?? 0) ? { ...operation, bare: true } : operation
  })
}

/** The pauses of one worker between its operations, in milliseconds. */
export function thinkTimes(worker: number, seed: number, thinkMs: number): () => number {
  const random = stream(seed, 'think', worker)
  return () => random() * thinkMs
}

/** The unique keys that every worker tries to get, each in its own order. */
function contestedKeys(ops: number): string[] {
  return Array.from({ length: Math.max(2, Math.ceil(ops / 12)) }, (_, index) => `key-${index}`)
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
