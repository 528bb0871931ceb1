import { TransactionError } from '../errors.ts'
import type { Hold } from '../lock/hold.ts'

/**
 * For a write inside `inner`: the operation of another store object around it, which ends after the write, could not see
 * what that wrote.
 * @throws TransactionError
 */
export function requireOwn(inner: Hold, owner: object, path: string): void {
  for (let hold: Hold | undefined = inner; hold; hold = hold.outer) {
    if ((hold.owner ?? owner) === owner) continue
    throw new TransactionError(
      `another store object of this process is in the middle of the operation that this write (under ${path}) was issued ` +
        'in: use one store object for a file there',
      { path },
    )
  }
}
