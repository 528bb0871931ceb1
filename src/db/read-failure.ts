import { asError, CorruptStoreError } from '../errors.ts'
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
