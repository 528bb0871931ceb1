import { closeSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { tryFlock } from '../../src/os/flock.ts'
import { abandonable, type Release } from './candidate.ts'

interface FsNativeExtensions {
  /** Waits in a thread of its own for an OFD lock (fcntl F_OFD_SETLKW) of these bytes. */
  waitForLock(fd: number, offset: number, length: number): Promise<void>
}

const { waitForLock } = createRequire(import.meta.url)('fs-native-extensions') as FsNativeExtensions

/** For how long to pause when somebody who knows nothing of the turnstile has the flock. */
const FOREIGN_HOLDER_MS = 5

async function wait(path: string): Promise<Release> {
  const lockFile = `${path}.lock`
  const turn = openSync(`${path}.turn`, 'a')
  await waitForLock(turn, 0, 1)
  const fd = openSync(lockFile, 'a')
  while (!tryFlock(fd, 'exclusive', lockFile)) await sleep(FOREIGN_HOLDER_MS)
  return () => {
    closeSync(fd)
    closeSync(turn)
  }
}

/** One byte of a second file is waited for in the kernel, first come first served; who has it takes the flock. */
export function acquire(path: string, signal?: AbortSignal): Promise<Release> {
  return abandonable(wait(path), signal)
}
