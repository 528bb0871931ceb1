import { copyFile, rename } from 'node:fs/promises'
import type { PsLock } from '../../../src/lock/lock.ts'
import type { Answer, Operation } from '../operation.ts'

/** Where the data is, and how a worker opens it. */
export interface SubjectOptions {
  readonly path: string
  /** Of the store on a server, instead of the path. */
  readonly url?: string | undefined
  readonly worker: number
  /** The vanilla library, without any lock. */
  readonly unlocked: boolean
  readonly sliceMs: number | undefined
  readonly durability: 'process' | 'disk'
  readonly chaos: { readonly compactionsPerSecond: number }
}

/** A store object of a worker's own, able to do what a plan may ask. */
export interface Subject {
  /** @throws whatever the store rejects with, unless it is an answer that the plan expects */
  perform(operation: Operation): Promise<Answer>
  /**
   * Runs it under one hold of the lock, as one transaction; the vanilla library has none, and just runs it.
   * @throws whatever it throws, and the store's own
   */
  slowly<T>(run: () => Promise<T>): Promise<T>
  close(): Promise<void>
}

/** What every locked store has, and no vanilla one. */
interface Locked {
  readonly lock: PsLock | undefined
  transaction<T>(run: () => T): Promise<Awaited<T>>
  dump(path: string): Promise<void>
}

/** A whole copy of the data file, or none, made while nobody writes it. */
async function copyOf({ lock }: Locked, path: string, to: string): Promise<void> {
  if (!lock) throw new Error('the vanilla library has no lock to copy under')
  const temp = `${to}.part`
  await lock.shared(() => copyFile(path, temp))
  await rename(temp, to)
}

/** The chores, which are the same for every locked store but for the compaction. */
export async function chore(
  operation: Extract<Operation, { kind: 'dump' | 'copy' }>,
  store: object,
  path: string,
): Promise<Answer> {
  if (operation.kind === 'dump') await (store as Locked).dump(operation.to)
  else await copyOf(store as Locked, path, operation.to)
  return { said: 'done' }
}

export function slowly(store: object): Subject['slowly'] {
  return (run) =>
    ('transaction' in store ? (store as Locked).transaction(run) : run()) as ReturnType<typeof run>
}

/** Where a store of lines is, and how it is opened. */
export function placeOf(
  options: SubjectOptions,
): { url: string; durability: 'process' | 'disk' } | ({ filename: string } & ReturnType<typeof logOptions>) {
  const { url, path, durability } = options
  return url === undefined ? { filename: path, ...logOptions(options) } : { url, durability }
}

/** The same, of a store whose file is compacted: where no worker is told to, the order of what is in the file is judged. */
function logOptions(options: SubjectOptions): ReturnType<typeof lockOptions> & {
  compaction: 'auto' | 'manual'
} {
  const compaction = options.chaos.compactionsPerSecond > 0 ? 'auto' : 'manual'
  return { ...lockOptions(options), compaction }
}

/** The options that only a locked store knows; an option that was not given is left out. */
export function lockOptions({ sliceMs, durability }: SubjectOptions): {
  durability: 'process' | 'disk'
  sliceMs?: number
} {
  return { durability, ...(sliceMs === undefined ? {} : { sliceMs }) }
}
