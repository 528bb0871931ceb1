import { ClosedError, errnoOf, type LockMode, LockTimeoutError, StoreUnavailableError } from '../../errors.ts'
import { AnyHold } from '../../lock/hold.ts'
import { type AcquireOptions, joins } from '../../lock/options.ts'
import type { Operation } from '../../store/operation.ts'
import type { Asked, Pace, StoreHold, StoreLock } from '../../store/store-lock.ts'
import { storeHolders, timeoutError } from '../lock/pg-holders.ts'
import { Connection, failure, type Query, type Row, unavailable } from '../server/connection.ts'
import { FLUSH, isOfClient, LONG_MS, STORE_LOCKS, terminate } from '../server/schema.ts'
import type { OpenServerOptions } from '../server/url.ts'
import { storeGone } from './rows.ts'
import { type Change, Writer } from './writer.ts'

/** The longest wait that the server knows. */
const LONGEST_MS = 2 ** 31 - 1

/** The server's words for a wait that took too long. */
export const LOCK_NOT_AVAILABLE = '55P03'

/**
 * How the operations of a pass are kept apart from those of others. `held`: the lock is held meanwhile, in a transaction of the
 * server. `keyed`: nobody holds anything; the commit, which shares the lock with others of its kind, compares the numbers of the
 * records that were read. `read`: there is nothing to commit.
 */
export type Pass = { readonly kind: 'read' | 'keyed' } | HeldPass

export interface HeldPass {
  readonly kind: 'held'
  readonly connection: Connection
  /** What was new when the lock was granted. */
  readonly news: Row[]
  /** Whether its transaction is still open. */
  isOpen: boolean
}

export const READ: Pass = { kind: 'read' }

/** What a commit answers first, see `pslock.put`. */
export const DONE = '0'
export const GONE = '3'

/** What a kind of store says of itself. */
interface Kind {
  /** The store is open, for the first time. @param id its number in the database */
  opened(id: number): void
  /** The server was restarted, perhaps with an older copy of its data: what is known may be something else. */
  restarted(): void
  /** What is new, asked for as soon as the lock is granted. */
  look(): Query
  /** Whether a pass that begins with this operation needs no lock. */
  isKeyed(head: Operation): boolean
}

/** What became of a commit. */
export interface Committed {
  /** What the server has answered; undefined where it is in, but the answer was lost. */
  readonly answer: Row | undefined
  /** Waits until it survives a crash of the server; undefined: nobody asks for that. */
  readonly settle: (() => Promise<void>) | undefined
}

/** A hold of a store on a server, see `Pass`. */
class ServerHold extends AnyHold implements StoreHold {
  owner: object | undefined
  /** There are none inside others. */
  readonly outer: undefined
  readonly #release: () => void

  constructor(release: () => void) {
    super()
    this.#release = release
  }

  /** A connection that is lost shows when it is used. */
  verify(): void {}

  protected giveBack(): void {
    this.#release()
  }
}

/**
 * One store on a server as this process uses it: two connections, one to change it and one to read meanwhile, and its lock, an
 * advisory lock of the server that lasts as long as a transaction. What the store holds, and how that is compared, is the matter of
 * its kind.
 */
export class StoreSession implements StoreLock {
  readonly path: string
  readonly #options: OpenServerOptions
  readonly #kind: Kind
  readonly #writer: Writer
  #reader: Connection | undefined
  #connecting: Promise<Connection> | undefined
  #id: number | undefined
  #serverStart: string | undefined
  #opening: Promise<void> | undefined
  /** What the lock was taken for, until a pass begins with it. */
  #entered: Pass | undefined
  #isClosing = false

  constructor(options: OpenServerOptions, kind: Kind) {
    this.#options = options
    this.#kind = kind
    this.path = options.path
    this.#writer = new Writer(options.address, this.isDurable, (connection) => this.#met(connection))
  }

  get isDurable(): boolean {
    return this.#options.durability === 'disk'
  }

  /** This process among the store's clients. */
  get client(): string {
    return this.#writer.client
  }

  // --- StoreLock ---

  isClosing(): boolean {
    return this.#isClosing
  }

  asked(mode: LockMode, options: AcquireOptions = {}): Asked {
    if (this.#isClosing) throw new ClosedError(`${this.path} was closed`, { path: this.path })
    const { signal, timeoutMs = this.#options.timeoutMs } = options
    joins(options)
    if (signal?.aborted) throw signal.reason
    const onTimeout = (waitedMs: number) => behindOthers(this.path, mode, waitedMs)
    return { wait: { timeoutMs, sliceMs: 0, signal, onTimeout }, outer: undefined }
  }

  enterNow(mode: LockMode, head?: Operation): ServerHold | undefined {
    if (mode === 'shared' || !head || this.#id === undefined || !this.#writer.openNow) return undefined
    return this.#kind.isKeyed(head) ? this.#holdOf({ kind: 'keyed' }) : undefined
  }

  async enter(
    mode: LockMode,
    head: Operation,
    giveUp?: AbortSignal,
    waitedBeforeMs: number = head.waitedMs,
  ): Promise<ServerHold> {
    if (mode === 'shared') return this.#holdOf(READ)
    const { timeoutMs = this.#options.timeoutMs, signal } = head
    const since = performance.now() - waitedBeforeMs
    const signals = [signal, giveUp].filter((one) => one !== undefined)
    for (;;) {
      for (const one of signals) one.throwIfAborted()
      const leftMs = timeoutMs === 0 ? 0 : timeoutMs - (performance.now() - since)
      // Its time has passed with attempts that were in vain.
      if (leftMs <= 0 && timeoutMs > 0) throw await this.#timedOut(mode, performance.now() - since)
      const connection = await this.writer(leftMs, signals[0])
      // It may have been called off meanwhile, of which nobody would hear any more.
      for (const one of signals) one.throwIfAborted()
      try {
        return await this.#enterHeld(connection, leftMs, signals)
      } catch (error) {
        for (const one of signals) one.throwIfAborted()
        const waitedMs = performance.now() - since
        if (errnoOf(error) === LOCK_NOT_AVAILABLE) throw await this.#timedOut(mode, waitedMs)
        // Nothing was sent that changes anything: it is tried again, with another connection where this one is lost.
        if (!isPassing(error) || waitedMs >= timeoutMs) throw this.failure('lock', error)
      }
    }
  }

  /** As `takeTurn` in features/hooks/throttle.ts, by the server's clock. */
  async takeTurn({ everyMs, aheadMs }: Pace, limitMs: number): Promise<number> {
    // For JSON and for the server there is no larger number.
    const limit = Math.min(limitMs, Number.MAX_SAFE_INTEGER)
    const text = 'select pslock.turn($1, $2, $3, $4)'
    const [row] = await this.asking((reader) =>
      reader.query({ name: 'pslock.turn', text, values: [this.#id, everyMs, aheadMs, limit] }),
    )
    return Number(row?.[0])
  }

  within(): Promise<never> {
    return Promise.reject(new Error('a caller has no hold of a store on a server'))
  }

  async #timedOut(mode: LockMode, waitedMs: number): Promise<LockTimeoutError> {
    const { address } = this.#options
    const look = this.asking((reader) => storeHolders(address, reader))
    const others = look.then((holders) => holders.filter(({ state }) => state === 'holding'))
    return timeoutError(address, mode, waitedMs, others)
  }

  async #enterHeld(
    connection: Connection,
    leftMs: number,
    signals: readonly AbortSignal[],
  ): Promise<ServerHold> {
    const waitMs = leftMs > LONGEST_MS ? Number.POSITIVE_INFINITY : leftMs
    const giveUp = () => void this.#giveUp(connection)
    for (const signal of signals) signal.addEventListener('abort', giveUp, { once: true })
    try {
      const asked = connection.inOneGo(() => [
        connection.query({ text: `begin; ${this.#lockBy(leftMs)}` }, waitMs),
        connection.query(this.#kind.look(), waitMs),
      ])
      const [locked, looked] = (await Promise.allSettled(asked)) as [
        PromiseSettledResult<Row[]>,
        PromiseSettledResult<Row[]>,
      ]
      if (locked.status === 'rejected') throw locked.reason
      if (looked.status === 'rejected') throw looked.reason
      for (const signal of signals) signal.throwIfAborted()
      return this.#holdOf({ kind: 'held', connection, news: looked.value, isOpen: true })
    } catch (error) {
      rollBack(connection)
      throw error
    } finally {
      for (const signal of signals) signal.removeEventListener('abort', giveUp)
    }
  }

  #lockBy(leftMs: number): string {
    const key = `${STORE_LOCKS}, ${this.#id}`
    // For the server 0 is for ever, and not to wait at all is another function.
    if (leftMs === 0) {
      return `do $$ begin if not pg_try_advisory_xact_lock(${key}) then raise lock_not_available; end if; end $$`
    }
    const lockMs = leftMs > LONGEST_MS ? 0 : Math.ceil(leftMs)
    return `set local lock_timeout = ${lockMs}; select pg_advisory_xact_lock(${key})`
  }

  #holdOf(pass: Pass): ServerHold {
    this.#entered = pass
    return new ServerHold(() => {
      if (this.#entered === pass) this.#entered = undefined
      if (pass.kind !== 'held' || !pass.isOpen) return
      pass.isOpen = false
      rollBack(pass.connection)
    })
  }

  /**
   * Ends a wait for the lock with its connection: to cancel the query could hit the next one. While it waits the server does not
   * notice that nobody is there, so it is told by the other connection.
   */
  async #giveUp(connection: Connection): Promise<void> {
    connection.destroy()
    const text = terminate(`pid = ${connection.pid} and ${isOfClient(this.client)}`)
    await this.asking((reader) => reader.query({ text })).catch(() => {})
  }

  /** A pass begins, with the lock where it was taken. */
  begin(): Pass {
    const pass = this.#entered ?? READ
    this.#entered = undefined
    return pass
  }

  // --- Connections ---

  /** @throws StoreUnavailableError, LockUnsupportedError, the reason of the signal */
  async writer(timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    const connection = this.#writer.openNow ?? (await this.#writer.open(timeoutMs, signal))
    if (this.#id === undefined) await this.#open(connection)
    return connection
  }

  /** @throws StoreUnavailableError, LockUnsupportedError */
  async reader(timeoutMs: number): Promise<Connection> {
    const reader = this.#reader?.isOpen ? this.#reader : await this.#connect(timeoutMs)
    if (this.#id === undefined) await this.#open(reader)
    return reader
  }

  #met({ serverStart }: Connection): void {
    if (this.#serverStart !== undefined && serverStart !== this.#serverStart) this.#kind.restarted()
    this.#serverStart = serverStart
  }

  /** Whoever comes meanwhile waits for the same one. */
  #connect(timeoutMs: number): Promise<Connection> {
    this.#connecting ??= Connection.open(this.#options.address, timeoutMs)
      .then((connection) => {
        this.#reader = connection
        this.#met(connection)
        return connection
      })
      .finally(() => {
        this.#connecting = undefined
      })
    return this.#connecting
  }

  /** Names the server's incarnation after a crash: by itself, and not in a transaction, for which all others would wait. */
  async incarnate(): Promise<string> {
    const query = { text: 'select pslock.incarnate()' }
    const [row] = await this.asking((reader) => reader.query(query, LONG_MS))
    return row?.[0] as string
  }

  #open(connection: Connection): Promise<void> {
    this.#opening ??= this.#nameStore(connection).finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #nameStore(connection: Connection): Promise<void> {
    const { address, kind } = this.#options
    const text = 'select o_id, o_kind from pslock.open($1, $2)'
    const asked = connection.query({ text, values: [address.name, kind] })
    const [row] = await asked.catch((error) => {
      throw this.failure('open', error)
    })
    const [id, found] = row as Row
    if (found !== kind) {
      throw new TypeError(`${this.path} is a store of another kind: ${String(found)}, not ${kind}`)
    }
    this.#id = Number(id)
    this.#kind.opened(this.#id)
  }

  /**
   * Asks by the reading connection, again where it is lost before the answer.
   * @throws StoreUnavailableError, and whatever `ask` throws
   */
  async asking<T>(ask: (reader: Connection) => Promise<T>): Promise<T> {
    const until = performance.now() + this.#options.timeoutMs
    for (;;) {
      const reader = await this.reader(Math.max(1, until - performance.now()))
      try {
        return await ask(reader)
      } catch (error) {
        if (!isPassing(error) || performance.now() >= until) throw this.failure('read', error)
      }
    }
  }

  // --- Commits ---

  /**
   * Sends a commit, and learns what became of it even where the connection is lost on the way: so nothing is done twice, and
   * nothing that is done is said to have failed.
   * @param send issues its queries, all of them before it first waits
   * @param flushes it is not on the disk when it is answered, and neither is what it has seen: that is to be seen to behind it
   * @throws StoreUnavailableError where it is not in, or where that cannot be known (`isOutcomeUnknown`)
   */
  async commit(
    connection: Connection,
    send: (number: number) => Promise<Row>,
    flushes: boolean,
  ): Promise<Committed> {
    // A transaction that was begun on a connection which is lost by now has ended with it.
    if (connection !== this.#writer.openNow)
      throw unavailable(this.#options.address, 'reach', new Error('the connection was lost'))
    const change: Change = { number: this.#writer.nextNumber(), generation: this.#writer.generation }
    const { sending, flushing } = connection.inOneGo(() => ({
      sending: send(change.number),
      // Right behind it: when that is done the lock is free already, so that many wait for the disk together.
      flushing: flushes && this.isDurable ? connection.query(FLUSH) : undefined,
    }))
    flushing?.catch(() => {})
    try {
      const answer = await sending
      return { answer, settle: flushing && (() => this.#flushed(flushing, change)) }
    } catch (error) {
      const isLost = error instanceof StoreUnavailableError
      if (!isLost || !(await this.#writer.isIn(change, this.#options.timeoutMs))) throw error
      return { answer: undefined, settle: this.isDurable ? () => this.#flushAgain(change, error) : undefined }
    }
  }

  /**
   * As `commit`, of a pass that holds the lock: its queries, and the end of their transaction, are sent at once.
   * @param isContended others want the lock, too: they do not wait for the disk
   * @param send issues the queries; what the last of them answers begins with DONE where the change is made
   */
  async commitHeld(
    pass: HeldPass,
    isContended: boolean,
    send: (number: number) => readonly [...before: Promise<unknown>[], put: Promise<Row>],
  ): Promise<Committed> {
    const { connection } = pass
    const sendAll = async (number: number) => {
      const sent = send(number)
      // By itself: in one text with the commit it would keep that from ending a transaction that has failed.
      const behind = isContended && connection.query({ text: 'set local synchronous_commit = off' })
      const committing = connection.query({ text: 'commit' })
      pass.isOpen = false
      // All have ended before any of them is thrown: what comes after the first that fails fails, too.
      const ended = await Promise.allSettled([...sent, behind, committing])
      for (const end of ended) if (end.status === 'rejected') return statusOf(end.reason)
      return sent.at(-1) as Promise<Row>
    }
    const { answer, settle } = await this.commit(connection, sendAll, isContended)
    if (answer === undefined || answer[0] === DONE) return { answer, settle }
    settle?.().catch(() => {})
    if (answer[0] === GONE) throw storeGone(this.#options.address)
    throw new StoreUnavailableError(
      `the server of ${this.path} has restarted while a transaction on it ran, and may have lost what was committed before. ` +
        'The transaction was undone; do it again.',
      { path: this.path },
    )
  }

  async #flushed(flushing: Promise<unknown>, change: Change): Promise<void> {
    try {
      await flushing
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw this.failure('write', error)
      await this.#flushAgain(change, error)
    }
  }

  /** With another connection, which may be lost again, and the change with it. */
  async #flushAgain(change: Change, lost: StoreUnavailableError): Promise<void> {
    const until = performance.now() + this.#options.timeoutMs
    for (;;) {
      const leftMs = Math.max(1, until - performance.now())
      if (!(await this.#writer.isIn(change, leftMs))) {
        throw new StoreUnavailableError(`${lost.message} The change was lost with it: do it again.`, {
          path: this.path,
          cause: lost,
        })
      }
      try {
        const connection = await this.writer(leftMs)
        await connection.query(FLUSH)
        // Else there was one more between, and whether the change was still there then is not known yet.
        if (await this.#writer.isIn(change, leftMs)) return
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error
        if (performance.now() < until) continue
        throw new StoreUnavailableError(
          `${error.message} The change is in the store, or was: whether it survives is unknown.`,
          { path: this.path, cause: error, isOutcomeUnknown: true },
        )
      }
    }
  }

  /**
   * Makes what was read so far survive a crash of the server.
   * @param incarnation in which it was read
   * @throws StoreUnavailableError where a crash has taken it back already
   */
  async flush(incarnation: string | undefined): Promise<void> {
    const [row] = await this.asking((reader) => reader.query(FLUSH))
    if (row?.[0] === incarnation) return
    throw new StoreUnavailableError(
      `the server of ${this.path} has restarted, and has perhaps lost what was read just now: read it again.`,
      { path: this.path },
    )
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await Promise.all([this.#writer.end(), this.#reader?.end()])
  }

  /** What the server says, as an error of ours. */
  failure(what: string, error: unknown): unknown {
    return failure(this.#options.address, what, error)
  }
}

/** What `pslock.put` answers under the lock, as an error. @throws any other */
export function statusOf(error: unknown): Row {
  const [, status] = /^PK00([23])$/.exec(errnoOf(error) ?? '') ?? []
  if (status === undefined) throw error
  return [status]
}

function rollBack(connection: Connection): void {
  if (connection.isOpen) connection.query({ text: 'rollback' }).catch(() => {})
}

/** The time is up before it was an operation's turn in its own process. */
function behindOthers(path: string, mode: LockMode, waitedMs: number): LockTimeoutError {
  const message =
    `no ${mode} lock of ${path} within ${Math.round(waitedMs)} ms: operations of this very process were before it. Nothing was ` +
    'changed. Give it more time with timeoutMs.'
  return new LockTimeoutError(message, { path, mode, waitedMs, holders: [] })
}

/** Whether another connection will do. */
export function isPassing(error: unknown): boolean {
  return error instanceof StoreUnavailableError
}
