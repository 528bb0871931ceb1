import { type OptionNames, optionNames, requireKnown } from '../../arguments.ts'
import { ClosedError, ConflictError, harmless } from '../../errors.ts'
import type { PsLock } from '../../lock/lock.ts'
import type { CloseOptions } from '../../lock/options.ts'
import { crypto } from '../../os/modules.ts'
import type { Staging, TableStorage } from '../../store/adapter.ts'
import { LogEngine } from '../../store/log/log-engine.ts'
import type { LogStorage } from '../../store/log/storage.ts'
import type { TransactionsOf } from '../../store/transaction.ts'
import { Shape } from '../tables/schema.ts'
import type { Tables } from '../tables/tables.ts'
import type { Edits } from './edits.ts'
import { type Head, StageRecords, type StageState } from './records.ts'
import { Subject } from './subject.ts'

/** So long an ended stage is counted by `stats`. */
const KEPT_MS = 7 * 24 * 60 * 60_000

/** A commit that goes on for so long may be that of a process that is no more: whoever comes by looks after it. */
const LONG_COMMIT_MS = 60_000

/** The table of the marks in the store itself. */
const MARKS = '$stages'

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
    this.subject = new Subject(staging)
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
      const head = this.require(records, seen)
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
      const other = records.lastOf(session)
      if (at === 0 && other?.state !== 'open') return undefined
      throw at === 0 ? this.#changed(session, at, other?.at) : this.ended(session, undefined)
    }
    if (head.state !== 'open') throw this.ended(session, head.state)
    if (isOver(head)) throw this.ended(session, 'expired')
    if (head.at !== at) throw this.#changed(session, at, head.at)
    return head
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
    await this.#rows.insert(tx, MARKS, [{ _id: stage, _version: 1 }])
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
   */
  async settle(stage: string): Promise<void> {
    await this.transactions.transaction(async (tx) => {
      const isMarked = await this.isMarked(tx, stage)
      await this.write((records) => {
        const head = records.head(stage)
        if (!head) return
        if (isMarked) this.end(records, head, 'committed', { isMarked: true })
        else if (head.isCommitting) records.put({ ...head, isCommitting: undefined })
      })
      // Should this be undone, or the process end before: the stage says that its mark may still be there.
      if (isMarked) await this.#unmark(tx, stage)
    })
    await this.write((records) => {
      const head = records.head(stage)
      if (head?.isMarked) records.put({ ...head, isMarked: undefined })
    })
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
    const due = await this.read((records) => {
      const heads = [...records.heads]
      return {
        unsettled: heads.filter(
          (head) => isUnsettled(head) && (isWhole || now - head.changedAt > LONG_COMMIT_MS),
        ),
        over: heads.filter((head) => !isUnsettled(head) && (isOver(head) || isOld(head))),
      }
    })
    for (const { _id } of due.unsettled) await this.settle(_id)
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

  /** In a transaction: the changed records of tables are as their schemas want them. @throws SchemaError */
  async requireSchemas(tx: S, edits: Edits): Promise<void> {
    const schemas = Object.entries(await this.#tables.present(tx))
    for (const [name, schema] of schemas) {
      const shape = new Shape(this.path, name, schema)
      const ids = new Set<unknown>()
      for (const [first, second, third] of edits.paths) {
        if (typeof first === 'object') ids.add(first.id)
        else if (second === name && typeof third === 'object') ids.add(third.id)
        else if (second === name || second === undefined) ids.add(undefined)
      }
      for (const id of ids) {
        const records = await this.#tables.records(tx, shape, id as string | undefined)
        for (const record of records) {
          const { _id, _version, ...fields } = record
          if (id === undefined || _id === id) shape.complete(fields)
        }
      }
    }
  }

  // --- What is told of all of them ---

  async list(criteria: StageCriteria = {}): Promise<StageSummary[]> {
    this.requireOutside('stages.list')
    requireKnown(criteria, CRITERIA_NAMES, 'criterion')
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

function isOld({ endedAt }: Head): boolean {
  return endedAt !== undefined && endedAt + KEPT_MS <= Date.now()
}

/** A stage is committed; that it says so is left to whoever looks at it next. */
export function warnOfLateSettling(path: string, error: unknown): void {
  process.emitWarning(
    harmless(
      `a stage of ${path} is committed, but does not say so yet; the next look at it sees to that: ${String(error)}`,
    ),
    { type: 'PsLockWarning', code: 'PSLOCK_STAGES' },
  )
}
