import {
  type OptionNames,
  optionNames,
  requireFunction,
  requireKnown,
  requireOneOf,
  requireThat,
} from '../../arguments.ts'
import { ConflictError, type StageConflict, TransactionError } from '../../errors.ts'
import { shared } from '../../lock/hold.ts'
import { LateCursor } from './cursor.ts'
import { Edits, editOf } from './edits.ts'
import { mergeInto, type Resolution, type Resolve } from './merge.ts'
import type { Head, StageRecords, StageState } from './records.ts'
import { newStageId, type Stages, warnOfLateSettling } from './stages.ts'
import { idsOf, tablesOf } from './subject.ts'
import { placeOf } from './tree.ts'

export interface StageOptions {
  /** Whose stage it is, for `stages.list`. */
  readonly owner?: string | undefined
  /**
   * After so long without a change the stage expires, in milliseconds.
   * @default 24 hours
   */
  readonly expiresMs?: number | undefined
  /**
   * The `at` of the stage that the user has seen, say in a form. If it was changed since, changes are a ConflictError.
   * @default as it is now
   */
  readonly at?: number | undefined
}

export interface StageCommitOptions<S> {
  /**
   * Asked for each conflict: which of the two values is to be taken, or another one. Where it returns undefined, it stays a
   * conflict.
   */
  readonly resolve?: ((conflict: StageConflict) => Resolution | undefined) | undefined
  /** Runs in the transaction of the commit, when its changes are made. A throw undoes them, and the stage stays open. */
  readonly validate?: ((tx: S) => unknown) | undefined
}

/** An edit as `edits` shows it. */
export interface StagedEdit {
  readonly editedAt: Date
  /** Whether `undo` has taken it back, so that `redo` would bring it. */
  readonly isUndone: boolean
  readonly changes: readonly StagedChange[]
}

/** A value that an edit has changed; see `StageConflict`. */
export interface StagedChange {
  readonly id: string | number | undefined
  readonly path: string
  readonly before: unknown
  readonly after: unknown
}

/**
 * Edits of a store that nobody else sees until they are committed. They are kept beside the store, so that any process can go
 * on with them; no lock is held between the calls.
 *
 * Calls reject with the errors of `transaction`; after `commit`, `cancel` or the expiry with ClosedError. What changes the
 * stage is a ConflictError where it was changed elsewhere since this object has seen it, and a TransactionError inside a
 * transaction of the store.
 */
export interface Stage<S> {
  /** What it was opened by. */
  readonly id: string
  /**
   * Counts the changes that this object has seen of the stages of this id: a new one counts on where the last one ended. 0
   * where there was none in the last 7 days.
   */
  readonly at: number
  /**
   * Edits the present state with the edits so far on top: whatever `run` changes, by the methods of the store or its tables, is
   * one edit. It is checked like any other (unique keys, schemas), and then undone in the store. What is kept is its result: `$inc`
   * keeps the value that the user saw. An edit behind an `undo` drops what could be done again.
   * @returns the value of `run`
   */
  edit<T>(run: (tx: S) => T): Promise<Awaited<T>>
  /**
   * Looks at the present state with the edits on top; where both have changed the same, the edits are shown.
   * @throws TransactionError for a write inside
   */
  view<T>(run: (tx: S) => T): Promise<Awaited<T>>
  /** Takes back the last edits. @returns how many */
  undo(count?: number): Promise<number>
  /** Brings back what was undone. @returns how many edits */
  redo(count?: number): Promise<number>
  /** All edits, also those that were undone. */
  edits(): Promise<StagedEdit[]>
  /**
   * What others have changed meanwhile that was changed here, too.
   * @throws TransactionError inside `edit`, `view` or `validate` of the stage
   */
  check(): Promise<StageConflict[]>
  /**
   * Makes the edits in the store, in one transaction, merged with what others have changed; without a stage it does nothing.
   * @throws ConflictError with `conflicts` if others have changed the same values and `resolve` does not say what to take; what
   * `validate` throws; SchemaError; the errors of the store, for a unique key, say. The stage stays open then. An error
   * after which the edits turn out to be in the store is a warning. Where that cannot be found out it rejects with the
   * error, and the next look at the stage tells
   */
  commit(options?: StageCommitOptions<S>): Promise<void>
  /** Drops the edits. @param reason is counted by `stages.stats` */
  cancel(reason?: string): Promise<void>
}

const OPTION_NAMES: OptionNames = optionNames<StageOptions>({ owner: true, expiresMs: true, at: true })
const COMMIT_NAMES: OptionNames = optionNames<StageCommitOptions<unknown>>({ resolve: true, validate: true })

const EXPIRES_MS = 24 * 60 * 60_000

/** A stage of a store. The methods that its adapter declares are added. */
class StoreStage<S> implements Stage<S> {
  readonly id: string
  readonly #stages: Stages<S>
  readonly #options: StageOptions
  #seen: Pick<Head, '_id' | 'session' | 'at'>

  constructor(stages: Stages<S>, options: StageOptions, seen: Pick<Head, '_id' | 'session' | 'at'>) {
    this.id = seen.session
    this.#stages = stages
    this.#options = options
    this.#seen = seen
    const { edits, looks, cursors = {} } = stages.staging
    const own = this as unknown as Record<string, unknown>
    for (const [name, verb] of Object.entries(edits))
      own[name] = (...args: never[]) => this.edit((tx) => verb(tx, ...args))
    for (const [name, verb] of Object.entries(looks))
      own[name] = (...args: never[]) => this.view((tx) => verb(tx, ...args))
    for (const [name, verb] of Object.entries(cursors)) {
      own[name] = (...args: never[]) =>
        new LateCursor((prepare) =>
          this.view((tx) => {
            const cursor = verb(tx, ...args)
            prepare(cursor)
            // As a promise: it is to be asked inside of the view.
            return cursor.then((found) => found)
          }),
        )
    }
  }

  get at(): number {
    return this.#seen.at
  }

  async edit<T>(run: (tx: S) => T): Promise<Awaited<T>> {
    requireFunction(run, 'edit(run): run')
    const stages = this.#stages
    // A commit of it that a crash has left half done comes first.
    await this.#settled('edit')
    const { subject, transactions } = stages
    return transactions.rollbackAfter(async (tx) => {
      const { edits } = await this.#load(tx)
      const present = await subject.apply(tx, edits)
      let value: Awaited<T> | undefined
      let ids: readonly (string | number)[] = []
      const after = await transactions.rollbackAfter(async (inner) => {
        ids = await subject.changed(inner, async () => {
          value = await this.#inside(() => run(inner))
        })
        return subject.read(inner, ids)
      })
      const before = await subject.read(tx, ids)
      const edit = editOf(edits, before, after, present)
      const paths = edit.changes.map(({ path }) => path)
      const names = new Set([before, after].flatMap((root) => tablesOf(paths, root)))
      const tables = [...names].filter((name) => stages.isTable(name))
      // Under the lock of the store: no commit of this stage comes in between.
      if (edit.changes.length > 0) {
        await this.#change((records, head) => {
          if (head.edits > head.done) records.dropEdits(head, head.done)
          const done = head.done + 1
          records.putEdit(head._id, done, { ...edit, ...(tables.length > 0 && { tables }) })
          return { ...head, done, edits: done }
        })
      }
      return value as Awaited<T>
    }) as Promise<Awaited<T>>
  }

  async view<T>(run: (tx: S) => T): Promise<Awaited<T>> {
    requireFunction(run, 'view(run): run')
    const { subject, transactions } = this.#stages
    if (this.#isInside) return transactions.view(run)
    const head = await this.#stages.read((records) => this.#ofView(records))
    if (!head || head.done === 0) return transactions.view(run)
    return transactions.rollbackAfter(async (tx) => {
      await subject.apply(tx, await this.#look(tx))
      // A look: what it would write is refused.
      return this.#inside(() => transactions.view(run))
    }) as Promise<Awaited<T>>
  }

  undo(count = 1): Promise<number> {
    return this.#move('undo', count, ({ done }) => -Math.min(done, count))
  }

  redo(count = 1): Promise<number> {
    return this.#move('redo', count, ({ done, edits }) => Math.min(edits - done, count))
  }

  async #move(name: string, count: number, by: (head: Head) => number): Promise<number> {
    requireThat(
      Number.isInteger(count) && count > 0,
      `${name}(count): count must be a whole number from 1 up`,
      count,
    )
    const head = await this.#settled(name)
    const steps = head ? by(head) : 0
    if (steps !== 0) await this.#change((_, now) => ({ ...now, done: now.done + steps }))
    return Math.abs(steps)
  }

  async edits(): Promise<StagedEdit[]> {
    const { decode } = this.#stages.subject.values
    const { done, edits } = await this.#stages.read((records) => {
      const head = this.#ofView(records)
      return { done: head?.done ?? 0, edits: head ? records.edits(head._id, head.edits) : [] }
    })
    return edits.map(({ editedAt, edit }, index) => ({
      editedAt: new Date(editedAt),
      isUndone: index >= done,
      changes: edit.changes.map(({ path, base, mine }) => ({
        ...placeOf(path),
        before: decode(base),
        after: decode(mine),
      })),
    }))
  }

  async check(): Promise<StageConflict[]> {
    const { path, subject, transactions } = this.#stages
    if (this.#isInside)
      throw new TransactionError(
        `check() compares the edits with a state without them: ask it outside of what the stage ${JSON.stringify(this.id)} runs.`,
        { path },
      )
    return transactions.view(async (tx) => {
      const edits = await this.#look(tx as S)
      return mergeInto(await subject.read(tx, idsOf(edits.paths)), edits, subject.values).conflicts
    }) as Promise<StageConflict[]>
  }

  async commit(options: StageCommitOptions<S> = {}): Promise<void> {
    requireKnown(options, COMMIT_NAMES)
    const { resolve, validate } = options
    if (resolve !== undefined) requireFunction(resolve, 'resolve')
    if (validate !== undefined) requireFunction(validate, 'validate')
    const stages = this.#stages
    if (!(await this.#settled('commit'))) return
    let isBegun = false
    try {
      await stages.transactions.transaction(async (tx) => {
        const { edits } = await this.#load(tx)
        const { conflicts } = await stages.subject.apply(tx, edits, resolve && resolvedBy(resolve))
        if (conflicts.length > 0) throw this.#conflict(conflicts)
        await stages.requireSchemas(tx, edits)
        await this.#inside(() => validate?.(tx))
        // The last steps before the transaction is written: until here there is nothing to find out after a crash.
        isBegun = true
        await this.#change((_, head) => ({ ...head, isCommitting: true }))
        await stages.mark(tx, this.#seen._id)
      })
    } catch (error) {
      // It may be written though the answer was lost. Where this fails, too, the next look at the stage does it.
      const isDone = isBegun && (await stages.settle(this.#seen._id).catch(() => false))
      if (!isDone) throw error
      warnOfLateSettling(stages.path, 'is', error)
      return
    }
    await stages.settle(this.#seen._id).catch((error) => warnOfLateSettling(stages.path, 'is', error))
  }

  #conflict(conflicts: readonly StageConflict[]): ConflictError {
    const { path } = this.#stages
    const names = conflicts.slice(0, 5).map(({ id, path }) => [id, path].filter(Boolean).join(' '))
    const more = conflicts.length > names.length ? `, and ${conflicts.length - names.length} more` : ''
    return new ConflictError(
      `the stage ${JSON.stringify(this.id)} of ${path} was not committed, since others have changed the same: ` +
        `${names.join(', ')}${more}. Nothing was written, and the stage is open: commit({ resolve }) says what to take.`,
      { path, conflicts },
    )
  }

  async cancel(reason?: string): Promise<void> {
    requireThat(
      reason === undefined || typeof reason === 'string',
      'cancel(reason): reason must be a text',
      reason,
    )
    if (!(await this.#settled('cancel'))) return
    await this.#stages.write((records) => {
      const head = this.#stages.requireIdle(records, this.#seen)
      if (head) this.#stages.end(records, head, 'cancelled', { reason })
    })
  }

  /** Runs the user's code on a state that has the edits. */
  async #inside<T>(run: () => T): Promise<Awaited<T>> {
    const hold = { applied: this.#seen._id }
    try {
      return await shared.context.run({ hold, outer: shared.context.get() }, hold, run)
    } finally {
      shared.context.leave(hold)
    }
  }

  get #isInside(): boolean {
    // What was started there and looks later sees a state without them.
    if (!this.#stages.isInside) return false
    for (let frame = shared.context.get(); frame; frame = frame.outer)
      if ((frame.hold as { applied?: string }).applied === this.#seen._id) return true
    return false
  }

  /** In a transaction: the stage, and what its edits come to. */
  async #load(tx: S): Promise<{ readonly edits: Edits }> {
    const stages = this.#stages
    if (await stages.isMarked(tx, this.#seen._id)) throw stages.ended(this.id, 'committed')
    return stages.read((records) => ({ edits: inEffect(records, stages.require(records, this.#seen)) }))
  }

  /**
   * In a transaction or a view: what its edits come to now. The stage is read after the store: a commit whose edits are not
   * there yet has taken nothing from it, and of one whose edits are there the mark tells, until the stage says so itself.
   * @throws ClosedError
   */
  async #look(tx: S): Promise<Edits> {
    const stages = this.#stages
    const { head, edits } = await stages.read((records) => {
      const head = this.#ofView(records)
      return { head, edits: inEffect(records, head) }
    })
    if (head && (await stages.isMarked(tx, head._id))) throw stages.ended(this.id, 'committed')
    return edits
  }

  /** The stage as it is, which need not be as this object has seen it. @throws ClosedError */
  #ofView(records: StageRecords): Head | undefined {
    const { _id, session, at } = this.#seen
    const head = records.head(_id) ?? records.lastOf(session)
    if (head && head._id !== _id && head.state !== 'open' && head.at === at) return undefined
    return this.#stages.require(
      records,
      head?.state === 'open' ? { _id: head._id, session, at: head.at } : this.#seen,
    )
  }

  /** The stage, with no commit of it that a crash has left half done; undefined where there is none. */
  async #settled(operation: string): Promise<Head | undefined> {
    const stages = this.#stages
    stages.requireOutside(operation)
    const look = () => stages.read((records) => stages.require(records, this.#seen))
    const head = await look()
    if (!head?.isCommitting) return head
    await stages.settle(head._id)
    return look()
  }

  async #change(change: (records: StageRecords, head: Head) => Head): Promise<void> {
    const { owner, expiresMs } = this.#options
    this.#seen = await this.#stages.change(this.#seen, (records, head = this.#newHead()) => ({
      ...change(records, head),
      at: head.at + 1,
      changedAt: Date.now(),
      ...(owner !== undefined && { owner }),
      ...(expiresMs !== undefined && { expiresMs }),
    }))
  }

  #newHead(): Head {
    const { _id, session, at } = this.#seen
    const now = Date.now()
    return {
      _id,
      session,
      state: 'open',
      at,
      done: 0,
      edits: 0,
      begunAt: now,
      changedAt: now,
      expiresMs: EXPIRES_MS,
    }
  }
}

/** What the edits of a stage come to, but for those that were undone. */
function inEffect(records: StageRecords, head: Head | undefined): Edits {
  return new Edits(head ? records.edits(head._id, head.done).map(({ edit }) => edit) : [])
}

const RESOLUTIONS = ['mine', 'theirs'] as const

/** @throws TypeError for an answer that is none */
function resolvedBy(resolve: Resolve): Resolve {
  return (conflict) => {
    const resolution = resolve(conflict)
    const isValue = typeof resolution === 'object' && resolution !== null && 'value' in resolution
    if (resolution !== undefined && !isValue)
      requireOneOf(resolution, 'what resolve(conflict) returns', RESOLUTIONS)
    return resolution
  }
}

/** Opens the stage of this id: the one that is open, or a new one, of which nothing is written before its first edit. */
export async function openStage<S>(
  stages: Stages<S>,
  id: string,
  options: StageOptions = {},
): Promise<Stage<S>> {
  requireThat(typeof id === 'string' && id !== '', 'stage(id): id must be a non-empty text', id)
  requireKnown(options, OPTION_NAMES)
  const { owner, expiresMs, at } = options
  requireThat(owner === undefined || typeof owner === 'string', 'owner must be a text', owner)
  requireThat(
    expiresMs === undefined || (Number.isFinite(expiresMs) && expiresMs > 0),
    'expiresMs must be a number of milliseconds above 0',
    expiresMs,
  )
  requireThat(
    at === undefined || (Number.isInteger(at) && at >= 0),
    'at must be a whole number from 0 up',
    at,
  )
  stages.requireOutside('stage')
  await stages.sweep(false)
  const last = () => stages.read((records) => records.lastOf(id))
  let head = await last()
  if (head?.isCommitting) {
    await stages.settle(head._id)
    // It may have been over meanwhile.
    await stages.sweep(false)
    head = await last()
  }
  const isOpen = head?.state === ('open' satisfies StageState)
  const seen =
    isOpen && head
      ? { _id: head._id, session: id, at: at ?? head.at }
      : { _id: newStageId(), session: id, at: at ?? head?.at ?? 0 }
  return new StoreStage(stages, options, seen)
}
