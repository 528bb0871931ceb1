import { show } from '../arguments.ts'
import type { PsLockError } from '../errors.ts'
import { localNetworkMount, warnOfLocalLocks } from '../os/file-system.ts'
import { LockFile } from '../os/lock-file.ts'
import { LockFolder } from '../os/lock-folder.ts'
import type { Lockable } from '../os/lockable.ts'
import { passedLock } from '../os/passed-lock.ts'
import type { PsLockOptions } from './options.ts'

/** What a lock is made of, checked. */
export type Backend = { readonly kind: 'flock' } | { readonly kind: 'lockfile'; readonly staleMs: number }

/** proper-lockfile's own default. */
const DEFAULT_STALE_MS = 10_000
/** It silently takes anything below as this. */
const SHORTEST_STALE_MS = 2_000

/** @throws TypeError that shows the wrong value */
export function backendOf({ backend = 'flock', staleMs }: PsLockOptions): Backend {
  if (backend === 'flock') {
    if (staleMs === undefined) return { kind: 'flock' }
    throw new TypeError(
      `staleMs is for { backend: 'lockfile' } only, got ${show(staleMs)}: a flock has no age`,
    )
  }
  if (backend !== 'lockfile')
    throw new TypeError(`backend must be 'flock' or 'lockfile', got ${show(backend)}`)
  if (staleMs === undefined) return { kind: 'lockfile', staleMs: DEFAULT_STALE_MS }
  if (Number.isFinite(staleMs) && staleMs >= SHORTEST_STALE_MS) return { kind: 'lockfile', staleMs }
  throw new TypeError(
    `staleMs must be a finite number of milliseconds from ${SHORTEST_STALE_MS} up, got ${show(staleMs)}`,
  )
}

/** @param onFailure is told when the lock is lost while it is held */
export function lockableOf(
  backend: Backend,
  path: string,
  guards: string | undefined,
  onFailure: (error: PsLockError) => void,
): Lockable {
  if (backend.kind === 'lockfile') return new LockFolder(path, backend.staleMs, onFailure)
  const mount = localNetworkMount(path)
  if (mount) warnOfLocalLocks(mount)
  return passedLock(path, guards) ?? new LockFile(path, guards)
}

export function isSameBackend(one: Backend, two: Backend): boolean {
  return describeBackend(one) === describeBackend(two)
}

/** "the flock backend", "the lockfile backend (staleMs 10000)" */
export function describeBackend(backend: Backend): string {
  const detail = backend.kind === 'lockfile' ? ` (staleMs ${backend.staleMs})` : ''
  return `the ${backend.kind} backend${detail}`
}
