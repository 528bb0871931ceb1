import { setTimeout } from 'node:timers/promises'
import type { Peer } from '../store.ts'

/** What an open store costs its process. */
export interface Weight {
  readonly openMs: number
  /** Heap and external memory after a collection, and what the kernel counts: of the whole process. */
  readonly heldBytes: number
  readonly residentBytes: number
  /** The first read of all records, and the memory after it. */
  readonly readMs: number
  readonly heldAfterReadBytes: number
}

async function held(): Promise<number> {
  // What was read with is held until the event loop has turned.
  await setTimeout(20)
  // What buffers and long texts have their bytes in is freed by the collection after the one that finds them unused.
  globalThis.gc?.()
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** @throws Error where not all records are found */
export async function weigh(peer: Peer, path: string, records: number): Promise<Weight> {
  let start = performance.now()
  const store = await peer.open(path)
  const openMs = performance.now() - start
  const heldBytes = await held()
  const residentBytes = process.memoryUsage.rss()
  start = performance.now()
  const found = await store.readAll?.()
  const readMs = performance.now() - start
  if (found !== records) throw new Error(`${found} of ${records} records were read`)
  const heldAfterReadBytes = await held()
  await store.close()
  return { openMs, heldBytes, residentBytes, readMs, heldAfterReadBytes }
}
