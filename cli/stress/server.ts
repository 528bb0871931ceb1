import { randomBytes } from 'node:crypto'
import { Address } from '../../src/postgres/server/url.ts'
import { removeStore } from '../../src/postgres/whole/whole-store.ts'

/** How long a server that is away, or the lock of a killed worker, is waited for. */
const TIMEOUT_MS = 30_000

/** A store of its own for a run, in a database that others may use. @throws TypeError for a wrong url, or one with a name */
export function ownStore(url: string): string {
  if (url.includes('#')) {
    throw new TypeError('--url is that of a database: leave #... out, for the store gets a name of its own')
  }
  const name = `pslock-stress-${randomBytes(6).toString('hex')}`
  // Says what is wrong with it.
  Address.of(url, name)
  return `${url}#${name}`
}

/** Without user and password. */
export function shownUrl(url: string): string {
  return Address.of(url).shown
}

export function removeOwnStore(url: string): Promise<void> {
  return removeStore(Address.of(url), TIMEOUT_MS)
}
