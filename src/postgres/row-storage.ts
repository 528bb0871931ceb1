import {
  ClosedError,
  errnoOf,
  type LockHolder,
  type LockMode,
  LockTimeoutError,
  StoreUnavailableError,
} from '../errors.ts'
import { AnyHold } from '../lock/hold.ts'
import type { AcquireOptions, WaitOptions } from '../lock/options.ts'
import type { LogMemory, RecordLine, StraightOperation } from '../store/adapter.ts'
import { type Commit, removalInTransaction } from '../store/engine.ts'
import type { LogStorage, StorageParts } from '../store/log/storage.ts'
import type { Operation } from '../store/operation.ts'
import type { OpenServerOptions } from './url.ts'
import type { Pipeline } from '../store/pipeline.ts'
import { callListener } from '../store/scope.ts'
import { bytesSource, type Snapshot } from '../store/snapshot.ts'
import type { StoreLock } from '../store/store-lock.ts'
import type { Segment, WriteSet } from '../store/write-set.ts'
import { Connection, type Row, unavailable } from './connection.ts'
import { type News, Rows, storeGone } from './rows.ts'
import { STORE_LOCKS } from './schema.ts'
import { Writer } from './writer.ts'

/** Thrown by an operation on one record that only the general path can do. */
const GENERAL = Symbol('general')

/** So long a commit that nobody has taken the lock for waits for those that hold it. */
const BRIEF_MS = 50

/** After a conflict the lock is taken first for so long: others write the same records. */
const CONTENDED_MS = 50

/** The longest wait that the server knows. */
const LONGEST_MS = 2 ** 31 - 1

/** What makes everything that was committed before it survive a crash: its own commit waits for the disk. */
const FLUSH = {
  name: 'pslock.flush',
  text: `select set_config('synchronous_commit', 'on', true), pg_logical_emit_message(true, 'pslock', '')`,
}

const PUT = 'select * from pslock.put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)'

/** What a commit answers, see `pslock.put`. */
const [DONE, LOOK_FIRST, GONE] = ['0', '2', '3']

/** The server's words for a wait that took too long, and for one that was called off. */
const LOCK_NOT_AVAILABLE = '55P03'
const QUERY_CANCELED = '57014'

/**
 * How the operations of a pass are kept apart from those of others. `held`: the lock is held meanwhile, in a transaction of the
 * server. `keyed`: nobody holds anything; the commit compares the numbers of the records that were read, of which the
 * operations say which they are. `read`: there is nothing to commit.
 */
interface Pass {
  readonly kind: 'held' | 'keyed' | 'read'
  readonly connection?: Connection
  /** What the server told with the lock, until memory has it. */
  news?: News | undefined
  /** Whether its transaction is still open. */
  isOpen?: boolean
}

const READ: Pass = { kind: 'read' }

/** A hold of a store on a server, see `Pass`. */
class ServerHold extends AnyHold {
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

interface Written {
  readonly keys: string[]
  readonly gone: boolean[]
  readonly lines: string[]
  /** Whether an index is among it. */
  readonly isFence: boolean
}

/**
 * A log store whose records are rows on a server: each line of the log is the row of its record. Whatever a commit changes is
 * one transaction of the server, under an advisory lock that lasts as long as that.
 */
export class RowStorage implements LogStorage {
  readonly path: string
  /** The content is in no file. */
  readonly file: undefined
  readonly timeoutMs: number
  readonly lock: StoreLock
  readonly endsTorn = false
  readonly #options: OpenServerOptions
  readonly #writer: Writer
  #reader: Connection | undefined
  #id: number | undefined
  #opening: Promise<void> | undefined
  #rows!: Rows
  #memory!: LogMemory
  #writeSet!: WriteSet
  #queue!: Pipeline
  #isPrepared = false
  #isClosed = false
  readonly mustRewrite = false
  /** What the lock was taken for, until a pass begins with it. */
  #entered: Pass | undefined
  #pass: Pass = READ
  /** Of the present pass: the records that its operations have asked for, with the numbers that memory has of them. */
  #reads = new Map<string, number>()
  #contendedUntil = 0
  /** Of the present pass: everything is to be removed before its lines are written; removed records are to be forgotten. */
  #isCleared = false
  #isPurged = false
  #lookedAt = Number.NEGATIVE_INFINITY
  /** Whether somebody could be shown what a crash of the server would take back. */
  #isUnflushed = false

  constructor(options: OpenServerOptions) {
    this.#options = options
    this.path = options.address.shown
    this.timeoutMs = options.timeoutMs
    this.#writer = new Writer(options.address)
    this.lock = this.#newLock()
  }

  start({ memory, writeSet, queue }: StorageParts): void {
    this.#memory = memory
    this.#writeSet = writeSet
    this.#queue = queue
  }

  async prepare(): Promise<void> {
    if (!this.#isPrepared) await this.#memory.prepare?.()
    this.#isPrepared = true
  }

  distrustMemory(): void {
    if (this.#rows) this.#rows.mustReload = true
  }

  // --- What comes in one by one ---

  straight<T>(operation: StraightOperation<T>, general: () => Promise<T>): Promise<T> | undefined {
    if (!this.#isPrepared || this.#memory.coder || !this.#queue.isPlain) return undefined
    if (operation.prepare?.() === false) return undefined
    const run = () => {
      const line = operation.line()
      if (line === null) throw GENERAL
      if (operation.key !== undefined) this.#read(operation.key)
      if (line !== undefined) {
        this.#writeSet.append([line])
        this.#writeSet.onUndo(() => operation.undo())
      }
      return operation.apply()
    }
    const done = this.#queue.push('exclusive', run, { isBlind: () => true, isSelfContained: true })
    return done.catch((error) => {
      if (error === GENERAL) return general()
      throw error
    }) as Promise<T>
  }

  straightLook<T>(look: () => T): { readonly value: T } | undefined {
    return this.#queue.isClear ? this.lookNow(look) : undefined
  }

  lookNow<T>(look: () => T): { readonly value: T } | undefined {
    if (!this.#isRecent || this.#isUnflushed) return undefined
    return { value: this.#writeSet.looking(look) }
  }

  /** Whether what was looked up last may still be shown. */
  get #isRecent(): boolean {
    const { staleMs } = this.#options
    if (staleMs === 0 || !this.#rows || this.#rows.mustReload) return false
    return performance.now() - this.#lookedAt < staleMs
  }

  #read(key: string): void {
    if (!this.#reads.has(key)) this.#reads.set(key, this.#rows.versionOf(key))
  }

  // --- The lock ---

  #newLock(): StoreLock {
    const storage = this
    return {
      path: this.path,
      get isClosing() {
        return storage.#isClosed
      },
      asked: (mode, options) => ({ wait: this.#wait(mode, options), outer: undefined }),
      enterNow: (mode, head) => this.#enterNow(mode, head),
      enter: (mode, head, giveUp, waitedMs = head.waitedMs) => this.#enter(mode, head, giveUp, waitedMs),
      within: () => Promise.reject(new Error('there are no holds of the caller here')),
    }
  }

  #wait(mode: LockMode, options: AcquireOptions = {}): WaitOptions {
    if (this.#isClosed) throw new ClosedError(`${this.path} was closed`, { path: this.path })
    const { signal, timeoutMs = this.timeoutMs } = options
    if (signal?.aborted) throw signal.reason
    const onTimeout = (waitedMs: number) => this.#timeoutError(mode, waitedMs, [])
    return { timeoutMs, sliceMs: 0, signal, onTimeout }
  }

  #timeoutError(mode: LockMode, waitedMs: number, holders: readonly LockHolder[]): LockTimeoutError {
    const who = holders.map(({ pid, command }) => `${pid ?? 'unknown'} (${command ?? 'unknown'})`).join(', ')
    return new LockTimeoutError(
      `could not get the ${mode} lock of ${this.path} within ${Math.round(waitedMs)} ms` +
        `${who === '' ? '' : `; it is held by process ${who}`}. Nothing was changed.`,
      { path: this.path, mode, waitedMs, holders },
    )
  }

  #enterNow(mode: LockMode, head?: Operation): ServerHold | undefined {
    const isKeyed = head?.isBlind?.() === true && this.#isPrepared && this.#isOpen && !this.#rows.mustReload
    if (mode === 'shared' || !isKeyed || performance.now() < this.#contendedUntil) return undefined
    return this.#holdOf({ kind: 'keyed' })
  }

  get #isOpen(): boolean {
    return this.#id !== undefined && this.#writer.openNow !== undefined
  }

  async #enter(
    mode: LockMode,
    { timeoutMs = this.timeoutMs, signal }: Operation,
    giveUp: AbortSignal | undefined,
    waitedMs: number,
  ): Promise<ServerHold> {
    if (mode === 'shared') return this.#holdOf(READ)
    const since = performance.now() - waitedMs
    const signals = [signal, giveUp].filter((one) => one !== undefined)
    for (;;) {
      for (const one of signals) one.throwIfAborted()
      const leftMs = timeoutMs === 0 ? 0 : Math.max(1, timeoutMs - (performance.now() - since))
      const connection = await this.#openWriter(leftMs, signals[0])
      try {
        return await this.#enterHeld(connection, leftMs, signals)
      } catch (error) {
        for (const one of signals) one.throwIfAborted()
        const waitedMs = performance.now() - since
        if (errnoOf(error) === LOCK_NOT_AVAILABLE)
          throw this.#timeoutError(mode, waitedMs, await this.#holders())
        // Nothing was sent that changes anything: it is tried again, with another connection where this one is lost.
        if (!isRetried(error) || waitedMs >= timeoutMs) throw this.#failure('lock', error)
      }
    }
  }

  async #enterHeld(
    connection: Connection,
    leftMs: number,
    signals: readonly AbortSignal[],
  ): Promise<ServerHold> {
    const lockMs = leftMs > LONGEST_MS ? 0 : Math.ceil(leftMs)
    // 0 is for ever there, and asking for nothing that has to be waited for is another function.
    const lock =
      leftMs === 0
        ? `do $$ begin if not pg_try_advisory_xact_lock(${STORE_LOCKS}, ${this.#id}) then
             raise lock_not_available; end if; end $$`
        : `set local lock_timeout = ${lockMs}; select pg_advisory_xact_lock(${STORE_LOCKS}, ${this.#id})`
    const waitMs = leftMs > LONGEST_MS ? Number.POSITIVE_INFINITY : leftMs
    const cancel = () => void this.#cancel(connection)
    for (const signal of signals) signal.addEventListener('abort', cancel, { once: true })
    try {
      const [locked, looked] = await Promise.allSettled([
        connection.query({ text: `begin; ${lock}` }, waitMs),
        connection.query(this.#rows.look, waitMs),
      ])
      if (locked.status === 'rejected') throw locked.reason
      if (looked.status === 'rejected') throw looked.reason
      const news = this.#rows.newsOf(looked.value)
      for (const signal of signals) signal.throwIfAborted()
      return this.#holdOf({ kind: 'held', connection, news, isOpen: true })
    } catch (error) {
      this.#rollBack(connection)
      throw error
    } finally {
      for (const signal of signals) signal.removeEventListener('abort', cancel)
    }
  }

  #holdOf(pass: Pass): ServerHold {
    this.#entered = pass
    return new ServerHold(() => {
      if (this.#entered === pass) this.#entered = undefined
      if (pass.isOpen && pass.connection) this.#rollBack(pass.connection)
      pass.isOpen = false
    })
  }

  /** A pass begins, with the lock where it was taken. */
  #begin(pass: Pass = READ): Pass {
    this.#pass = pass
    this.#entered = undefined
    this.#reads.clear()
    this.#isCleared = false
    this.#isPurged = false
    return pass
  }

  #rollBack(connection: Connection): void {
    if (connection.isOpen) connection.query({ text: 'rollback' }).catch(() => {})
  }

  /** Ends the wait of a query for a lock, by the other connection. */
  async #cancel(connection: Connection): Promise<void> {
    try {
      const reader = await this.#openReader(this.timeoutMs)
      await reader.query({ text: 'select pg_cancel_backend($1)', values: [connection.backend.pid] })
    } catch {
      connection.destroy()
    }
  }

  async #holders(): Promise<LockHolder[]> {
    return []
  }

  // --- Connections ---

  async #openWriter(timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    const connection = await this.#writer.open(timeoutMs, signal)
    if (this.#id === undefined) await this.#openStore(connection)
    return connection
  }

  async #openReader(timeoutMs: number): Promise<Connection> {
    if (!this.#reader?.isOpen) this.#reader = await Connection.open(this.#options.address, timeoutMs)
    if (this.#id === undefined) await this.#openStore(this.#reader)
    return this.#reader
  }

  #openStore(connection: Connection): Promise<void> {
    this.#opening ??= this.#nameStore(connection).finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #nameStore(connection: Connection): Promise<void> {
    const { address, kind } = this.#options
    const [row] = await connection.query({
      text: 'select o_id, o_kind, o_client from pslock.open($1, $2)',
      values: [address.name, kind],
    })
    const [id, found, client] = row as Row
    if (found !== kind) throw wrongKind(this.path, found, kind)
    this.#writer.client = client as string
    this.#rows = new Rows(address, Number(id), this.#memory)
    this.#id = Number(id)
  }

  // --- Engine ---

  async refresh(mode: LockMode): Promise<void> {
    this.#writeSet.take()
    const pass = this.#begin(this.#entered)
    if (pass.kind === 'keyed') return
    await this.prepare()
    const { connection, news } = pass
    if (mode === 'shared' || !connection || !news) return this.#look()
    pass.news = undefined
    try {
      await this.#take(news, connection)
    } catch (error) {
      throw this.#failure('read', error)
    }
  }

  async refreshUnlocked(): Promise<boolean> {
    this.#writeSet.take()
    // What was entered meanwhile is for the pass after this one.
    this.#pass = READ
    await this.prepare()
    if (!this.#isRecent) await this.#look()
    return true
  }

  async #look(): Promise<void> {
    const until = performance.now() + this.timeoutMs
    for (;;) {
      const reader = await this.#openReader(Math.max(1, until - performance.now()))
      try {
        const since = performance.now()
        await this.#take(this.#rows.newsOf(await reader.query(this.#rows.look)), reader)
        this.#lookedAt = since
        return
      } catch (error) {
        if (!isRetried(error) || performance.now() >= until) throw this.#failure('read', error)
      }
    }
  }

  async #take(news: News, connection: Connection): Promise<void> {
    await this.#rows.take(news, connection)
    this.#isUnflushed = !news.isDurable && this.#options.durability === 'disk'
  }

  async isFresh(): Promise<boolean> {
    const { news } = this.#begin(this.#entered)
    return news !== undefined && this.#rows.isFresh(news)
  }

  async commit(): Promise<Commit> {
    const segments = this.#writeSet.take()
    const pass = this.#pass
    try {
      const written = await this.#written(segments)
      if (pass.kind === 'keyed') return await this.#commitKeyed(segments, written)
      if (pass.kind === 'held') return await this.#commitHeld(segments, written, pass)
      return this.#committed(segments)
    } catch (error) {
      this.#undo(segments)
      return { committed: 0, error: this.#failure('write', error) }
    }
  }

  /** The rows of all lines: of each record the last. */
  async #written(segments: readonly Segment[]): Promise<Written> {
    const records = new Map<string, RecordLine & { line: string }>()
    const { coder } = this.#memory
    for (const { lines } of segments) {
      for (const line of lines) {
        const record = this.#recordOf(coder ? await coder.decode(line) : line)
        records.set(record.key, { ...record, line })
      }
    }
    const all = [...records.values()]
    return {
      keys: all.map(({ key }) => key),
      gone: all.map(({ isGone }) => isGone),
      lines: all.map(({ line }) => line),
      isFence: all.some(({ isIndex }) => isIndex),
    }
  }

  #recordOf(line: string): RecordLine {
    const record = this.#memory.recordOf?.(line)
    if (!record) throw new Error(`the adapter of ${this.path} does not say which record a line is of`)
    return record
  }

  async #commitKeyed(segments: readonly Segment[], written: Written): Promise<Commit> {
    // New ones, with ids that were drawn at random, must not be there.
    for (const key of written.keys) this.#read(key)
    if (this.#reads.size === 0) return this.#committed(segments)
    const change = { number: this.#writer.nextNumber(), generation: this.#writer.generation }
    try {
      const connection = this.#writer.openNow ?? (await this.#openWriter(this.timeoutMs))
      const put = this.#put(connection, written, change.number, this.#reads)
      const flushed = written.keys.length > 0 ? this.#flush(connection, change) : undefined
      const [status, seq] = await put
      if (status === DONE) return this.#done(segments, written, Number(seq), flushed)
      flushed?.().catch(() => {})
      if (status === GONE) throw storeGone(this.#options.address)
      if (status === LOOK_FIRST) await this.#look().catch(() => {})
    } catch (error) {
      if (error instanceof StoreUnavailableError && (await this.#writer.isIn(change, this.timeoutMs)))
        return this.#doneUnseen(segments)
      const isBusy = errnoOf(error) === LOCK_NOT_AVAILABLE
      if (!isBusy && !isRetried(error)) throw error
    }
    this.#undo(segments)
    this.#contendedUntil = performance.now() + CONTENDED_MS
    return { committed: 0, isToRepeat: true, error: this.#timeoutError('exclusive', this.timeoutMs, []) }
  }

  async #commitHeld(segments: readonly Segment[], written: Written, pass: Pass): Promise<Commit> {
    const { connection } = pass
    const mustWrite = this.#isCleared || this.#isPurged || written.keys.length > 0
    // Without a change there is nothing to commit: the lock is given back with the hold.
    if (!mustWrite || !connection) return this.#committed(segments)
    const change = { number: this.#writer.nextNumber(), generation: this.#writer.generation }
    try {
      const id = this.#id
      const before: Promise<Row[]>[] = []
      if (this.#isCleared) {
        before.push(connection.query({ text: `select pslock.clear(${id})` }))
        this.#rows.known++
      }
      if (this.#isPurged) before.push(connection.query({ text: `select pslock.purge(${id})` }))
      const put = this.#put(connection, written, change.number)
      const committing = connection.query({ text: 'commit' })
      pass.isOpen = false
      const flushed = this.#flush(connection, change)
      const [cleared, wrote] = await Promise.allSettled([Promise.all(before), put, committing])
      if (cleared.status === 'rejected') throw cleared.reason
      if (wrote.status === 'rejected') throw wrote.reason
      const [status, seq] = wrote.value
      await committing
      if (status !== DONE) {
        flushed?.().catch(() => {})
        if (status === GONE) throw storeGone(this.#options.address)
        throw new StoreUnavailableError(
          `the server of ${this.path} has restarted while a transaction on it ran, and may have lost what was committed before. ` +
            'The transaction was undone; do it again.',
          { path: this.path },
        )
      }
      return this.#done(segments, written, Number(seq), flushed)
    } catch (error) {
      if (this.#isCleared) this.distrustMemory()
      if (error instanceof StoreUnavailableError && (await this.#writer.isIn(change, this.timeoutMs)))
        return this.#doneUnseen(segments)
      throw error
    }
  }

  /** @param reads what must not have changed; without it, under the lock, nothing has */
  async #put(
    connection: Connection,
    { keys, gone, lines, isFence }: Written,
    number: number,
    reads?: ReadonlyMap<string, number>,
  ): Promise<Row> {
    const rows = this.#rows
    const waitMs = reads ? BRIEF_MS : 0
    const values = [
      this.#id,
      rows.incarnation,
      rows.known,
      reads ? [...reads.keys()] : null,
      reads ? [...reads.values()] : null,
      keys,
      gone,
      lines,
      isFence,
      this.#writer.client,
      number,
      waitMs,
    ]
    const [row] = await connection.query({ name: 'pslock.put', text: PUT, values }, waitMs)
    return row as Row
  }

  /** Sends what makes a commit survive a crash right behind it: when it is done the lock is free already. */
  #flush(
    connection: Connection,
    change: { number: number; generation: number },
  ): (() => Promise<void>) | undefined {
    if (this.#options.durability !== 'disk') return undefined
    const flushing = connection.query(FLUSH)
    flushing.catch(() => {})
    return async () => {
      try {
        await flushing
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw this.#failure('write', error)
        await this.#flushAgain(change, error)
      }
    }
  }

  async #flushAgain(
    change: { number: number; generation: number },
    lost: StoreUnavailableError,
  ): Promise<void> {
    if (!(await this.#writer.isIn(change, this.timeoutMs))) {
      throw new StoreUnavailableError(`${lost.message} The change was lost with it: do it again.`, {
        path: this.path,
        cause: lost,
      })
    }
    const connection = await this.#openWriter(this.timeoutMs)
    await connection.query(FLUSH)
  }

  #done(
    segments: readonly Segment[],
    { keys, gone }: Written,
    seq: number,
    flushed: (() => Promise<void>) | undefined,
  ): Commit {
    if (keys.length > 0) this.#rows.wrote(seq, keys, gone)
    this.#writeSet.written(segments)
    // What it has seen of others is flushed with it.
    return this.#settledBy(segments, flushed)
  }

  /** It is in, but the answer was lost, and with it the number: what memory has of it comes anew with the next look. */
  #doneUnseen(segments: readonly Segment[]): Commit {
    this.#writeSet.written(segments)
    const flush = async () => {
      const connection = await this.#openWriter(this.timeoutMs)
      await connection.query(FLUSH)
    }
    return this.#settledBy(segments, this.#options.durability === 'disk' ? flush : undefined)
  }

  #committed(segments: readonly Segment[]): Commit {
    this.#writeSet.written(segments)
    return this.#settledBy(segments, this.#isUnflushed ? () => this.settle() : undefined)
  }

  #settledBy(segments: readonly Segment[], settled: (() => Promise<void>) | undefined): Commit {
    const afterwards = segments.flatMap((segment) => segment.afterwards)
    const committed = segments.length
    if (!settled && afterwards.length === 0) return { committed }
    const settle = async () => {
      await settled?.()
      for (const run of afterwards) callListener(run)
    }
    return { committed, settle }
  }

  /** What others have committed is shown as soon as it is there: what is told of it must survive, too. */
  async settle(): Promise<void> {
    if (!this.#isUnflushed) return
    const seen = this.#rows.known
    const reader = await this.#openReader(this.timeoutMs)
    await reader.query(FLUSH)
    if (this.#rows.known === seen) this.#isUnflushed = false
  }

  #undo(segments: readonly Segment[]): void {
    const mark = segments[0]?.undoMark
    if (mark !== undefined) this.#writeSet.rollBack(mark)
    this.#writeSet.written(segments)
  }

  end(): void {}

  // --- All of it ---

  create(): void {}

  drop(): void {
    if (this.#writeSet.isNested) throw removalInTransaction(this.path)
    this.#isCleared = true
    this.#writeSet.revision++
    this.#writeSet.written()
  }

  async compact(ifStale: boolean): Promise<void> {
    if (!ifStale) this.#isPurged = true
  }

  async snapshot(): Promise<Snapshot> {
    const lines = await this.#queue.push('shared', () => [...this.#memory.lines()], {
      isInternal: true,
      kind: 'transaction',
    })
    const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''))
    return { source: bytesSource(bytes), mode: 0o600, [Symbol.dispose]() {} }
  }

  async close(): Promise<void> {
    do await this.#queue.idle()
    while (this.#queue.isAtWork)
    this.#isClosed = true
    await Promise.all([this.#writer.end(), this.#reader?.end()])
    this.#memory.close?.()
    this.distrustMemory()
  }

  #failure(what: string, error: unknown): unknown {
    const code = errnoOf(error)
    // The server's own: five characters.
    return code !== undefined && /^[0-9A-Z]{5}$/.test(code)
      ? unavailable(this.#options.address, what, error)
      : error
  }
}

/** Whether it is over in a moment, with another connection. */
function isRetried(error: unknown): boolean {
  return error instanceof StoreUnavailableError || errnoOf(error) === QUERY_CANCELED
}

function wrongKind(path: string, found: unknown, kind: string): Error {
  return new TypeError(`${path} is a store of another kind: ${String(found)}, not ${kind}`)
}
