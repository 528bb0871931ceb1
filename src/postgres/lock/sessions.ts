import { LockUnsupportedError, StoreUnavailableError } from '../../errors.ts'
import { Connection, type Query, type Row, unavailable } from '../server/connection.ts'
import type { Address } from '../server/url.ts'

/** So long an answer may take that waits for nothing. A hold must be told within 5 s that its server is gone. */
export const ANSWER_MS = 2500

/** After an answer is overdue, what has arrived meanwhile is read first: it was this process that was busy, perhaps. */
const LAST_LOOK_MS = 50

/** A connection that nobody has used for so long is closed. */
const IDLE_MS = 30_000

/** A connection, which is used by one hold, wait or question at a time. */
export class Session {
  readonly connection: Connection
  /** Told when the connection is lost. */
  onLost: ((error: StoreUnavailableError) => void) | undefined

  constructor(connection: Connection) {
    this.connection = connection
    connection.onLost((error) => this.onLost?.(error))
  }

  /**
   * @param withinMs after which the connection counts as lost; `Infinity` for what has its own end
   * @throws StoreUnavailableError; what the server says is thrown as it is
   */
  async ask(query: Query, withinMs: number = ANSWER_MS): Promise<Row[]> {
    let timer: NodeJS.Timeout | undefined
    const overdue = () => this.connection.destroy(new Error(`no answer within ${withinMs} ms`))
    const look = () => {
      timer = setTimeout(overdue, LAST_LOOK_MS).unref()
    }
    // Not what keeps the process alive: the connection does, while an answer is due.
    if (withinMs < 2 ** 31) timer = setTimeout(look, withinMs).unref()
    try {
      return await this.connection.query(query, withinMs)
    } finally {
      clearTimeout(timer)
    }
  }
}

/** The connections of this thread to one database that are not in use: one at most. */
class Pool {
  /** The locks that are not closed. */
  users = 0
  #idle: Session | undefined
  #timer: NodeJS.Timeout | undefined

  take(): Session | undefined {
    const session = this.#idle
    clearTimeout(this.#timer)
    this.#idle = undefined
    if (!session?.connection.isOpen) return undefined
    session.onLost = undefined
    return session
  }

  give(session: Session): void {
    if (!session.connection.isOpen) return
    if (this.#idle || this.users === 0) {
      void session.connection.end()
      return
    }
    this.#idle = session
    session.onLost = () => {
      if (this.#idle === session) this.#idle = undefined
    }
    this.#timer = setTimeout(() => this.empty(), IDLE_MS).unref()
  }

  /** Resolves when the connection is closed. */
  async empty(): Promise<void> {
    await this.take()?.connection.end()
  }
}

const pools = new Map<string, Pool>()

function poolOf({ secretUrl }: Address): Pool {
  const pool = pools.get(secretUrl) ?? new Pool()
  pools.set(secretUrl, pool)
  return pool
}

/** From now on an unused connection is kept for a while. */
export function useSessions(address: Address): void {
  poolOf(address).users++
}

/** The last who leaves closes it. */
export async function leaveSessions(address: Address): Promise<void> {
  const pool = poolOf(address)
  if (--pool.users > 0) return
  pools.delete(address.secretUrl)
  await pool.empty()
}

/**
 * A session of one's own, an unused one or a new one. While the server is away it is tried again.
 * @throws StoreUnavailableError, LockUnsupportedError, the reason of the signal
 */
export async function takeSession(
  address: Address,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Session> {
  const idle = poolOf(address).take()
  if (idle) return idle
  const opening = Connection.open(address, timeoutMs, signal).then((connection) => new Session(connection))
  // Whoever has given up meanwhile leaves it to others.
  return orAborted(opening, signal, () => opening.then((session) => giveSession(address, session)))
}

/** Gives it to the next one. */
export function giveSession(address: Address, session: Session): void {
  session.onLost = undefined
  poolOf(address).give(session)
}

/**
 * Runs with a session. What is lost before the answer, though the server may be there again, is asked once more.
 * @throws as `takeSession` and `Session#ask`
 */
export async function withSession<T>(
  address: Address,
  timeoutMs: number,
  run: (session: Session) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    const session = await takeSession(address, timeoutMs)
    try {
      return await run(session)
    } catch (error) {
      if (session.connection.isOpen || tries === 2) throw about(address, 'ask', error)
    } finally {
      giveSession(address, session)
    }
  }
}

/** An error of a connection that may have been made for another name. */
export function about(address: Address, what: string, error: unknown): unknown {
  if (error instanceof LockUnsupportedError) return error
  const isOurs = error instanceof StoreUnavailableError
  return isOurs && error.path === address.shown
    ? error
    : unavailable(address, what, isOurs ? error.cause : error)
}

/** Rejects with the reason of the signal as soon as it aborts, and calls `left` then. */
export function orAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  left: () => Promise<unknown>,
): Promise<T> {
  if (!signal) return promise
  return new Promise<T>((resolve, reject) => {
    const abort = () => {
      left().catch(() => {})
      reject(signal.reason)
    }
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
