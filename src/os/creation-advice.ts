import { dirname } from 'node:path'
import { errnoOf } from '../errors.ts'

/** What to do where a lock file or folder cannot be created. */
export function creationAdvice(path: string, cause: unknown): string {
  const code = errnoOf(cause)
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return `the folder ${dirname(path)} does not exist. Create it first.`
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM')
    return `no permission to open or create it here (${code}). Place it in a writable folder with the lockPath option.`
  return `${code ?? String(cause)}.`
}
