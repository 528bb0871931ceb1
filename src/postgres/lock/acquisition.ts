import { errnoOf, type LockMode, type PgLockHolder } from '../../errors.ts'
import { channels, type EventKind, publish } from '../../lock/hold.ts'
import type { LocalQueue } from '../../lock/local-queue.ts'
import type { Row } from '../server/connection.ts'
import { NAMED_LOCKS, terminate } from '../server/schema.ts'
import type { Address } from '../server/url.ts'
import { type LocalLock, leaveLocalLock, localLockOf, localLocks } from './local-lock.ts'
import { type Grant, PgHold, requireNoUpgrade } from './pg-hold.ts'
import { GRANT_MARK, holdersOf, timeoutError } from './pg-holders.ts'
import {
  ANSWER_MS,
  about,
  giveSession,
  orAborted,
  type Session,
  takeSession,
  withSession,
} from './sessions.ts'

/** So long it is tried to reach the server for what comes after a wait. */
const CONNECT_MS = 3000

/** What PostgreSQL takes for a wait in milliseconds, where 0 is no limit. */
const LONGEST_WAIT_MS = 2 ** 31 - 1

const LOCK_NOT_AVAILABLE = '55P03'

/**
 * The fencing token: the timeline of the server, which rises when a standby takes over, and a number of a sequence, which may go
 * back then. Nor may it go back in a crash: so its commit waits until all that is written is on the disk, unless it is.
 */
const TOKEN = [
  "nextval('pslock.token')::text",
  'pg_walfile_name(pg_current_wal_lsn())',
  "set_config('synchronous_commit', 'on', true)",
  "case when pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() then pg_logical_emit_message(true, 'pslock', '') end",
]

const TRY = (shared: string): string => `/* ${GRANT_MARK} */
  with asked as materialized (
    select id, pg_try_advisory_lock${shared}(${NAMED_LOCKS}, id) as got from pslock.lock where name = $1
  )
  select id::text, got::text, ${TOKEN.map((part) => `case when got then ${part} end`).join(', ')} from asked`

const WAIT = (shared: string): string => `select pg_advisory_lock${shared}(${NAMED_LOCKS}, $1::int)::text`

const NEW_NAME = 'insert into pslock.lock (name) values ($1) on conflict do nothing'

const LIMIT = "select set_config('lock_timeout', $1, false)"

export interface PgWait {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  readonly acquiredAt?: Error | undefined
}

/** One wait for a lock, from the call to the hold. */
class Acquisition {
  readonly #address: Address
  readonly #mode: LockMode
  readonly #wait: PgWait
  readonly #isNested: boolean
  readonly #start = performance.now()
  #waits = false

  constructor(address: Address, mode: LockMode, wait: PgWait, isNested: boolean) {
    this.#address = address
    this.#mode = mode
    this.#wait = wait
    this.#isNested = isNested
  }

  /** How long it has waited so far; 0 where the lock was free. */
  get waitedMs(): number {
    return this.#waits ? performance.now() - this.#start : 0
  }

  get #leftMs(): number {
    return this.#wait.timeoutMs - (performance.now() - this.#start)
  }

  /** Queues among the tasks of this thread. @throws as `granted` */
  async enter(queue: LocalQueue): Promise<void> {
    const mode = this.#mode
    if (queue.tryEnter(mode, 0)) return
    this.#beginToWait()
    const { timeoutMs, signal } = this.#wait
    const timeUp = new Error('time is up')
    try {
      await queue.enter(mode, { timeoutMs, sliceMs: 0, signal, onTimeout: () => timeUp })
    } catch (error) {
      throw error === timeUp ? await this.timeUp() : this.#failure(error)
    }
  }

  /**
   * Asks the server. What is lost on the way is asked for again, since a lost connection has no lock.
   * @returns undefined where the time is up
   * @throws StoreUnavailableError, LockUnsupportedError, the reason of the signal
   */
  async granted(): Promise<Grant | undefined> {
    for (let tries = 1; ; tries++) {
      const session = await this.#takeSession()
      let grant: Grant | undefined
      try {
        grant = await orAborted(this.#ask(session), this.#wait.signal, () => abandon(this.#address, session))
        return grant
      } catch (error) {
        const isLost = !session.connection.isOpen && !this.#wait.signal?.aborted
        // The first may have been an unused one whose server has gone since.
        if (!isLost || (this.#leftMs <= 0 && tries > 1)) throw this.#failure(error)
      } finally {
        if (!grant) giveSession(this.#address, session)
      }
    }
  }

  async #takeSession(): Promise<Session> {
    try {
      return await takeSession(this.#address, Math.max(this.#leftMs, 0), this.#wait.signal)
    } catch (error) {
      throw this.#failure(error)
    }
  }

  /** @returns undefined where the time is up */
  async #ask(session: Session): Promise<Grant | undefined> {
    const shared = this.#mode === 'shared' ? '_shared' : ''
    const ask = { text: TRY(shared), values: [this.#address.name], name: `pslock-try${shared}` }
    let [row] = await session.ask(ask)
    if (!row) {
      await session.ask({ text: NEW_NAME, values: [this.#address.name] })
      ;[row] = await session.ask(ask)
    }
    const [id, got, ...token] = row as Row
    if (typeof id !== 'string') throw new Error('the name of the lock is gone')
    if (got === 'true') return { session, id, token: tokenOf(token) }
    const leftMs = this.#leftMs
    if (leftMs <= 0) return undefined
    this.#beginToWait()
    const limitMs = leftMs < LONGEST_WAIT_MS ? Math.ceil(leftMs) : 0
    const limit = session.ask({ text: LIMIT, values: [String(limitMs)], name: 'pslock-limit' })
    const answerMs = limitMs === 0 ? Number.POSITIVE_INFINITY : limitMs + ANSWER_MS
    // One after the other on the server, and sent at once: the number is taken as soon as the lock is granted.
    const lock = session.ask({ text: WAIT(shared), values: [id], name: `pslock-wait${shared}` }, answerMs)
    const number = session.ask(
      { text: `/* ${GRANT_MARK} */ select ${TOKEN.join(', ')}`, name: 'pslock-token' },
      answerMs,
    )
    const [, locked, numbered] = await Promise.allSettled([limit, lock, number])
    if (locked.status === 'rejected') {
      // One that was granted in that very moment is kept by the session, though the server says it was not: nothing of it stays.
      await session.ask({ text: 'select pg_advisory_unlock_all()', name: 'pslock-unlock-all' })
      if (errnoOf(locked.reason) === LOCK_NOT_AVAILABLE) return undefined
      throw locked.reason
    }
    if (numbered.status === 'fulfilled') return { session, id, token: tokenOf(numbered.value[0] as Row) }
    // Without a number it is not handed out.
    session.connection.destroy()
    throw numbered.reason
  }

  #beginToWait(): void {
    if (this.#waits) return
    this.#waits = true
    this.#tell('wait')
  }

  /** What to throw then. */
  async timeUp(): Promise<Error> {
    const waitedMs = this.#wait.timeoutMs === 0 ? 0 : performance.now() - this.#start
    this.#tell('timeout', waitedMs)
    // Many may run out of time together, and each connection is dear.
    const local: Pick<LocalLock, 'looking'> = localLocks.get(this.#address.key) ?? {}
    local.looking ??= holders(this.#address).finally(() => {
      local.looking = undefined
    })
    return timeoutError(this.#address, this.#mode, waitedMs, local.looking)
  }

  #failure(error: unknown): unknown {
    const { signal } = this.#wait
    if (signal?.aborted && error === signal.reason) {
      this.#tell('abort', this.waitedMs)
      return error
    }
    return about(this.#address, 'lock', error)
  }

  #tell(kind: EventKind, waitedMs?: number): void {
    if (!channels[kind].hasSubscribers) return
    const event = { path: this.#address.shown, mode: this.#mode, nested: this.#isNested }
    publish(kind, waitedMs === undefined ? event : { ...event, waitedMs })
  }
}

function tokenOf([number, walFile]: Row): bigint {
  return (BigInt(`0x${walFile?.slice(0, 8)}`) << 40n) | BigInt(number as string)
}

/**
 * Gives up a connection whose backend waits for the lock. A backend that waits does not read, so it would notice only after
 * seconds that we are gone: it is told by another connection.
 */
async function abandon(address: Address, { connection }: Session): Promise<void> {
  connection.destroy()
  const text = terminate(`classid = ${NAMED_LOCKS} and pid = ${connection.pid}`)
  await withSession(address, CONNECT_MS, (session) => session.ask({ text }))
}

/** Everybody who holds the lock or waits for it. @throws StoreUnavailableError, LockUnsupportedError */
export function holders(address: Address, timeoutMs: number = CONNECT_MS): Promise<PgLockHolder[]> {
  const look = (session: Session) => holdersOf(address, session)
  return withSession(address, timeoutMs, look)
}

/** Waits for the lock. @throws LockTimeoutError, StoreUnavailableError, LockUnsupportedError, the reason of the signal */
export async function takeLock(address: Address, mode: LockMode, wait: PgWait): Promise<PgHold> {
  const acquisition = new Acquisition(address, mode, wait, false)
  const local = localLockOf(address)
  await acquisition.enter(local.queue)
  const grant = await grantedTo(acquisition, address, local)
  if (!grant) throw await acquisition.timeUp()
  return new PgHold(address, mode, grant, acquisition.waitedMs, wait.acquiredAt)
}

/** Leaves the local queue where nothing is granted. */
async function grantedTo(
  acquisition: Acquisition,
  address: Address,
  local: LocalLock,
): Promise<Grant | undefined> {
  let grant: Grant | undefined
  try {
    grant = await acquisition.granted()
    return grant
  } finally {
    if (!grant) leaveLocalLock(address, local)
  }
}

/** Waits inside a hold, for the others that are inside. @throws LockUpgradeError, LockTimeoutError, the reason of the signal */
export async function takeNested(outer: PgHold, mode: LockMode, wait: PgWait): Promise<PgHold> {
  requireNoUpgrade(outer, mode)
  const acquisition = new Acquisition(outer.address, mode, wait, true)
  await acquisition.enter(outer.queue)
  return new PgHold(outer.address, mode, outer, acquisition.waitedMs)
}

/** Takes the lock if it is free now. @throws StoreUnavailableError, LockUnsupportedError */
export async function tryLock(address: Address, mode: LockMode): Promise<PgHold | undefined> {
  const local = localLockOf(address)
  if (!local.queue.force(mode)) return undefined
  const acquisition = new Acquisition(address, mode, { timeoutMs: 0, signal: undefined }, false)
  const grant = await grantedTo(acquisition, address, local)
  return grant && new PgHold(address, mode, grant, 0)
}
