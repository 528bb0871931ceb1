import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf } from '../errors.ts'

/** What to do where a lock file or folder cannot be opened or created. */
export function creationAdvice(path: string, cause: unknown): string {
  const code = errnoOf(cause)
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return `the folder ${dirname(path)} does not exist. Create it first.`
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM') return `${permissionAdvice(path, code)}.`
  return `${code ?? String(cause)}.`
}

function permissionAdvice(path: string, code: string): string {
  const found = lookAt(path)
  if (!found || code === 'EROFS')
    return `no permission to open or create it here (${code}). Place it in a writable folder with the lockPath option`
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0')
  return (
    `no permission to open it (${code}): it belongs to user ${found.uid}, group ${found.gid}, with mode ${mode}, and this ` +
    `process is user ${process.geteuid?.() ?? 'unknown'}. Nothing is in it that anybody needs: let its owner (or root) give ` +
    `it to you with chown, allow reading with "chmod a+r ${path}", remove it while nobody holds the lock, or place the lock elsewhere, for all, with the lockPath option`
  )
}

function lookAt(path: string): { uid: number; gid: number; mode: number } | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}
