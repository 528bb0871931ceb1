import { spawn } from 'node:child_process'

/**
 * SIGSTOP now, and SIGCONT after that time. The one who continues it is a process by itself, which is there before the
 * stop and does not hear Ctrl-C: whatever becomes of us, nobody stays stopped.
 */
export function stopFor(pid: number, forMs: number, continued: () => void): void {
  const script = 'sleep "$1"; kill -CONT "$2" 2>/dev/null'
  const waker = spawn('/bin/sh', ['-c', script, 'sh', String(forMs / 1000), String(pid)], {
    stdio: 'ignore',
    detached: true,
  })
  waker.once('exit', continued)
  waker.once('error', continued)
  waker.once('spawn', () => {
    try {
      process.kill(pid, 'SIGSTOP')
    } catch (error) {
      // It has ended meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  })
  waker.unref()
}
