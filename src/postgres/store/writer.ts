import { asError, StoreUnavailableError } from '../../errors.ts'
import { crypto } from '../../os/modules.ts'
import { pause } from '../../os/steps.ts'
import { Connection, failure, unavailable } from '../server/connection.ts'
import { isOfClient, terminate } from '../server/schema.ts'
import type { Address } from '../server/url.ts'

/** So long a commit that nobody has taken the lock for waits for whoever holds it, in milliseconds. */
const BRIEF_MS = 50

/** How often it is asked whether the server has ended what it did for a connection that is lost, and for how long at least. */
const ENDED_MS = { every: 10, least: 3000 }

/** A commit that was sent: its number, and how many connections were lost before. */
export interface Change {
  readonly number: number
  readonly generation: number
}

/** A number that nobody else has. Of a sequence it could come again, which goes back in a crash, and when a standby takes over. */
export function newClient(): string {
  return String(BigInt(`0x${crypto().randomBytes(8).toString('hex')}`) >> 4n)
}

/**
 * The connection by which a store is changed, and what became of changes that it was lost with: each commit of this client carries a
 * number, one higher than the one before, and leaves it in `pslock.client`. It has an advisory lock on the client's number from before
 * the first commit until the server has ended all that it did for it: so whoever has got that next knows what is in.
 */
export class Writer {
  readonly #address: Address
  readonly #settings: string
  readonly #opened: (connection: Connection) => void
  /** Who this process is among the store's clients. */
  readonly client: string = newClient()
  #connection: Connection | undefined
  #connecting: Promise<Connection> | undefined
  #number = 0
  /** The last number that was in when the connection was made anew, for each connection that was lost. */
  readonly #marks: number[] = []

  /**
   * @param isDurable its commits are on the disk when the server answers, unless they say otherwise
   * @param opened told of each connection
   */
  constructor(address: Address, isDurable: boolean, opened: (connection: Connection) => void) {
    this.#address = address
    this.#opened = opened
    this.#settings = `set lock_timeout = ${BRIEF_MS}; set synchronous_commit = ${isDurable ? 'on' : 'off'}`
  }

  /** How many connections were made before the present one. A change remembers it. */
  get generation(): number {
    return this.#marks.length
  }

  nextNumber(): number {
    return ++this.#number
  }

  /**
   * The open connection; made anew where it is lost.
   * @throws StoreUnavailableError, LockUnsupportedError, the reason of the signal
   */
  async open(timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    if (this.#connection?.isOpen) return this.#connection
    // Whoever comes meanwhile waits for the same one. The signal is that of one of them.
    this.#connecting ??= this.#connect(timeoutMs, signal).finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  /** The connection, where it is open. */
  get openNow(): Connection | undefined {
    return this.#connection?.isOpen ? this.#connection : undefined
  }

  /**
   * Whether a change is in the store that was sent on a connection which was lost before the server answered.
   * @throws StoreUnavailableError where that cannot be found out
   */
  async isIn(change: Change, timeoutMs: number): Promise<boolean> {
    try {
      if (change.generation === this.generation) await this.open(timeoutMs)
    } catch (error) {
      throw new StoreUnavailableError(
        `${asError(error).message} The change was sent before that: whether it is in the store is unknown.`,
        { path: this.#address.shown, cause: error, isOutcomeUnknown: true },
      )
    }
    // A crash may have taken back what was there after an earlier loss.
    const marks = this.#marks.slice(change.generation)
    return marks.length > 0 && marks.every((mark) => mark >= change.number)
  }

  async end(): Promise<void> {
    const connection = this.#connection
    if (connection?.isOpen) {
      await connection
        .query({ text: 'delete from pslock.client where id = $1', values: [this.client] })
        .catch(() => {})
    }
    await connection?.end()
  }

  async #connect(timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    const before = this.#connection
    const until = performance.now() + timeoutMs
    for (;;) {
      const connection = await Connection.open(this.#address, until - performance.now(), signal)
      try {
        await this.#enter(connection, Math.max(until, performance.now() + ENDED_MS.least), signal)
        if (before) this.#marks.push(await this.#mark(connection))
        this.#connection = connection
        this.#opened(connection)
        return connection
      } catch (error) {
        connection.destroy()
        if (!(error instanceof StoreUnavailableError) || performance.now() > until)
          throw failure(this.#address, 'open', error)
      }
    }
  }

  /** Ends once the server does nothing more for the connection that was lost. */
  async #enter(connection: Connection, until: number, signal?: AbortSignal): Promise<void> {
    const lock = `select pg_try_advisory_lock(${this.client})::text`
    let text = `${this.#settings}; ${lock}`
    while ((await connection.query({ text }))[0]?.[0] !== 'true') {
      signal?.throwIfAborted()
      if (performance.now() > until)
        throw unavailable(this.#address, 'reach', new Error('the server still works for a lost connection'))
      // Where that is not allowed, it ends by itself.
      await connection.query({ text: terminate(isOfClient(this.client)) }).catch(() => {})
      await pause(ENDED_MS.every, signal)
      text = lock
    }
  }

  /** The last number that is in. */
  async #mark(connection: Connection): Promise<number> {
    const text = 'select number from pslock.client where id = $1'
    const [row] = await connection.query({ text, values: [this.client] })
    return Number(row?.[0] ?? 0)
  }
}
