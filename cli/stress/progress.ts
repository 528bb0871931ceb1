import { SingleBar } from 'cli-progress'
import { tolerateClosedPipe } from '../base/output.ts'
import type { Progress } from './crew.ts'

/** Where a run's progress goes. */
export interface ProgressDisplay {
  show(progress: Progress): void
  stop(): void
}

/** Without a terminal a line every so often is enough. */
const LINE_EVERY_MS = 3000

const PHASES: Record<Progress['phase'], string> = {
  starting: 'processes started',
  opening: 'stores opened',
  working: 'operations done',
  running: 'seconds gone',
  checking: 'checking the file',
}

/** A live bar on a terminal, plain lines now and then elsewhere; always on stderr, since stdout has the result. */
export function progressDisplay(title: string, stream: NodeJS.WriteStream = process.stderr): ProgressDisplay {
  tolerateClosedPipe(stream)
  return stream.isTTY ? bar(title, stream) : lines(title, stream)
}

function bar(title: string, stream: NodeJS.WriteStream): ProgressDisplay {
  const single = new SingleBar({
    stream,
    format: `${title} [{bar}] {value}/{total} {what}`,
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
    // The signal handlers are ours.
    gracefulExit: false,
    noTTYOutput: false,
  })
  let phase: Progress['phase'] | undefined
  return {
    show: (progress) => {
      const what = `${PHASES[progress.phase]}, ${progress.live} live`
      if (progress.phase === phase) single.update(progress.done, { what })
      else {
        if (phase === undefined) single.start(progress.total, progress.done, { what })
        else {
          single.setTotal(progress.total)
          single.update(progress.done, { what })
        }
        phase = progress.phase
      }
    },
    stop: () => single.stop(),
  }
}

function lines(title: string, stream: NodeJS.WriteStream): ProgressDisplay {
  let last = performance.now()
  return {
    show: ({ phase, done, total, live }) => {
      if (performance.now() - last < LINE_EVERY_MS) return
      last = performance.now()
      stream.write(`${title}: ${done} of ${total} ${PHASES[phase]}, ${live} live\n`)
    },
    stop: () => {},
  }
}
