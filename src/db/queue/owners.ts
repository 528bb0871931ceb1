import { TransactionError } from '../../errors.ts'
import type { Hold } from '../../lock/hold.ts'

/** Which store object changes the file in a hold, at this moment or before. */
const owners = new WeakMap<Hold, object>()

export function ownedBy(hold: Hold, owner: object): void {
  owners.set(hold, owner)
}

/**
 * For a write inside `inner`: the operation of another store object around it, which ends after the write, could not see
 * what that wrote.
 * @throws TransactionError
 */
export function requireOwn(inner: Hold, owner: object, path: string): void {
  for (let hold: Hold | undefined = inner; hold; hold = hold.outer) {
    if ((owners.get(hold) ?? owner) === owner) continue
    throw new TransactionError(
      `another store object of this process is in the middle of the operation that this write (under ${path}) was issued ` +
        'in: use one store object for a file there',
      { path },
    )
  }
}
