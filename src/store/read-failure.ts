import { asError, CorruptStoreError, StoreIoError } from '../errors.ts'
import { storeFailure } from '../os/replace.ts'

/** What reading failed with, typed: the system's errors are about the file, all others about what is in it. */
export function readFailure(store: string, path: string, cause: unknown): Error {
  const failure = storeFailure(path, 'read', cause)
  if (failure === cause || (cause as { syscall?: unknown } | null | undefined)?.syscall !== undefined)
    return failure
  return new CorruptStoreError(
    `${path} is not a ${store} file: ${asError(cause).message}. It was left as it is; ` +
      'mend or remove it.',
    { path, cause },
  )
}

/** What one read(2) of Node.js gives at most. */
const MOST_AT_ONCE_BYTES = 2 ** 31 - 1

/** For what is always read as a whole. @throws StoreIoError where it is too large for that */
export function requireReadable(path: string, bytes: number, mostBytes: number = MOST_AT_ONCE_BYTES): void {
  if (bytes <= mostBytes) return
  throw new StoreIoError(
    `cannot read ${path}: it has ${Math.round(bytes / 2 ** 20)} MB, and at most ${Math.round(mostBytes / 2 ** 20)} MB are ` +
      'read. It was left as it is; it is damaged, or none of ours: put it aside.',
    { path },
  )
}
