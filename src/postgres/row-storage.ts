import { errnoOf, StoreUnavailableError } from '../errors.ts'
import type { LogMemory, RecordLine, StraightOperation } from '../store/adapter.ts'
import { type Commit, removalInTransaction } from '../store/engine.ts'
import type { LogStorage, StorageParts } from '../store/log/storage.ts'
import type { Operation } from '../store/operation.ts'
import type { Pipeline } from '../store/pipeline.ts'
import { callListener } from '../store/scope.ts'
import { bytesSource, type Snapshot } from '../store/snapshot.ts'
import type { Segment, WriteSet } from '../store/write-set.ts'
import type { Connection, Row } from './connection.ts'
import { Rows } from './rows.ts'
import {
  DONE,
  GONE,
  type HeldPass,
  isPassing,
  LOCK_NOT_AVAILABLE,
  LOOK_FIRST,
  type Pass,
  READ,
  StoreSession,
  storeGone,
} from './store-session.ts'
import type { OpenServerOptions } from './url.ts'

/** Thrown by an operation on one record that only the general path can do. */
const GENERAL = Symbol('general')

/** So long a commit that nobody has taken the lock for waits for those that hold it. */
const BRIEF_MS = 50

/** After a conflict the lock is taken first for so long: others write the same records. */
const CONTENDED_MS = 50

const PUT = 'select * from pslock.put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)'

/** What a commit changes. */
interface Changes {
  readonly keys: string[]
  readonly gone: boolean[]
  readonly lines: string[]
  /** Whether an index is among it. */
  readonly isFence: boolean
}

/**
 * A log store whose records are rows on a server: each line of the log is the row of its record. Whatever a commit changes is
 * one transaction of the server.
 */
export class RowStorage implements LogStorage {
  readonly path: string
  /** The content is in no file. */
  readonly file: undefined
  readonly timeoutMs: number
  readonly lock: StoreSession
  readonly mustRewrite = false
  readonly endsTorn = false
  readonly #options: OpenServerOptions
  readonly #session: StoreSession
  #id = 0
  /** Once the store is open. */
  #rows: Rows | undefined
  #memory!: LogMemory
  #writeSet!: WriteSet
  #queue!: Pipeline
  #isPrepared = false
  #contendedUntil = 0
  #lookedAt = Number.NEGATIVE_INFINITY
  /** Whether what memory has could be taken back by a crash of the server. */
  #isUnflushed = false
  // Of the present pass:
  #pass: Pass = READ
  /** The records that its operations have asked for, with the numbers that memory has of them. */
  readonly #reads = new Map<string, number>()
  /** Everything is to be removed before its lines are written. */
  #isCleared = false
  /** It is to be forgotten which records were removed. */
  #isPurged = false

  constructor(options: OpenServerOptions) {
    this.#options = options
    this.path = options.address.shown
    this.timeoutMs = options.timeoutMs
    this.#session = new StoreSession(options, {
      opened: (id) => {
        this.#id = id
        this.#rows = new Rows(options.address, id, this.#memory)
      },
      look: () => this.#known.look,
      isKeyed: (head) => this.#isKeyed(head),
    })
    this.lock = this.#session
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

  get #known(): Rows {
    if (!this.#rows) throw new Error(`${this.path} is not open yet`)
    return this.#rows
  }

  // --- Operations on one record, and looks at memory ---

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

  /** It says which records it reads, the lock is not fought for, and memory can be worked on. */
  #isKeyed(head: Operation): boolean {
    if (head.isBlind?.() !== true || !this.#isPrepared || this.#known.mustReload) return false
    return performance.now() >= this.#contendedUntil
  }

  #read(key: string): void {
    if (!this.#reads.has(key)) this.#reads.set(key, this.#known.versionOf(key))
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

  // --- Engine ---

  async refresh(): Promise<void> {
    this.#writeSet.take()
    const pass = this.#begin(this.#session.begin())
    if (pass.kind === 'keyed') return
    await this.prepare()
    if (pass.kind !== 'held') return this.#look()
    try {
      await this.#take(pass.news, pass.connection)
    } catch (error) {
      throw this.#session.failure('read', error)
    }
  }

  async refreshUnlocked(): Promise<boolean> {
    this.#writeSet.take()
    // What is entered meanwhile is for the pass after this one.
    this.#begin(READ)
    await this.prepare()
    if (!this.#isRecent) await this.#look()
    return true
  }

  #begin(pass: Pass): Pass {
    this.#pass = pass
    this.#reads.clear()
    this.#isCleared = false
    this.#isPurged = false
    return pass
  }

  async #look(): Promise<void> {
    await this.#session.asking(async (reader) => {
      const since = performance.now()
      await this.#take(await reader.query(this.#known.look), reader)
      this.#lookedAt = since
    })
  }

  async #take(rows: Row[], connection: Connection): Promise<void> {
    const news = this.#known.newsOf(rows)
    await this.#known.take(news, connection)
    this.#isUnflushed = this.#session.isDurable && !news.isDurable
  }

  async isFresh(): Promise<boolean> {
    const pass = this.#begin(this.#session.begin())
    return pass.kind === 'held' && this.#known.isFresh(this.#known.newsOf(pass.news))
  }

  async commit(): Promise<Commit> {
    const segments = this.#writeSet.take()
    const pass = this.#pass
    try {
      const changes = await this.#changesOf(segments)
      if (pass.kind === 'keyed') return await this.#commitKeyed(segments, changes)
      if (pass.kind === 'held') return await this.#commitHeld(segments, changes, pass)
      return this.#committed(segments)
    } catch (error) {
      this.#undo(segments)
      return { committed: 0, error: this.#session.failure('write', error) }
    }
  }

  /** The rows of all lines: of each record the last. */
  async #changesOf(segments: readonly Segment[]): Promise<Changes> {
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

  /** Nobody holds the lock: it is done where the records that were read are still the same, and else run again under it. */
  async #commitKeyed(segments: readonly Segment[], changes: Changes): Promise<Commit> {
    // New ones, with ids that were drawn at random, must not be there.
    for (const key of changes.keys) this.#read(key)
    if (this.#reads.size === 0) return this.#committed(segments)
    try {
      const connection = await this.#session.writer(this.timeoutMs)
      const { answer, settle } = await this.#session.commit(connection, (number) =>
        this.#put(connection, changes, number, this.#reads),
      )
      if (answer?.[0] === GONE) throw storeGone(this.#options.address)
      if (answer === undefined || answer[0] === DONE) return this.#done(segments, changes, answer, settle)
      settle?.().catch(() => {})
      if (answer[0] === LOOK_FIRST) await this.#look()
    } catch (error) {
      const isOver = error instanceof StoreUnavailableError && error.isOutcomeUnknown
      if (isOver || !(isPassing(error) || errnoOf(error) === LOCK_NOT_AVAILABLE)) throw error
    }
    this.#undo(segments)
    this.#contendedUntil = performance.now() + CONTENDED_MS
    return { committed: 0, isToRepeat: true }
  }

  async #commitHeld(segments: readonly Segment[], changes: Changes, pass: HeldPass): Promise<Commit> {
    // Without a change there is nothing to commit: the lock is given back with the hold.
    if (!this.#isCleared && !this.#isPurged && changes.keys.length === 0) return this.#committed(segments)
    const { connection } = pass
    const send = (number: number) => {
      const before: Promise<unknown>[] = []
      if (this.#isCleared) {
        before.push(connection.query({ text: `select pslock.clear(${this.#id})` }))
        this.#known.known++
      }
      if (this.#isPurged) before.push(connection.query({ text: `select pslock.purge(${this.#id})` }))
      return [...before, this.#put(connection, changes, number)] as const
    }
    try {
      const { answer, settle } = await this.#session.commitHeld(pass, send)
      return this.#done(segments, changes, answer, settle)
    } catch (error) {
      if (this.#isCleared) this.distrustMemory()
      throw error
    }
  }

  /** @param reads what must not have changed; without it, under the lock, nothing has */
  async #put(
    connection: Connection,
    { keys, gone, lines, isFence }: Changes,
    number: number,
    reads?: ReadonlyMap<string, number>,
  ): Promise<Row> {
    const { incarnation, known } = this.#known
    const waitMs = reads ? BRIEF_MS : 0
    const read = reads ? [[...reads.keys()], [...reads.values()]] : [null, null]
    const values = [this.#id, incarnation, known, ...read, keys, gone, lines, isFence]
    values.push(this.#session.client, number, waitMs)
    const [row] = await connection.query({ name: 'pslock.put', text: PUT, values }, waitMs)
    return row as Row
  }

  /** @param answer undefined: what memory has of it is known without its number, which comes with the next look */
  #done(
    segments: readonly Segment[],
    { keys, gone }: Changes,
    answer: Row | undefined,
    settle: (() => Promise<void>) | undefined,
  ): Commit {
    if (keys.length > 0 && answer) this.#known.wrote(Number(answer[1]), keys, gone)
    this.#writeSet.written(segments)
    // What it has seen of others survives with it.
    return settledBy(segments, settle)
  }

  #committed(segments: readonly Segment[]): Commit {
    this.#writeSet.written(segments)
    return settledBy(segments, this.#isUnflushed ? () => this.settle() : undefined)
  }

  /** What others have committed can be seen before it survives a crash: what tells of it must not. */
  async settle(): Promise<void> {
    if (!this.#isUnflushed) return
    const { known } = this.#known
    await this.#session.flush()
    if (this.#known.known === known) this.#isUnflushed = false
  }

  #undo(segments: readonly Segment[]): void {
    const mark = segments[0]?.undoMark
    if (mark !== undefined) this.#writeSet.rollBack(mark)
    this.#writeSet.written(segments)
  }

  end(): void {}

  // --- All of it ---

  /** It is there as soon as it is open. */
  create(): void {}

  drop(): void {
    if (this.#writeSet.isNested) throw removalInTransaction(this.path)
    this.#isCleared = true
    this.#writeSet.revision++
    this.#writeSet.written()
  }

  /** There are no stale lines, but rows that say of a record that it is removed. */
  async compact(ifStale: boolean): Promise<void> {
    if (ifStale) return
    this.#isPurged = true
    this.#writeSet.revision++
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
    // What is issued meanwhile ends before.
    do await this.#queue.idle()
    while (this.#queue.isAtWork)
    await this.#session.close()
    this.distrustMemory()
  }
}

function settledBy(segments: readonly Segment[], settled: (() => Promise<void>) | undefined): Commit {
  const afterwards = segments.flatMap((segment) => segment.afterwards)
  const committed = segments.length
  if (!settled && afterwards.length === 0) return { committed }
  const settle = async () => {
    await settled?.()
    for (const run of afterwards) callListener(run)
  }
  return { committed, settle }
}
