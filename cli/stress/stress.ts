import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { readContent } from './contents/read.ts'
import { type OnProgress, runCrew } from './crew.ts'
import type { StressOptions } from './options.ts'
import { openSubject } from './stores/open.ts'
import { judge, type Verdict } from './verdict.ts'

/**
 * One run: real processes, seeded work on one file, and the verdict on what is in it afterwards. The data is in a
 * temporary folder, which is removed unless it is to be kept.
 * @throws the signal's reason; by then every worker has ended and the folder is gone
 */
export async function stress(
  options: StressOptions,
  onProgress: OnProgress = () => {},
  signal?: AbortSignal,
): Promise<Verdict> {
  const folder = mkdtempSync(join(options.dir, 'pslock-stress-'))
  const path = join(folder, options.store === 'lowdb' ? 'data.json' : 'data.db')
  try {
    const histories = await runCrew(path, options, onProgress, signal)
    onProgress({ phase: 'checking', done: 0, total: 1, live: 0 })
    const killed = histories.some(({ ended }) => ended !== 'finished')
    if (killed && !options.unlocked) await mend(path, options)
    const content = await readContent(options.store, path)
    return judge(options, histories, content, options.keep ? folder : undefined)
  } finally {
    if (!options.keep) rmSync(folder, { recursive: true, force: true })
  }
}

/** After a kill the vanilla library is promised the file only once pslock has opened it. */
async function mend(path: string, options: StressOptions): Promise<void> {
  const subject = await openSubject(options.store, { ...options, path, worker: options.procs })
  await subject.perform({ kind: 'readCount' })
  await subject.close()
}
