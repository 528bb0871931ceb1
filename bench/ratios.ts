/**
 * The costs that matter, as ratios within one interleaved run: absolute times mean nothing on a shared machine.
 * Needs a C compiler (`cc`). Exits 1 where a ratio is over its limit.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LockedNedb } from '../adapters/nedb.ts'
import { PsLock } from '../src/lock/ps-lock.ts'

const ROUNDS = 7
const LOCKS = 20_000
const INSERTS = 2_000

interface Store {
  loadDatabaseAsync(): Promise<void>
  insertAsync(doc: object): Promise<unknown>
}
type StoreClass = new (options: { filename: string }) => Store

const Vanilla = createRequire(import.meta.url)('@seald-io/nedb') as StoreClass
const room = mkdtempSync(join(tmpdir(), 'pslock-bench-'))
const loop = join(room, 'flock-loop')
execFileSync('cc', ['-O2', '-o', loop, fileURLToPath(new URL('flock-loop.c', import.meta.url))])
const lock = new PsLock(join(room, 'data'))

/** Nanoseconds for each of `count` calls. */
async function each(count: number, run: () => unknown): Promise<number> {
  const start = process.hrtime.bigint()
  for (let i = 0; i < count; i++) await run()
  return Number(process.hrtime.bigint() - start) / count
}

function eachSync(count: number, run: () => unknown): number {
  const start = process.hrtime.bigint()
  for (let i = 0; i < count; i++) run()
  return Number(process.hrtime.bigint() - start) / count
}

let files = 0
async function inserts(Class: StoreClass): Promise<number> {
  const filename = join(room, `store-${files++}.db`)
  const store = new Class({ filename })
  await store.loadDatabaseAsync()
  let n = 0
  const ns = await each(INSERTS, () => store.insertAsync({ _id: `k${n++}`, name: 'hello world' }))
  const lines = readFileSync(filename, 'utf8').split('\n').filter(Boolean).length
  if (lines !== INSERTS) throw new Error(`${filename} holds ${lines} of ${INSERTS} records`)
  return ns
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

try {
  const ratios = {
    exclusive: [] as number[],
    exclusiveSync: [] as number[],
    acquireSync: [] as number[],
    insert: [] as number[],
  }
  for (let round = -1; round < ROUNDS; round++) {
    const c = Number(execFileSync(loop, [join(room, 'c.lock'), String(LOCKS * 5)], { encoding: 'utf8' }))
    const figures = {
      exclusive: (await each(LOCKS, () => lock.exclusive(() => {}))) / c,
      exclusiveSync: eachSync(LOCKS, () => lock.exclusiveSync(() => {})) / c,
      acquireSync: eachSync(LOCKS, () => lock.acquireSync().release()) / c,
      insert: (await inserts(LockedNedb as unknown as StoreClass)) / (await inserts(Vanilla)),
    }
    // The first round only warms up.
    if (round >= 0)
      for (const [name, ratio] of Object.entries(figures)) ratios[name as keyof typeof ratios].push(ratio)
  }
  const limits = { exclusive: 10, exclusiveSync: 3, acquireSync: 3, insert: 1 }
  let over = false
  for (const [name, limit] of Object.entries(limits)) {
    const ratio = median(ratios[name as keyof typeof ratios])
    over ||= ratio > limit
    const against = name === 'insert' ? 'vanilla NeDB' : 'a C loop of flock + stat + unlock'
    console.log(`${name.padEnd(14)} ${ratio.toFixed(2)}x ${against} (limit ${limit}x)`)
  }
  process.exitCode = over ? 1 : 0
} finally {
  await lock.close()
  rmSync(room, { recursive: true, force: true })
}
