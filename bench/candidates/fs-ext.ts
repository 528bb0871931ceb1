import { openSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Release } from './candidate.ts'

interface FsExt {
  flockSync(fd: number, operation: 'ex' | 'un'): void
}

const { flockSync } = createRequire(import.meta.url)('fs-ext') as FsExt
const fds = new Map<string, number>()

/** The bare system call on a descriptor that stays open. It blocks the thread while it waits. */
export function acquireSync(path: string): Release {
  const fd = fds.get(path) ?? openSync(`${path}.lock`, 'a')
  fds.set(path, fd)
  flockSync(fd, 'ex')
  return () => flockSync(fd, 'un')
}

export const isBlocking = true

export async function acquire(path: string): Promise<Release> {
  return acquireSync(path)
}
