import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { dumpTo, mend } from './checks/copies.ts'
import { readContent } from './contents/read.ts'
import { type OnProgress, runCrew } from './crew.ts'
import type { StressOptions } from './options.ts'
import { type RunRecord, runRecord } from './run-record.ts'
import { judge, type Verdict } from './verdict.ts'

/** The outcome of a run, and what happened in it. */
export interface StressRun {
  readonly verdict: Verdict
  readonly record: RunRecord
}

/**
 * One run: real processes, seeded work on one file, and the verdict on what is in it afterwards. The data is in a
 * temporary folder, which is removed unless it is to be kept. A signal ends the work: the verdict is then on what was
 * done by that time.
 * @throws the signal's reason if the work had not begun; every worker has ended by then and the folder is gone
 */
export async function stress(
  options: StressOptions,
  onProgress: OnProgress = () => {},
  signal?: AbortSignal,
): Promise<StressRun> {
  const folder = mkdtempSync(join(options.dir, 'pslock-stress-'))
  const path = join(folder, options.store === 'lowdb' ? 'data.json' : 'data.db')
  try {
    const run = await runCrew(path, options, onProgress, signal)
    onProgress({ phase: 'checking', done: 0, total: 1, live: 0 })
    const killed = run.histories.some(({ ended, restarts = 0 }) => ended !== 'finished' || restarts > 0)
    const refusal = await afterwards(path, options, killed)
    const content = await readContent(options.store, path)
    const server = options.url === undefined ? undefined : (await import('./server.ts')).shownUrl(options.url)
    const kept = options.keep ? folder : undefined
    const { verdict, findings } = await judge(options, run, { content, refusal, kept, server })
    return { verdict, record: runRecord(path, run, findings) }
  } finally {
    if (!options.keep && options.url !== undefined)
      await (await import('./server.ts')).removeOwnStore(options.url)
    if (!options.keep) rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * Makes a file of the store for the vanilla library, as any process of pslock would find it.
 * @returns why that was refused
 */
async function afterwards(
  path: string,
  options: StressOptions,
  killed: boolean,
): Promise<string | undefined> {
  if (options.url !== undefined) return dumpTo(path, options)
  return killed && !options.unlocked ? mend(path, options) : undefined
}
