import { isatty } from 'node:tty'
import { styleText } from 'node:util'
import { print, STDERR } from '../base/output.ts'
import { isServerUrl } from '../base/server-url.ts'
import { cut, cutFront, isRewritable } from '../base/terminal-text.ts'
import { heldBy, shortPath, type Who } from './held-by.ts'

/** A wait shorter than this is not worth a flicker; in a log, not worth a line. */
const FIRST_AFTER_MS = { terminal: 200, log: 1000 }
const REFRESH_EVERY_MS = 200

const CLEAR_LINE = '\r\x1b[K'

export interface WaitingNotice {
  /** Takes the line away from a terminal; what went into a log stays. */
  stop(): void
}

/** A lock that somebody waits for: of a file, or on a server, which has to be asked. */
interface Waited {
  readonly path: string
  holders(): readonly Who[] | Promise<readonly Who[]>
}

/** Says on stderr who is in the way: on a terminal one line that is rewritten, elsewhere one line once. */
export function waitingNotice(lock: Waited): WaitingNotice {
  return isRewritable(isatty(STDERR)) ? onTerminal(lock) : inLog(lock)
}

function onTerminal(lock: Waited): WaitingNotice {
  let drawn = false
  let isAsking = false
  let isStopped = false
  const draw = async () => {
    // A server may take longer than that.
    if (isAsking) return
    isAsking = true
    const columns = process.stderr.columns || 80
    // One column stays free: some terminals wrap as soon as the last one is written.
    const text = cut(await waitingText(lock, columns - 1), columns - 1)
    isAsking = false
    if (isStopped) return
    // Not picocolors: it opens stdout, which is the command's. This honours NO_COLOR as well.
    print(CLEAR_LINE + text.replace(/^waiting/, styleText('yellow', 'waiting', { stream: process.stderr })))
    drawn = true
  }
  const timer = setInterval(draw, REFRESH_EVERY_MS)
  return {
    stop: () => {
      isStopped = true
      clearInterval(timer)
      if (drawn) print(CLEAR_LINE)
      drawn = false
    },
  }
}

function inLog(lock: Waited): WaitingNotice {
  let isStopped = false
  const tell = async () => {
    const text = await waitingText(lock)
    if (!isStopped) print(`pslock: ${text}\n`)
  }
  const timer = setTimeout(tell, FIRST_AFTER_MS.log)
  return {
    stop: () => {
      isStopped = true
      clearTimeout(timer)
    },
  }
}

/** A long path is cut so that half of the columns are left for who it is. */
async function waitingText(lock: Waited, columns: number = Number.POSITIVE_INFINITY): Promise<string> {
  const who = heldBy(await holdersOf(lock))
  const [before, path, after] = ['waiting for ', shortPath(lock.path), who === undefined ? '' : `: ${who}`]
  const room = columns - before.length - Math.min(after.length, Math.ceil(columns / 2))
  return before + cutFront(path, room) + after
}

/** Whoever waits for a server that is away hears of it in the end. */
async function holdersOf(lock: Waited): Promise<readonly Who[]> {
  if (!isServerUrl(lock.path)) return lock.holders()
  try {
    return await lock.holders()
  } catch {
    return []
  }
}
