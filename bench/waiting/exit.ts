import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { nowMs } from '../lab/clock.ts'
import { type Mate, nodeArguments } from '../lab/mate.ts'

const SCRIPT = fileURLToPath(new URL('give-up.ts', import.meta.url))
const GIVE_UP_AFTER_MS = 100
/** A process that lives so long after its wait was given up is kept by it. */
const KEPT_MS = 1500

/**
 * How many milliseconds a process lives after its only wait has timed out, by itself or by `process.exit`; undefined:
 * the wait keeps it until the lock is released.
 */
export async function exitAfterTimeout(
  holder: Mate,
  lock: string,
  path: string,
  how: 'return' | 'exit',
): Promise<number | undefined> {
  await holder.call('acquire', lock, path)
  const args = [...nodeArguments(SCRIPT), lock, path, String(GIVE_UP_AFTER_MS), how]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    const gaveUpAt = nowMs()
    if (line.toString() !== 'gave up\n') throw new Error(`${lock}: ${line} instead of giving up`)
    const ended = once(child, 'exit').then(nowMs)
    const endedAt = await Promise.race([ended, sleep(KEPT_MS, undefined)])
    await holder.call('releaseAfter', 0)
    return endedAt === undefined ? undefined : endedAt - gaveUpAt
  } finally {
    child.kill('SIGKILL')
  }
}
