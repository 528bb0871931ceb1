import { Address } from '../../src/postgres/server/url.ts'
import { Look } from '../../src/postgres/whole/look.ts'
import type { Status } from './status.ts'

/** How long a server that is away is waited for. */
const TIMEOUT_MS = 5000

/** The stores of which library each kind is. */
const LIBRARIES: Readonly<Record<string, string>> = { log: 'nedb', tree: 'lowdb' }

/** Looks at a name on a server: at the store that is called so, and at the PgLock. @throws TypeError for a wrong url */
export class ServerStatus implements AsyncDisposable {
  readonly #address: Address
  readonly #look: Look

  constructor(url: string) {
    this.#address = Address.of(url)
    this.#look = new Look(this.#address, TIMEOUT_MS)
  }

  /** @throws StoreUnavailableError, LockUnsupportedError */
  async now(): Promise<Status> {
    const { store, isLock, storeHolders, lockHolders } = await this.#look.now()
    const holders = [
      ...storeHolders.map((holder) => ({ of: 'store' as const, ...holder })),
      ...lockHolders.map((holder) => ({ of: 'lock' as const, ...holder })),
    ]
    return {
      lock: this.#address.shown,
      exists: store !== undefined || isLock,
      held: holders.some(({ state }) => state === 'holding'),
      store: store && (LIBRARIES[store] ?? store),
      holders,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#look[Symbol.asyncDispose]()
  }
}
