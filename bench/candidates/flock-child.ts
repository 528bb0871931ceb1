import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { tryFlock } from '../../src/os/flock.ts'
import type { Release } from './candidate.ts'

/** flock(1) locks the descriptor that we give it: the open file is shared, so the lock is ours when it has ended. */
export async function acquire(path: string, signal?: AbortSignal): Promise<Release> {
  const lockFile = `${path}.lock`
  const fd = openSync(lockFile, 'a')
  const release = () => closeSync(fd)
  if (tryFlock(fd, 'exclusive', lockFile)) return release
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn('flock', ['--exclusive', '3'], { stdio: ['ignore', 'ignore', 'inherit', fd] })
      const cancel = () => child.kill('SIGKILL')
      signal?.addEventListener('abort', cancel, { once: true })
      child.once('error', reject)
      child.once('exit', (code, killedBy) => {
        signal?.removeEventListener('abort', cancel)
        if (code === 0) resolve()
        else reject(signal?.aborted ? signal.reason : new Error(`flock ended with ${code ?? killedBy}`))
      })
    })
  } catch (error) {
    release()
    throw error
  }
  return release
}
