import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, type LockHolder, type LockMode, orUndefined, type PsLockError } from '../errors.ts'

/** What stands for a lock between processes: `LockFile` (flock), or `LockFolder` (proper-lockfile) where there is no flock. */
export interface KernelLock {
  readonly path: string
  /** The open descriptor that carries the lock; undefined where it is not open, or where none carries it. */
  readonly fd: number | undefined
  /**
   * Whether it is asked of an ancestor that holds it for this process too: nobody else can have it meanwhile, so there is
   * no line to stand in.
   */
  readonly isPassedOn?: boolean
  /** Whether the path still names what is open, and locked, here; undefined where that cannot be looked up. */
  readonly isCurrent: boolean | undefined
  /** Asks once, without waiting: true when it is ours now, false when it is busy. */
  tryLock(mode: LockMode, thorough?: boolean): boolean
  /** Gives it back, if it is ours. */
  unlock(): void
  /**
   * The descriptors that carry the lock, to be copied into other processes, all of them: the one that is locked, and
   * those by which ancestors know that it is still in use. From now on `unlock` only closes them: the lock lasts as long as
   * any copy. Empty where no descriptor carries it.
   */
  passOn?(): readonly number[]
  /** As `unlock`, and closes what is open. */
  close(): void
  /** Who else holds it, as far as can be seen from here. */
  holders(): LockHolder[]
  /** How often a waiter asks that nobody can wake, in milliseconds, where asking costs more than a system call. */
  readonly slowPaceMs?: number | undefined
  /** Why the lock that was granted last is not, or not safely, ours any more. The kernel never takes a flock away. */
  readonly failure?: PsLockError | undefined
  /** Looks whether the lock is still ours, and reports it where it is not. */
  verify?(): void
}

/** What to do where a lock file or folder cannot be opened or created. */
export function creationAdvice(path: string, cause: unknown): string {
  const code = errnoOf(cause)
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return `the folder ${dirname(path)} does not exist. Create it first.`
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM') return `${permissionAdvice(path, code)}.`
  return `${code ?? String(cause)}.`
}

function permissionAdvice(path: string, code: string): string {
  const found = orUndefined(() => statSync(path, { throwIfNoEntry: false }))
  if (!found || code === 'EROFS')
    return `no permission to open or create it here (${code}). Place it in a writable folder with the lockPath option`
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0')
  return (
    `no permission to open it (${code}): it belongs to user ${found.uid}, group ${found.gid}, with mode ${mode}, and this ` +
    `process is user ${process.geteuid?.() ?? 'unknown'}. Nothing is in it that anybody needs: let its owner (or root) give ` +
    `it to you with chown, allow reading with "chmod a+r ${path}", remove it while nobody holds the lock, or place the lock elsewhere, for all, with the lockPath option`
  )
}
