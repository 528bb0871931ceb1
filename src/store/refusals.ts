import { ConflictError, StoreIoError, TransactionError } from '../errors.ts'

/** The words of what a store refuses around transactions, and of what it cannot promise. */

export function conflict(lockPath: string): ConflictError {
  return new ConflictError(
    `somebody else has written while an optimistic transaction ran (the store locked by ${lockPath}). Its changes were ` +
      'undone: run it again, give it more retries, or leave out `retry` to hold the lock while it runs.',
    { path: lockPath },
  )
}

export function writeInView(lockPath: string): TransactionError {
  return new TransactionError(
    `nothing can be written inside a view (or a read) of the store locked by ${lockPath}: use transaction()`,
    { path: lockPath },
  )
}

export function notInside(what: string, lockPath: string): TransactionError {
  return new TransactionError(
    `${what}() cannot be part of a transaction, a view or an update (of the store locked by ${lockPath}): call it outside`,
    { path: lockPath },
  )
}

export function blockingInside(path: string): TransactionError {
  return new TransactionError(
    `a call that blocks cannot write inside an asynchronous transaction or view of ${path}: in a transaction edit tx.data`,
    { path },
  )
}

export function removalInTransaction(path: string): TransactionError {
  return new TransactionError(
    `${path} cannot be removed inside a transaction, which could not be undone. Do it outside.`,
    { path },
  )
}

export function notSynced(path: string, cause: unknown): StoreIoError {
  return new StoreIoError(
    `fsync of ${path} failed: the operation is in the file, but whether it survives power loss is unknown. ` +
      'The file is rewritten before the next durable operation is acknowledged.',
    { path, cause },
  )
}
