import { type OptionNames, optionNames, requireKnown, requireOneOf } from '../../arguments.ts'
import { ClosedError, ConflictError, harmless, SchemaError } from '../../errors.ts'
import type { PsLock } from '../../lock/lock.ts'
import type { CloseOptions } from '../../lock/options.ts'
import { crypto } from '../../os/modules.ts'
import type { Staging, StoredRecord, TableStorage } from '../../store/adapter.ts'
import { getOwn } from '../../store/json/values.ts'
import { LogEngine } from '../../store/log/log-engine.ts'
import type { LogStorage } from '../../store/log/storage.ts'
import { MARKS } from '../../store/marks.ts'
import type { TransactionsOf } from '../../store/transaction.ts'
import { Shape, type TableSchema } from '../tables/schema.ts'
import type { Tables } from '../tables/tables.ts'
import type { Edits } from './edits.ts'
import { type Head, STATES, StageRecords, type StageState } from './records.ts'
import { idsOf, Subject } from './subject.ts'
import { putAt, valueAt } from './tree.ts'

/** So long an ended stage is counted by `stats`. */
const KEPT_MS = 7 * 24 * 60 * 60_000

/** A commit that goes on for so long may be that of a process that is no more: whoever comes by looks after it. */
const LONG_COMMIT_MS = 60_000

/** What the stages of a store work with. `S` is what the callback of a transaction is given. */
export interface StageParts<S> {
  /** The data file, or what is shown of another place. */
  readonly path: string
  readonly staging: Staging<S>
  readonly rows: TableStorage<S>
  readonly transactions: TransactionsOf<S>
  readonly tables: Tables<S>
  /** Where the stages are kept, and its lock, where that is a file. */
  readonly storage: LogStorage
  readonly lock: PsLock | undefined
}

/** A stage as `stages.list` shows it. */
export interface StageSummary {
  /** What it was opened by. */
  readonly id: string
  readonly state: StageState
  readonly owner: string | undefined
  /** One more after each change of the stage. */
  readonly at: number
  /** How many edits are in effect. */
  readonly edits: number
  readonly begunAt: Date
  readonly changedAt: Date
  /** When it expires unless it is changed; of one that has ended, when that was. */
  readonly endsAt: Date
  /** What `cancel` was given. */
  readonly reason: string | undefined
}

/** Which stages; by default all. */
export interface StageCriteria {
  readonly id?: string | undefined
  readonly state?: StageState | undefined
  readonly owner?: string | undefined
}

const CRITERIA_NAMES: OptionNames = optionNames<StageCriteria>({ id: true, state: true, owner: true })

/** How many stages there are of each state, those that have ended in the last 7 days. */
export interface StageStats extends Readonly<Record<StageState, number>> {
  /** How many edits were in effect at the end of those that were cancelled or have expired. */
  readonly discardedEdits: number
  /** How often each reason was given for cancelling; without one as ''. */
  readonly reasons: Readonly<Record<string, number>>
}

/** The stages of one store. */
export class Stages<S> {
  readonly path: string
  readonly subject: Subject<S>
  readonly transactions: TransactionsOf<S>
  readonly staging: Staging<S>
  readonly #rows: TableStorage<S>
  readonly #tables: Tables<S>
  readonly #log: LogEngine
  readonly #lock: PsLock | undefined
  readonly #records: StageRecords

  constructor({ path, staging, rows, transactions, tables, storage, lock }: StageParts<S>) {
    this.path = path
    this.staging = staging
    this.subject = new Subject(staging, (name) => this.isTable(name))
    this.transactions = transactions
    this.#rows = rows
    this.#tables = tables
    this.#lock = lock
    this.#log = new LogEngine(storage, (session) => new StageRecords(session, path))
    this.#records = this.#log.start() as StageRecords
  }

  async close(options: CloseOptions): Promise<void> {
    await this.#log.close()
    await this.#lock?.close(options)
  }

  /** Looks at the stages as they are now. */
  read<T>(look: (records: StageRecords) => T): Promise<Awaited<T>> {
    return this.#log.perform('shared', () => look(this.#records), { isSelfContained: true })
  }

  write<T>(change: (records: StageRecords) => T): Promise<Awaited<T>> {
    return this.#log.perform('exclusive', () => change(this.#records), { isSelfContained: true })
  }

  /**
   * Changes a stage, provided that nobody else has since it was seen.
   * @param at as it was seen; 0: there was none
   * @throws ConflictError, ClosedError
   */
  change(
    seen: Pick<Head, '_id' | 'session' | 'at'>,
    change: (records: StageRecords, head?: Head) => Head,
  ): Promise<Head> {
    return this.write((records) => {
      const head = this.requireIdle(records, seen)
      const next = change(records, head)
      records.put(next)
      return next
    })
  }

  /** The stage, as it was seen; undefined where it has not begun. @throws ConflictError, ClosedError */
  require(
    records: StageRecords,
    { _id, session, at }: Pick<Head, '_id' | 'session' | 'at'>,
  ): Head | undefined {
    const head = records.head(_id)
    if (!head) {
      const last = records.lastOf(session)
      if (last ? last.state === 'open' || last.at !== at : at !== 0)
        throw last ? this.#changed(session, at, last.at) : this.ended(session, undefined)
      return undefined
    }
    if (head.state !== 'open') throw this.ended(session, head.state)
    if (isOver(head)) throw this.ended(session, 'expired')
    if (head.at !== at) throw this.#changed(session, at, head.at)
    return head
  }

  /** As `require`, to change it. @throws ConflictError also while a commit of it is under way */
  requireIdle(records: StageRecords, seen: Pick<Head, '_id' | 'session' | 'at'>): Head | undefined {
    const head = this.require(records, seen)
    if (!head?.isCommitting) return head
    throw new ConflictError(
      `a commit of the stage ${JSON.stringify(seen.session)} of ${this.path} is under way, so nothing was changed: wait for it.`,
      { path: this.path, expected: seen.at, found: head.at },
    )
  }

  #changed(session: string, at: number, now: number | undefined): ConflictError {
    return new ConflictError(
      `the stage ${JSON.stringify(session)} of ${this.path} was changed elsewhere, say in another tab: it was at ${at} and ` +
        `is at ${now} now. Nothing was changed: open it again with stage(), look at it, and repeat what you want to do.`,
      { path: this.path, expected: at, found: now },
    )
  }

  ended(session: string, state: StageState | undefined): ClosedError {
    return new ClosedError(
      `the stage ${JSON.stringify(session)} of ${this.path} has ended${state ? ` (it is ${state})` : ''}: stage() begins a new one.`,
      { path: this.path },
    )
  }

  /** @throws TransactionError inside a transaction, which could not undo what is about to be done */
  requireOutside(operation: string): void {
    this.#tables.requireOutside(operation)
  }

  /** Whether the caller runs inside a transaction or view of the store. */
  get isInside(): boolean {
    return this.#tables.isInside
  }

  isTable(name: string): boolean {
    return Object.hasOwn(this.#tables.schemas.read().tables, name)
  }

  // --- The mark ---

  /**
   * In a transaction: whether the edits of a stage are in the store. The mark is written with them, and taken away once the
   * stage says itself that it is committed.
   */
  async isMarked(tx: S, stage: string): Promise<boolean> {
    const marks = (await this.#rows.read(tx, MARKS, stage)) as readonly { _id: string }[] | undefined
    return marks?.some(({ _id }) => _id === stage) ?? false
  }

  async mark(tx: S, stage: string): Promise<void> {
    const { staging } = this
    const mark = { _id: stage, _version: 1 }
    // A unique index takes only one document without its fields, and what others insert must not clash with the mark.
    const unique = staging.kind === 'documents' ? staging.uniquePaths(tx) : []
    for (const path of [...unique].sort((a, b) => a.length - b.length))
      if (valueAt(mark, path) === undefined) putAt(mark, path, stage)
    await this.#rows.insert(tx, MARKS, [mark])
  }

  async #unmark(tx: S, stage: string): Promise<void> {
    await this.#rows.remove(tx, MARKS, [stage])
    if (this.staging.kind === 'documents') return
    const left = (await this.#rows.read(tx, MARKS)) as readonly unknown[]
    if (left.length === 0) await this.#rows.drop(tx, MARKS)
  }

  /**
   * Makes the stage say what the store says: whether a commit that was begun was done. Under the exclusive lock of the store
   * nobody else is in the middle of one.
   * @returns whether it was
   */
  async settle(stage: string): Promise<boolean> {
    const isDone = await this.transactions.transaction(async (tx) => {
      const isMarked = await this.isMarked(tx, stage)
      const state = await this.write((records) => {
        const head = records.head(stage)
        if (head && isMarked) this.end(records, head, 'committed', { isMarked: true })
        else if (head?.isCommitting) records.put({ ...head, isCommitting: undefined })
        return head?.state
      })
      // Should this be undone, or the process end before: the stage says that its mark may still be there.
      if (isMarked) await this.#unmark(tx, stage)
      return isMarked || state === 'committed'
    })
    await this.write((records) => {
      const head = records.head(stage)
      if (head?.isMarked) records.put({ ...head, isMarked: undefined })
    })
    return isDone
  }

  /** In an exclusive operation. */
  end(records: StageRecords, head: Head, state: StageState, more: Partial<Head> = {}): Head {
    if (head.state !== 'open') return head
    const endedAt = state === 'expired' ? head.changedAt + head.expiresMs : Date.now()
    const ended: Head = { ...head, state, at: head.at + 1, endedAt, isCommitting: undefined, ...more }
    records.put(ended)
    records.dropEdits(head, 0)
    return ended
  }

  /** Ends what has expired, forgets what ended long ago, and finishes the commits of processes that are no more. */
  async sweep(isWhole = true): Promise<void> {
    const now = Date.now()
    const look = (records: StageRecords) => {
      const heads = [...records.heads]
      return {
        unsettled: heads.filter(
          (head) => isUnsettled(head) && (isWhole || now - head.changedAt > LONG_COMMIT_MS),
        ),
        over: heads.filter((head) => !isUnsettled(head) && (isOver(head) || isOld(head))),
      }
    }
    let due = await this.read(look)
    // It need not be the caller's own stage, whose calls say themselves what keeps it from being settled.
    for (const { _id } of due.unsettled)
      await this.settle(_id).catch((error) => warnOfLateSettling(this.path, 'may be', error))
    // What was settled may be over.
    if (due.unsettled.length > 0) due = await this.read(look)
    if (due.over.length === 0) return
    await this.write((records) => {
      for (const { _id } of due.over) {
        const head = records.head(_id)
        if (!head || isUnsettled(head)) continue
        if (isOver(head)) this.end(records, head, 'expired')
        if (isOld(head)) records.remove(_id)
      }
    })
  }

  // --- Checks ---

  /**
   * In a transaction: the changed records of tables are as their schemas want them; fields that the table got meanwhile are
   * added to them.
   * @throws SchemaError, also where the table is no more
   */
  async requireSchemas(tx: S, edits: Edits): Promise<void> {
    const { staging } = this
    const schemas = await this.#tables.present(tx)
    const changed =
      staging.kind === 'documents'
        ? byTable(await staging.read(tx, idsOf(edits.paths)), schemas, edits)
        : await this.#changedRows(tx, edits, schemas)
    for (const [table, records] of changed) {
      const schema = getOwn(schemas, table) as TableSchema | undefined
      if (!schema)
        throw new SchemaError(
          `table ${table} of ${this.path} is no more, and the stage has records of it. Nothing was changed.`,
          { path: this.path, table },
        )
      const shape = new Shape(this.path, table, schema)
      const completed: StoredRecord[] = []
      for (const { _id, _version, ...fields } of records) {
        const whole = shape.complete(fields)
        if (Object.keys(whole).some((name) => !Object.hasOwn(fields, name)))
          completed.push({ _id, _version, ...whole })
      }
      if (completed.length > 0) await this.#rows.replace(tx, table, completed)
    }
  }

  /** The records of tables that are lists of one tree. */
  async #changedRows(
    tx: S,
    edits: Edits,
    schemas: Readonly<Record<string, TableSchema>>,
  ): Promise<Map<string, StoredRecord[]>> {
    const changed = new Map<string, StoredRecord[]>()
    for (const name of new Set([...Object.keys(schemas), ...edits.tables])) {
      const ids = new Set<unknown>()
      let isWhole = false
      for (const [, table, record] of edits.paths) {
        if (table === name && typeof record === 'object') ids.add(record.id)
        else if (table === name || table === undefined) isWhole = true
      }
      if (ids.size === 0 && !isWhole) continue
      const schema = getOwn(schemas, name) as TableSchema | undefined
      if (!schema) {
        if ((await this.#rows.read(tx, name)) !== undefined) changed.set(name, [])
        continue
      }
      const records = await this.#tables.records(tx, new Shape(this.path, name, schema))
      changed.set(
        name,
        records.filter(({ _id }) => isWhole || ids.has(_id)),
      )
    }
    return changed
  }

  // --- What is told of all of them ---

  async list(criteria: StageCriteria = {}): Promise<StageSummary[]> {
    this.requireOutside('stages.list')
    requireKnown(criteria, CRITERIA_NAMES, 'criterion')
    if (criteria.state !== undefined) requireOneOf(criteria.state, 'state', STATES)
    await this.sweep()
    const heads = await this.read((records) => [...records.heads])
    return heads
      .filter(
        ({ session, state, owner }) =>
          (criteria.id === undefined || session === criteria.id) &&
          (criteria.state === undefined || state === criteria.state) &&
          (criteria.owner === undefined || owner === criteria.owner),
      )
      .map(summary)
  }

  async stats(): Promise<StageStats> {
    this.requireOutside('stages.stats')
    await this.sweep()
    const heads = await this.read((records) => [...records.heads])
    const count = (state: StageState) => heads.filter((head) => head.state === state).length
    const discarded = heads.filter(({ state }) => state === 'cancelled' || state === 'expired')
    const reasons = new Map<string, number>()
    for (const { state, reason = '' } of discarded)
      if (state === 'cancelled') reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    return {
      open: count('open'),
      committed: count('committed'),
      cancelled: count('cancelled'),
      expired: count('expired'),
      discardedEdits: discarded.reduce((sum, { done }) => sum + done, 0),
      reasons: Object.fromEntries(reasons),
    }
  }
}

export function newStageId(): string {
  return crypto().randomUUID()
}

function summary({
  session,
  state,
  owner,
  at,
  done,
  begunAt,
  changedAt,
  expiresMs,
  endedAt,
  reason,
}: Head): StageSummary {
  return {
    id: session,
    state,
    owner,
    at,
    edits: done,
    begunAt: new Date(begunAt),
    changedAt: new Date(changedAt),
    endsAt: new Date(endedAt ?? changedAt + expiresMs),
    reason,
  }
}

function isUnsettled({ isCommitting, isMarked }: Head): boolean {
  return Boolean(isCommitting || isMarked)
}

function isOver({ state, changedAt, expiresMs }: Head): boolean {
  return state === 'open' && changedAt + expiresMs <= Date.now()
}

/** Those that are records of tables. */
function byTable(
  documents: readonly Readonly<Record<string, unknown>>[],
  schemas: Readonly<Record<string, TableSchema>>,
  { tables }: Edits,
): Map<string, StoredRecord[]> {
  const found = new Map<string, StoredRecord[]>()
  for (const { _table: table, ...record } of documents) {
    if (typeof table !== 'string' || table === MARKS) continue
    // A document of the user's own may have such a field.
    if (!Object.hasOwn(schemas, table) && !tables.has(table)) continue
    const records = found.get(table) ?? []
    records.push(record as unknown as StoredRecord)
    found.set(table, records)
  }
  return found
}

function isOld({ endedAt }: Head): boolean {
  return endedAt !== undefined && endedAt + KEPT_MS <= Date.now()
}

/** A stage is committed, or may be; that it says so is left to whoever looks at it next. */
export function warnOfLateSettling(path: string, how: 'is' | 'may be', error: unknown): void {
  process.emitWarning(
    harmless(
      `a stage of ${path} ${how} committed, but does not say so yet; the next look at it sees to that: ${String(error)}`,
    ),
    { type: 'PsLockWarning', code: 'PSLOCK_STAGES' },
  )
}
