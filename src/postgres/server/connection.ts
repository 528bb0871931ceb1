import { asError, errnoOf, LockUnsupportedError, StoreIoError, StoreUnavailableError } from '../../errors.ts'
import { requireLate } from '../../os/modules.ts'
import { pause } from '../../os/steps.ts'
import { SCHEMA } from './schema.ts'
import { type Address, applicationName } from './url.ts'

/** So long one attempt to connect may take: the more where there is time, and the less also for whoever does not wait. */
const CONNECT_MS = { most: 10_000, least: 3000 }

/** Pauses between attempts to connect, with some randomness: a server that restarts is away for a second. */
const RETRY_MS = { from: 20, factor: 2, to: 500 }

/** A query whose answer is not there so long after it was due: the network is cut, or the server hangs. */
const ANSWER_MS = 15_000

/**
 * What every connection sets for itself, by SET and not at its start, which a connection pooler refuses.
 *
 * Each statement sees what was committed before it (READ COMMITTED): what is read after a lock was granted is newer than the
 * grant. An idle transaction that holds a lock is no mistake here. The server learns within 11 s that the network to us is gone
 * (the defaults of Linux: two hours), and also while it waits for a lock. The plans are made once and must not depend on
 * how small a table was then. That check of the connection is not on every platform, and the timeout of transactions came with
 * version 17.
 */
const SETTINGS = `
  set default_transaction_isolation = 'read committed';
  set default_transaction_read_only = off;
  set idle_in_transaction_session_timeout = 0;
  set idle_session_timeout = 0;
  set statement_timeout = 0;
  set lock_timeout = 0;
  set tcp_keepalives_idle = 5;
  set tcp_keepalives_interval = 2;
  set tcp_keepalives_count = 3;
  set tcp_user_timeout = 11000;
  do $$ begin set client_connection_check_interval = 5000; exception when others then null; end $$;
  do $$ begin set transaction_timeout = 0; exception when others then null; end $$;
  set client_min_messages = warning;
  set search_path = pg_catalog;
  set plan_cache_mode = force_generic_plan;
  set enable_seqscan = off;
  set jit = off;
  set max_parallel_workers_per_gather = 0;
  set synchronous_commit = off;`

/** A row, its columns in the order of the query. */
export type Row = readonly (string | null)[]

export interface Query {
  readonly text: string
  readonly values?: readonly unknown[]
  /** Under this name it is prepared once for each connection. */
  readonly name?: string
}

/** What is used of `pg`. */
interface Pg {
  readonly Client: new (config: object) => Client
}

interface Client {
  /** The process of the server, as it says when the connection is made. */
  readonly processID: number
  binary: boolean
  readonly connectionParameters: { query_timeout: unknown }
  readonly connection: {
    readonly stream: {
      readonly bytesRead: number
      destroy(error?: Error): void
      cork(): void
      uncork(): void
    }
  }
  connect(): Promise<unknown>
  query(query: string | object): Promise<Result | Result[]>
  end(): Promise<void>
  on(event: 'error' | 'end', listener: (error: Error) => void): void
  ref(): void
  unref(): void
}

interface Result {
  readonly rows: Row[]
}

/** What a connection knows of its server. */
type Facts = Pick<Connection, 'pid' | 'serverStart' | 'hasTables' | 'version'>

/** Every value as the text that the server sends. */
const TEXTS = { getTypeParser: () => (value: string) => value }

/**
 * One connection to a server. Queries may be issued without waiting for those before: they are sent at once, and answered in
 * order. It keeps the process alive only while an answer is due.
 */
export class Connection {
  readonly address: Address
  /** The process of the server that serves this connection. */
  readonly pid: number
  /** When the server has started. */
  readonly serverStart: string
  /** Whether pslock has its tables in the database. */
  hasTables: boolean
  /** The number of its version, such as 150004. */
  readonly version: number
  readonly #client: Client
  #pending = 0
  #watch: NodeJS.Timeout | undefined
  /** When the last of the answers that are under way must be there. */
  #dueAt = 0
  #loss: StoreUnavailableError | undefined
  readonly #onLost = new Set<(error: StoreUnavailableError) => void>()

  private constructor(address: Address, client: Client, facts: Facts) {
    this.address = address
    this.#client = client
    this.pid = facts.pid
    this.serverStart = facts.serverStart
    this.hasTables = facts.hasTables
    this.version = facts.version
    client.on('error', (error) => this.#lost(error))
    client.on('end', () => this.#lost(new Error('Connection terminated')))
    client.unref()
  }

  /**
   * Connects, and makes the tables of pslock where they are missing. While the server is away it tries again.
   * @param timeoutMs for how long
   * @throws StoreUnavailableError; LockUnsupportedError for a server or a pooler that cannot be used; the reason of the signal
   */
  static open(address: Address, timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    return Connection.#opened(address, timeoutMs, true, signal)
  }

  /** As `open`, for whoever only looks: it makes no tables, see `hasTables`. */
  static visit(address: Address, timeoutMs: number): Promise<Connection> {
    return Connection.#opened(address, timeoutMs, false)
  }

  static async #opened(
    address: Address,
    timeoutMs: number,
    makesTables: boolean,
    signal?: AbortSignal,
  ): Promise<Connection> {
    const until = performance.now() + timeoutMs
    for (let pauseMs = RETRY_MS.from; ; pauseMs = Math.min(pauseMs * RETRY_MS.factor, RETRY_MS.to)) {
      signal?.throwIfAborted()
      const leftMs = until - performance.now()
      try {
        return await connected(address, Math.max(CONNECT_MS.least, leftMs), makesTables, signal)
      } catch (error) {
        signal?.throwIfAborted()
        const waitMs = pauseMs * (0.5 + Math.random())
        if (error instanceof LockUnsupportedError) throw error
        if (
          !isPassing(error instanceof StoreUnavailableError ? error.cause : error) ||
          performance.now() + waitMs > until
        )
          throw unavailable(address, 'reach', error)
        await pause(waitMs, signal)
      }
    }
  }

  /** For the one that has just been made: see `open`. */
  static async begin(address: Address, client: Client): Promise<Connection> {
    const name = applicationName().replaceAll("'", "''")
    await client.query(`${SETTINGS} set application_name = '${name}'`)
    const { rows } = (await client.query({
      text: `select pg_backend_pid()::text, current_setting('server_version_num'), current_setting('server_encoding'),
               pg_is_in_recovery()::text, to_regclass('pslock.version')::text,
               extract(epoch from pg_postmaster_start_time())::text`,
      rowMode: 'array',
    })) as Result
    const [pid, version, encoding, isStandby, tables, serverStart] = rows[0] as Row
    const isDirect = client.processID === Number(pid)
    requireUsable(address, { isDirect, version: Number(version), encoding: String(encoding) })
    // After a failover this may be the one that was the primary: it comes back as such, or the name leads elsewhere soon.
    if (isStandby === 'true')
      throw Object.assign(new Error('the server is a standby, which cannot be written to'), { code: '57P03' })
    return new Connection(address, client, {
      pid: Number(pid),
      serverStart: String(serverStart),
      hasTables: tables !== null,
      version: Number(version),
    })
  }

  /** @param waitMs for others that make them, or something of that name, and have not committed it */
  async makeTables(waitMs: number): Promise<void> {
    const mostMs = waitMs < 2 ** 31 ? Math.ceil(waitMs) : 0
    await this.query({ text: `set local statement_timeout = ${mostMs}; ${SCHEMA}` }, waitMs)
    this.hasTables = true
  }

  get isOpen(): boolean {
    return this.#loss === undefined
  }

  /** Called once, when the connection is lost, however that comes about but by `end`. */
  onLost(listener: (error: StoreUnavailableError) => void): void {
    if (this.#loss) listener(this.#loss)
    else this.#onLost.add(listener)
  }

  /**
   * @param waitMs how long the server may wait for a lock in it
   * @throws StoreUnavailableError where the connection is lost; what the server says is thrown as `pg` gives it
   */
  async query({ text, values, name }: Query, waitMs = 0): Promise<Row[]> {
    if (this.#loss) throw this.#loss
    if (this.#pending++ === 0) {
      this.#client.ref()
      this.#dueAt = 0
    }
    // The longest of those that are under way: they are answered in order.
    this.#dueAt = Math.max(this.#dueAt, performance.now() + ANSWER_MS + waitMs)
    this.#watch ??= this.#lookIn(ANSWER_MS)
    try {
      const result = await this.#client.query({ text, name, values, rowMode: 'array', types: TEXTS })
      return Array.isArray(result) ? (result.at(-1) as Result).rows : result.rows
    } catch (error) {
      if (isLoss(error)) this.#lost(error as Error)
      throw this.#loss ?? error
    } finally {
      if (--this.#pending === 0 && !this.#loss) this.#client.unref()
    }
  }

  /** What is issued in it is sent in one piece: each by itself is a system call here and a wake-up there (100 us together). */
  inOneGo<T>(issue: () => T): T {
    const { stream } = this.#client.connection
    stream.cork()
    try {
      return issue()
    } finally {
      stream.uncork()
    }
  }

  /** Says goodbye; what is under way ends before. */
  async end(): Promise<void> {
    this.#onLost.clear()
    if (this.#loss) return
    this.#client.ref()
    const cut = setTimeout(() => this.#client.connection.stream.destroy(), CONNECT_MS.most)
    await this.#client.end().catch(() => {})
    clearTimeout(cut)
    this.#loss ??= unavailable(this.address, 'reach', new Error('the connection was closed'))
  }

  /** Cuts it at once: whatever it was waiting for, nobody waits for that any more. */
  destroy(cause: Error = new Error('the connection was given up')): void {
    this.#lost(cause)
  }

  /** One timer for all queries, left running when there are none, costs nothing to a query. */
  #lookIn(ms: number): NodeJS.Timeout {
    const { stream } = this.#client.connection
    const seen = stream.bytesRead
    const look = () => {
      this.#watch = undefined
      if (this.#pending === 0 || this.#loss) return
      const leftMs = this.#dueAt - performance.now()
      // A large answer takes its time.
      if (leftMs > 0 || stream.bytesRead !== seen) this.#watch = this.#lookIn(Math.max(leftMs, ANSWER_MS))
      else this.#lost(new Error('the answer does not come'))
    }
    return setTimeout(look, Math.min(ms, 2 ** 31 - 1)).unref()
  }

  #lost(cause: Error): void {
    if (this.#loss) return
    const error = unavailable(this.address, 'reach', cause)
    this.#loss = error
    clearTimeout(this.#watch)
    this.#client.connection.stream.destroy()
    for (const listener of this.#onLost) listener(error)
    this.#onLost.clear()
  }
}

async function connected(
  address: Address,
  timeoutMs: number,
  makesTables: boolean,
  signal?: AbortSignal,
): Promise<Connection> {
  const { Client } = loadPg(address)
  const client = new Client({
    connectionString: address.secretUrl,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5000,
    pipeline: true,
  })
  // Of the url, or the defaults of `pg`: what is overdue is known here, and values are read as texts.
  client.connectionParameters.query_timeout = 0
  client.binary = false
  // What comes after the first error is the same again.
  client.on('error', () => {})
  const leave = () => client.connection.stream.destroy(new Error('timeout expired'))
  const timer = setTimeout(leave, Math.min(timeoutMs, CONNECT_MS.most))
  signal?.addEventListener('abort', leave)
  try {
    await client.connect()
    const connection = await Connection.begin(address, client)
    clearTimeout(timer)
    if (makesTables && !connection.hasTables) await connection.makeTables(timeoutMs)
    return connection
  } catch (error) {
    leave()
    throw error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', leave)
  }
}

function loadPg(address: Address): Pg {
  try {
    return requireLate()('pg') as Pg
  } catch (cause) {
    throw new LockUnsupportedError(
      `${address.shown} needs the package pg, which cannot be loaded: install it with \`npm install pg\`.`,
      { path: address.shown, cause },
    )
  }
}

/** @throws LockUnsupportedError */
function requireUsable(
  { shown }: Address,
  { isDirect, version, encoding }: { isDirect: boolean; version: number; encoding: string },
): void {
  const refuse = (what: string) => {
    throw new LockUnsupportedError(`cannot use ${shown}: ${what}`, { path: shown })
  }
  if (!isDirect) {
    refuse(
      'there is a connection pooler (pgbouncer or alike) between, which hands the connections of the server from one client ' +
        'to another, and the locks with them. Use the address of the server itself.',
    )
  }
  if (version < 140_000)
    refuse(`the server is PostgreSQL ${Math.floor(version / 10_000)}, and 14 is the oldest that works.`)
  if (encoding !== 'UTF8')
    refuse(`the encoding of the database is ${encoding}: use one with UTF8, which can keep every text.`)
}

/** Classes of SQLSTATE, and the words of `pg`, for a server that cannot be reached now and may be in a moment; others made the tables. */
const PASSING =
  /^(08...|57P0[1-5]|53300|25006|23505|42P06|42P07|ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENOENT|ENOTFOUND|EAI_AGAIN)$/
const LOST = /^(08...|57P0[1-5]|ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/
const WORDS =
  /^(Connection terminated|timeout expired|Client has encountered a connection error|Client was closed|Query read timeout|the answer does not come|no answer)/

/** Whether it may be otherwise in a moment. */
function isPassing(error: unknown): boolean {
  return PASSING.test(errnoOf(error) ?? '') || WORDS.test(asError(error).message)
}

/** Whether the connection is of no use any more. */
function isLoss(error: unknown): boolean {
  return LOST.test(errnoOf(error) ?? '') || WORDS.test(asError(error).message)
}

/** What is thrown where a server cannot be used now. One that says so already is given back as it is. */
export function unavailable(address: Address, what: string, cause: unknown): StoreUnavailableError {
  if (cause instanceof StoreUnavailableError) return cause
  const advice = adviceFor(errnoOf(cause) ?? '')
  return new StoreUnavailableError(`cannot ${what} ${address.shown}: ${asError(cause).message}. ${advice}`, {
    path: address.shown,
    cause,
  })
}

/**
 * What a server says, as an error of ours: that it cannot be used (StoreUnavailableError), or that it does not take what it was
 * given (StoreIoError). Errors that are none of a server are given back as they are.
 */
export function failure(address: Address, what: string, error: unknown): unknown {
  const code = errnoOf(error) ?? ''
  if (!SQLSTATE.test(code)) return error
  if (UNUSABLE.test(code)) return unavailable(address, what, error)
  const advice = code.startsWith('53')
    ? 'The server lacks something: look at its disk and its memory.'
    : 'Memory is as it was before. Look at what was to be written.'
  return new StoreIoError(
    `cannot ${what} ${address.shown}: the server refused it: ${asError(error).message} (${code}). ${advice}`,
    { path: address.shown, cause: error },
  )
}

/** Five characters, see appendix A of PostgreSQL's manual. */
const SQLSTATE = /^[0-9A-Z]{5}$/

/** Classes that say that the server is not there, does not let us in, or is a standby. */
const UNUSABLE = /^(08|57P|28|3D|42501|53300|25006)/

function adviceFor(code: string): string {
  if (code.startsWith('28'))
    return 'Look at the user and the password in the url, and at pg_hba.conf of the server.'
  if (code === '3D000') return 'Create the database first.'
  if (code === '42501')
    return 'Let an administrator connect once, who may create the schema pslock, or grant the rights.'
  if (code === '53300')
    return 'The server has no connection left: raise max_connections, or use fewer processes.'
  return 'Look whether the server runs and can be reached from here.'
}
