import { join } from 'node:path'
import { LockedNedb } from 'pslock/nedb'
import { median } from '../../lab/statistics.ts'
import { type Nedb, nedbCalls, openVanilla, prepareNedb, Vanilla } from '../peers/nedb-file.ts'
import { COUNTERS } from '../store.ts'

const SMALL = 1_000
const LARGE = 100_000
/** Of a batch. Few inserts, so that the small store stays small. */
const OPERATIONS: Record<Step, number> = { find: 500, increment: 500, insert: 100 }
const WARM_UP_BATCHES = 5
const BATCHES = 9
/** A prime: no neighbours one after the other. */
const STRIDE = 7919

type Step = 'insert' | 'increment' | 'find'

/** How much longer a step takes at 100,000 records than at 1,000. */
export type StepCosts = Record<Step, { readonly ours: number; readonly vanilla: number }>

type Calls = ReturnType<typeof nedbCalls>

const STEPS: Record<Step, (calls: Calls, i: number, records: number) => Promise<unknown>> = {
  insert: (calls) => calls.insert(),
  increment: (calls, i) => calls.increment((i * STRIDE) % COUNTERS),
  find: (calls, i, records) => calls.find((i * STRIDE) % records),
}

interface Sized {
  readonly small: Calls
  readonly large: Calls
}

/** Ours on a file, vanilla NeDB in memory, both sizes in this process, in small batches that alternate. */
export async function measureSteps(folder: string): Promise<StepCosts> {
  const ours = {
    small: nedbCalls(await openOurs(join(folder, 'small.db'), SMALL)),
    large: nedbCalls(await openOurs(join(folder, 'large.db'), LARGE)),
  }
  const vanilla = {
    small: nedbCalls(await inMemory(join(folder, 'small-copy.db'), SMALL)),
    large: nedbCalls(await inMemory(join(folder, 'large-copy.db'), LARGE)),
  }
  return { find: await both('find'), increment: await both('increment'), insert: await both('insert') }

  async function both(step: Step) {
    return { ours: await growth(step, ours), vanilla: await growth(step, vanilla) }
  }
}

async function openOurs(path: string, records: number): Promise<Nedb> {
  prepareNedb(path, records)
  const store = new LockedNedb({ filename: path })
  await store.loadDatabaseAsync()
  // What the first read of a record costs is measured by itself (weigh.ts).
  await store.findAsync({})
  return store
}

async function inMemory(path: string, records: number): Promise<Nedb> {
  prepareNedb(path, records)
  const store: Nedb = new Vanilla({ inMemoryOnly: true })
  await store.insertAsync((await (await openVanilla(path)).findAsync({})) as never)
  return store
}

async function growth(step: Step, { small, large }: Sized): Promise<number> {
  const run = STEPS[step]
  let i = 0
  const batch = async (calls: Calls, records: number) => {
    const start = performance.now()
    for (const end = i + OPERATIONS[step]; i < end; i++) await run(calls, i, records)
    return performance.now() - start
  }
  const ratios: number[] = []
  for (let round = -WARM_UP_BATCHES; round < BATCHES; round++) {
    const first = await batch(small, SMALL)
    const ratio = (await batch(large, LARGE)) / first
    if (round >= 0) ratios.push(ratio)
  }
  return median(ratios)
}
