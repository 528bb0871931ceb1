import type { PgLockHolder } from '../../errors.ts'
import { holdersOf, storeHolders } from '../lock/pg-holders.ts'
import { Session } from '../lock/sessions.ts'
import { Connection, failure } from '../server/connection.ts'
import type { Address } from '../server/url.ts'

/** What has a name on a server, and who is there. */
export interface Looked {
  /** Of which kind the store of this name is; undefined where there is none. */
  readonly store: string | undefined
  /** Whether there was ever a lock of this name. */
  readonly isLock: boolean
  readonly storeHolders: readonly PgLockHolder[]
  readonly lockHolders: readonly PgLockHolder[]
}

const NOTHING: Looked = { store: undefined, isLock: false, storeHolders: [], lockHolders: [] }

/** Looks at a name again and again, by one connection. Makes nothing there. */
export class Look implements AsyncDisposable {
  readonly #address: Address
  readonly #timeoutMs: number
  #connection: Connection | undefined

  constructor(address: Address, timeoutMs: number) {
    this.#address = address
    this.#timeoutMs = timeoutMs
  }

  /** @throws StoreUnavailableError, LockUnsupportedError */
  async now(): Promise<Looked> {
    const connection = await this.#connected()
    if (!connection.hasTables) return NOTHING
    const { name } = this.#address
    try {
      const text = `select (select kind from pslock.store where name = $1),
        exists (select from pslock.lock where name = $1)::text`
      const [row] = await connection.query({ text, values: [name] })
      return {
        store: row?.[0] ?? undefined,
        isLock: row?.[1] === 'true',
        storeHolders: await storeHolders(this.#address, connection),
        lockHolders: await holdersOf(this.#address, new Session(connection)),
      }
    } catch (error) {
      throw failure(this.#address, 'look at', error)
    }
  }

  async #connected(): Promise<Connection> {
    const known = this.#connection
    if (known?.isOpen && known.hasTables) return known
    await known?.end()
    this.#connection = await Connection.visit(this.#address, this.#timeoutMs)
    return this.#connection
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection?.end()
  }
}
