import { errnoOf, StoreUnavailableError } from '../../errors.ts'
import type { LogMemory, StraightOperation } from '../../store/adapter.ts'
import { type Commit, type Notes, removalInTransaction } from '../../store/engine.ts'
import { scanFile } from '../../store/log/scan.ts'
import type { LogStorage, StorageParts } from '../../store/log/storage.ts'
import type { Operation } from '../../store/operation.ts'
import type { Pipeline } from '../../store/pipeline.ts'
import { callListener, Scope } from '../../store/scope.ts'
import { bytesSource, type Snapshot, type Source } from '../../store/snapshot.ts'
import type { Segment, WriteSet } from '../../store/write-set.ts'
import type { Connection, Row } from '../server/connection.ts'
import { LONG_MS } from '../server/schema.ts'
import type { OpenServerOptions } from '../server/url.ts'
import { type Changes, type CommitOf, changesOf, piecesOf, put, putAll } from './changes.ts'
import { Rows, storeGone } from './rows.ts'
import { DONE, GONE, type HeldPass, isPassing, type Pass, READ, StoreSession } from './store-session.ts'

/** Thrown by an operation on one record that only the general path can do, where the lock is not held. */
const GENERAL = Symbol('general')

/** Where the server has undone a transaction for want of a lock: a deadlock, a wait that was too long. */
const ROLLED_BACK = /^(40P01|40001|55P03)$/

/** It is a part of what hooks are told of as a whole. */
const STEP = { isInternal: true, kind: 'transaction' } as const

/** After a conflict the lock is taken first for so long: others write the same records. */
const CONTENDED_MS = 50

/** A process that has removed so many records, and more than are left, has the server forget them. */
const FORGOTTEN_RECORDS = 5000

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
  /** The next pass that writes takes the lock. */
  #mustHold = false
  #lookedAt = Number.NEGATIVE_INFINITY
  /** How many records this process has removed since it has last had them forgotten. */
  #removed = 0
  /** Whether what memory has could be taken back by a crash of the server. */
  #isUnflushed = false
  /** How often a look has found something. */
  #finds = 0
  // Of the present pass:
  #pass: Pass = READ
  /** Others have written since the one before. */
  #isContended = false
  /** The records that its operations have asked for, with the numbers that memory has of them. */
  readonly #reads = new Map<string, number>()
  /** What is to be kept beside the records, by its name. */
  readonly #notes = new Map<string, string>()
  /** Everything is to be removed before its lines are written. */
  #isCleared = false
  /** It is to be forgotten which records were removed. */
  #isPurged = false

  constructor(options: OpenServerOptions) {
    this.#options = options
    this.path = options.path
    this.timeoutMs = options.timeoutMs
    this.#session = new StoreSession(options, {
      opened: (id) => {
        this.#id = id
        this.#rows = new Rows(options.address, id, this.#memory)
      },
      restarted: () => this.distrustMemory(),
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
      // First: also what it fails with is only right where the record is still the same.
      if (operation.key !== undefined) this.#read(operation.key)
      const line = operation.line()
      // In its place: what was issued after it comes after it.
      if (line === null && this.#pass.kind === 'held') return new Scope(this.#queue, 'exclusive').run(general)
      if (line === null) {
        this.#mustHold = true
        throw GENERAL
      }
      if (line !== undefined) {
        this.#writeSet.append([line])
        this.#writeSet.onUndo(() => operation.undo())
      }
      return operation.apply()
    }
    return this.#queue.push('exclusive', run, { isBlind: () => true, isSelfContained: true }) as Promise<T>
  }

  /** It says which records it reads, the lock is not fought for, and memory can be worked on. */
  #isKeyed(head: Operation): boolean {
    if (this.#mustHold || head.isBlind?.() !== true || !this.#isPrepared || this.#known.mustReload)
      return false
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
    if (pass.kind === 'held') this.#mustHold = false
    this.#reads.clear()
    this.#notes.clear()
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
    const isNew = !this.#known.isFresh(news)
    await this.#known.take(news, connection, () => this.#session.incarnate())
    // Where nothing is new it is as before: a flush is written down too, and readers would flush each other's flushes for ever.
    if (isNew) this.#isUnflushed = this.#session.isDurable && !news.isDurable
    else if (news.isDurable) this.#isUnflushed = false
    if (isNew) this.#finds++
    this.#isContended = isNew
  }

  async isFresh(): Promise<boolean> {
    const pass = this.#begin(this.#session.begin())
    return pass.kind === 'held' && this.#known.isFresh(this.#known.newsOf(pass.news))
  }

  async commit(): Promise<Commit> {
    const segments = this.#writeSet.take()
    const pass = this.#pass
    try {
      const changes = await changesOf(segments, this.#memory, this.#notes)
      if (pass.kind === 'keyed') return await this.#commitKeyed(segments, changes)
      if (pass.kind === 'held') return await this.#commitHeld(segments, changes, pass)
      return this.#committed(segments)
    } catch (error) {
      this.#undo(segments)
      // It is known that it is not in: the store's own code can run again.
      const isUnavailable = error instanceof StoreUnavailableError && !error.isOutcomeUnknown
      const isToRepeat = isUnavailable || isRolledBack(error)
      return { committed: 0, isToRepeat, error: this.#session.failure('write', error) }
    }
  }

  /** Nobody holds the lock: it is done where the records that were read are still the same, and else run again under it. */
  async #commitKeyed(segments: readonly Segment[], changes: Changes): Promise<Commit> {
    if (this.#mustHold) return this.#again(segments)
    // New ones, with ids that were drawn at random, must not be there.
    for (const key of changes.keys) this.#read(key)
    if (this.#reads.size === 0) return this.#committed(segments)
    const pieces = piecesOf(changes)
    if (pieces.length > 1) return this.#again(segments)
    try {
      const connection = await this.#session.writer(this.timeoutMs)
      // The numbers may be those of other transactions.
      if (this.#known.mustReload) return this.#again(segments)
      const { answer, settle } = await this.#session.commit(
        connection,
        (number) => put(connection, this.#commitOf(number), changes, this.#reads),
        // Of what was only read others have written the last, and perhaps not to the disk yet.
        changes.keys.length === 0,
      )
      if (answer?.[0] === GONE) throw storeGone(this.#options.address)
      if (answer === undefined || answer[0] === DONE)
        return this.#done(segments, pieces, answer, settle, false)
      settle?.().catch(() => {})
    } catch (error) {
      const isOver = error instanceof StoreUnavailableError && error.isOutcomeUnknown
      if (isOver || !(isPassing(error) || isRolledBack(error))) throw error
    }
    return this.#again(segments)
  }

  /**
   * Under the lock, where it looks first. Not before: what is undone here would take the place of what a look has found, and pass
   * for it.
   */
  #again(segments: readonly Segment[]): Commit {
    this.#undo(segments)
    this.#mustHold = true
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
        before.push(connection.query({ text: `select pslock.clear(${this.#id})` }, LONG_MS))
        this.#known.clear()
      }
      if (this.#isPurged) before.push(connection.query({ text: `select pslock.purge(${this.#id})` }, LONG_MS))
      return [...before, putAll(connection, this.#commitOf(number), changes)] as const
    }
    try {
      const { answer, settle } = await this.#session.commitHeld(pass, this.#isContended, send)
      return this.#done(segments, piecesOf(changes), answer, settle, true)
    } catch (error) {
      if (this.#isCleared) this.distrustMemory()
      throw error
    }
  }

  #commitOf(number: number): CommitOf {
    const { incarnation, fence } = this.#known
    return { store: this.#id, incarnation, fence, client: this.#session.client, number }
  }

  /** @param answer undefined: what memory has of it is known without its number, which comes with the next look */
  #done(
    segments: readonly Segment[],
    pieces: readonly Changes[],
    answer: Row | undefined,
    settle: (() => Promise<void>) | undefined,
    isAlone: boolean,
  ): Commit {
    if (answer && pieces.length > 0) this.#known.wrote(Number(answer[1]), pieces, isAlone)
    this.#forgetIfMany(pieces)
    for (const [name, text] of this.#notes) this.#known.notes.set(name, text)
    this.#writeSet.written(segments)
    // What it has seen of others survives with it. Where that is not known, whoever reads it sees to it.
    if (!settle) this.#isUnflushed = false
    const settled = async () => {
      this.#isUnflushed = true
      await settle?.()
      this.#isUnflushed = false
    }
    return settledBy(segments, settle && settled)
  }

  #forgetIfMany(pieces: readonly Changes[]): void {
    for (const { gone } of pieces) for (const isGone of gone) if (isGone) this.#removed++
    if (this.#removed < Math.max(FORGOTTEN_RECORDS, this.#known.size)) return
    this.#removed = 0
    // Nobody waits for it; where it fails, the next one does it.
    const forget = () => this.compact(false)
    this.#queue.push('exclusive', forget, { ...STEP, kind: 'call' }).catch(() => {})
  }

  #committed(segments: readonly Segment[]): Commit {
    this.#writeSet.written(segments)
    return settledBy(segments, this.#isUnflushed ? () => this.settle() : undefined)
  }

  /** What others have committed can be seen before it survives a crash: what tells of it must not. */
  async settle(): Promise<void> {
    if (!this.#isUnflushed) return
    const finds = this.#finds
    await this.#session.flush(this.#known.incarnation)
    if (this.#finds === finds) this.#isUnflushed = false
  }

  #undo(segments: readonly Segment[]): void {
    const mark = segments[0]?.undoMark
    if (mark !== undefined) this.#writeSet.rollBack(mark)
    this.#writeSet.written(segments)
  }

  end(): void {}

  readonly notes: Notes = {
    get: (name) => this.#notes.get(name) ?? this.#rows?.notes.get(name),
    set: (name, text) => {
      const before = this.#notes.get(name)
      this.#notes.set(name, text)
      this.#writeSet.revision++
      this.#writeSet.onUndo(() => {
        if (before === undefined) this.#notes.delete(name)
        else this.#notes.set(name, before)
      })
    },
    flush: () => this.#session.flush(this.#rows?.incarnation),
  }

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
    const lines = await this.#queue.push('shared', () => [...this.#memory.lines()], STEP)
    const { coder } = this.#memory
    const encoded = coder ? await Promise.all(lines.map((line) => coder.encode(line))) : lines
    const bytes = Buffer.from(encoded.map((line) => `${line}\n`).join(''))
    return { source: bytesSource(bytes), mode: 0o600, [Symbol.dispose]() {} }
  }

  async replace(content: Source): Promise<void> {
    await this.prepare()
    const { coder } = this.#memory
    const read = (position: number, length: number) => content.read(position, length)
    const lines: string[] = []
    await scanFile(read, { from: 0, to: content.length }, coder, (batch) => lines.push(...batch.lines))
    const encoded = coder ? await Promise.all(lines.map((line) => coder.encode(line))) : lines
    const replacing = () => {
      this.drop()
      this.#writeSet.append(encoded)
      // What is in memory is another store.
      this.#writeSet.onUndo(() => this.distrustMemory())
    }
    await this.#queue.push('exclusive', replacing, { ...STEP, kind: 'call' })
    this.distrustMemory()
  }

  async close(): Promise<void> {
    // What is issued meanwhile ends before.
    do await this.#queue.idle()
    while (this.#queue.isAtWork)
    await this.#session.close()
    this.distrustMemory()
  }
}

/** Whether the server has undone it because of what others did meanwhile. */
function isRolledBack(error: unknown): boolean {
  return ROLLED_BACK.test(errnoOf(error) ?? '')
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
