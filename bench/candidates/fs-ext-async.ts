import { closeSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { abandonable, type Release } from './candidate.ts'

interface FsExt {
  flock(fd: number, operation: 'ex', done: (error: Error | null) => void): void
}

const { flock } = createRequire(import.meta.url)('fs-ext') as FsExt

function wait(path: string): Promise<Release> {
  const fd = openSync(`${path}.lock`, 'a')
  return new Promise((resolve, reject) => {
    flock(fd, 'ex', (error) => {
      if (!error) return resolve(() => closeSync(fd))
      closeSync(fd)
      reject(error)
    })
  })
}

/** A blocking flock(2) in a thread of libuv's pool. */
export function acquire(path: string, signal?: AbortSignal): Promise<Release> {
  return abandonable(wait(path), signal)
}
