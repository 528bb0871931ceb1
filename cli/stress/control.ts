import { CALM } from './chaos/options.ts'
import type { StressOptions } from './options.ts'
import type { Compared } from './page/verdict-words.ts'
import { progressDisplay } from './progress.ts'
import { type StressRun, stress } from './stress.ts'

/** Enough to show what becomes of the file; more would only take longer. */
const PROCS_AT_MOST = 50
const OPS_AT_MOST = { nedb: 25, 'nedb-promises': 25, lowdb: 10 } as const

/**
 * A short control for a run: the same work by the vanilla library without a lock, and without trouble of other kinds,
 * so that the missing lock alone explains what is lost.
 */
function controlOf(options: StressOptions): StressOptions {
  return {
    ...options,
    procs: Math.min(options.procs, PROCS_AT_MOST),
    ops: Math.min(options.ops, OPS_AT_MOST[options.store]),
    seconds: undefined,
    unlocked: true,
    kill: 0,
    chaos: CALM,
    sliceMs: undefined,
    keep: false,
  }
}

/** A run with its control, which is run now; there is none after Ctrl-C. A run that is a control itself stays alone. */
export async function withControl(
  run: StressRun,
  options: StressOptions,
  signal: AbortSignal,
): Promise<Compared<StressRun>> {
  if (options.unlocked) return { locked: undefined, control: run }
  // Of a server there is none: the unmodified library has no store there.
  if (options.url !== undefined) return { locked: run, control: undefined }
  const display = progressDisplay(`${options.store} unlocked, for the report`)
  try {
    return { locked: run, control: await stress(controlOf(options), display.show, signal) }
  } catch (error) {
    if (!signal.aborted) throw error
    return { locked: run, control: undefined }
  } finally {
    display.stop()
  }
}
