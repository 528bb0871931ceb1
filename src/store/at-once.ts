import { fitsAtOnce } from '../os/open-files.ts'

/** When none of those that run has ended for so long, they may be waiting for one that waits here: one more begins then. */
const NO_PROGRESS_MS = 200

let running = 0
/** When one ended, or began all the same. */
let movedAt = 0
const waiting: (() => void)[] = []

/**
 * Many stores of one thread that all begin in the same moment would hold more files open together than the process may
 * have, each under its lock and in need of one more: so only so many passes run at once. A courtesy, not a limit: it
 * never keeps a pass waiting while no other one ends.
 * @param mayWait false inside a hold, which the others may be waiting for
 * @returns what to wait for, where there are too many
 */
export function beginPass(mayWait: () => boolean): Promise<void> | undefined {
  if ((fitsAtOnce(running) && waiting.length === 0) || !mayWait()) {
    running++
    return undefined
  }
  return new Promise((resolve) => {
    const since = performance.now()
    const begin = () => {
      clearTimeout(timer)
      running++
      resolve()
    }
    const look = () => {
      const leftMs = Math.max(since, movedAt) + NO_PROGRESS_MS - performance.now()
      if (leftMs > 0) timer = setTimeout(look, leftMs)
      else {
        movedAt = performance.now()
        waiting.shift()?.()
      }
    }
    let timer = setTimeout(look, NO_PROGRESS_MS)
    waiting.push(begin)
  })
}

/** One of them has ended. */
export function endPass(): void {
  running--
  if (waiting.length === 0) return
  movedAt = performance.now()
  if (fitsAtOnce(running)) waiting.shift()?.()
}
