import { isatty } from 'node:tty'
import { styleText } from 'node:util'
import type { PsLock } from '../../src/lock/lock.ts'
import { print, STDERR } from '../base/output.ts'
import { cut, cutFront, isRewritable } from '../base/terminal-text.ts'
import { heldBy, shortPath } from './held-by.ts'

/** A wait shorter than this is not worth a flicker; in a log, not worth a line. */
const FIRST_AFTER_MS = { terminal: 200, log: 1000 }
const REFRESH_EVERY_MS = 200

const CLEAR_LINE = '\r\x1b[K'

export interface WaitingNotice {
  /** Takes the line away from a terminal; what went into a log stays. */
  stop(): void
}

/** Says on stderr who is in the way: on a terminal one line that is rewritten, elsewhere one line once. */
export function waitingNotice(lock: PsLock): WaitingNotice {
  return isRewritable(isatty(STDERR)) ? onTerminal(lock) : inLog(lock)
}

function onTerminal(lock: PsLock): WaitingNotice {
  let drawn = false
  const draw = () => {
    const columns = process.stderr.columns || 80
    // One column stays free: some terminals wrap as soon as the last one is written.
    const text = cut(waitingText(lock, columns - 1), columns - 1)
    // Not picocolors: it opens stdout, which is the command's. This honours NO_COLOR as well.
    print(CLEAR_LINE + text.replace(/^waiting/, styleText('yellow', 'waiting', { stream: process.stderr })))
    drawn = true
  }
  const timer = setInterval(draw, REFRESH_EVERY_MS)
  return {
    stop: () => {
      clearInterval(timer)
      if (drawn) print(CLEAR_LINE)
      drawn = false
    },
  }
}

function inLog(lock: PsLock): WaitingNotice {
  const timer = setTimeout(() => print(`pslock: ${waitingText(lock)}\n`), FIRST_AFTER_MS.log)
  return { stop: () => clearTimeout(timer) }
}

/** A long path is cut so that half of the columns are left for who it is. */
function waitingText(lock: PsLock, columns: number = Number.POSITIVE_INFINITY): string {
  const who = heldBy(lock.holders())
  const [before, path, after] = ['waiting for ', shortPath(lock.path), who === undefined ? '' : `: ${who}`]
  const room = columns - before.length - Math.min(after.length, Math.ceil(columns / 2))
  return before + cutFront(path, room) + after
}
