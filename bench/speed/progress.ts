import { SingleBar } from 'cli-progress'

/** Without a terminal a line every so often is enough. */
const LINE_EVERY_MS = 3000

export interface Progress {
  /** Tells what is measured next. */
  next(what: string): void
  stop(): void
}

/** A live bar on a terminal, plain lines now and then elsewhere; on stderr, since stdout has the result. */
export function progress(total: number): Progress {
  return process.stderr.isTTY ? bar(total) : lines(total)
}

function bar(total: number): Progress {
  const single = new SingleBar({
    stream: process.stderr,
    format: '[{bar}] {percentage}% {what}',
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
    // The signal handlers are ours.
    gracefulExit: false,
  })
  single.start(total, 0, { what: 'starting' })
  // Ctrl-C must not leave the terminal without its cursor.
  process.once('exit', () => single.stop())
  return {
    next: (what) => single.increment(1, { what }),
    stop: () => single.stop(),
  }
}

function lines(total: number): Progress {
  let [done, last] = [0, Number.NEGATIVE_INFINITY]
  return {
    next(what) {
      done++
      if (performance.now() - last < LINE_EVERY_MS) return
      last = performance.now()
      process.stderr.write(`${done} of ${total}: ${what}\n`)
    },
    stop() {},
  }
}
