import { writeSync } from 'node:fs'
import { errnoOf, harmless } from '../../src/errors.ts'
import { EXIT } from './exit-codes.ts'

export const STDERR = 2

/**
 * Writes to stderr, straight to the descriptor: process.stderr would switch a pipe to non-blocking mode for everybody
 * who shares it, the command of `pslock run` included, which would then meet EAGAIN.
 */
export function print(text: string): void {
  try {
    writeSync(STDERR, text)
  } catch (error) {
    // Nobody listens, or somebody else made it non-blocking and it is full: the command matters more.
    if (!['EPIPE', 'EAGAIN', 'EIO', 'EBADF', 'ENOSPC'].includes(errnoOf(error) ?? '')) throw error
  }
}

/** Text of several lines, each of them harmless to show. What stands between line feeds must be so already. */
export function harmlessLines(text: string): string {
  return text.split('\n').map(harmless).join('\n')
}

/** Writes results to stdout. The exit code is the same where nobody reads them (`pslock status db | true`). */
export function writeOut(text: string): void {
  tolerateClosedPipe(process.stdout).write(text)
}

const tolerant = new WeakSet<NodeJS.WriteStream>()

/** What is written to a pipe that its reader has closed is lost without a word; other failures end in 125. */
export function tolerateClosedPipe(stream: NodeJS.WriteStream): NodeJS.WriteStream {
  if (tolerant.has(stream)) return stream
  tolerant.add(stream)
  return stream.on('error', (error) => {
    if (errnoOf(error) === 'EPIPE') return
    print(`pslock: cannot write the output: ${error.message}\n`)
    process.exitCode = EXIT.failed
    process.on('exit', () => {
      process.exitCode = EXIT.failed
    })
  })
}
