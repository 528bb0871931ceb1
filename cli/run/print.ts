import { writeSync } from 'node:fs'
import { errnoOf } from '../../src/errors.ts'

export const STDERR = 2

/**
 * Writes to stderr, straight to the descriptor: process.stderr would switch a pipe to non-blocking mode for everybody
 * who shares it, the command included, which would then meet EAGAIN.
 */
export function print(text: string): void {
  try {
    writeSync(STDERR, text)
  } catch (error) {
    // Nobody listens, or somebody else made it non-blocking and it is full: the command matters more.
    if (!['EPIPE', 'EAGAIN', 'EIO', 'EBADF'].includes(errnoOf(error) ?? '')) throw error
  }
}
