import { statSync } from 'node:fs'
import { CorruptStoreError, orUndefined } from '../../errors.ts'
import type { LogMemory, LogSession, RecordLine } from '../../store/adapter.ts'
import { isObject } from '../../store/json/values.ts'
import type { Edit } from './edits.ts'

export const STATES = ['open', 'committed', 'cancelled', 'expired'] as const

/** How a stage is, or how it has ended. */
export type StageState = (typeof STATES)[number]

/** What is kept of a stage, besides its edits. Times are those of `Date.now()`. */
export interface Head {
  readonly _id: string
  readonly session: string
  readonly state: StageState
  /** One more after each change of the stage. */
  readonly at: number
  /** How many of its edits are in effect, and how many there are. */
  readonly done: number
  readonly edits: number
  readonly owner?: string | undefined
  readonly reason?: string | undefined
  readonly begunAt: number
  readonly changedAt: number
  readonly expiresMs: number
  readonly endedAt?: number | undefined
  /** Its edits are about to be in the store: whether they are, the mark there says. */
  readonly isCommitting?: true | undefined
  /** It was committed, and its mark may still be in the store. */
  readonly isMarked?: true | undefined
}

/** An edit of a stage. */
export interface EditRecord {
  readonly _id: string
  readonly editedAt: number
  /** An `Edit` as JSON: in the form of a text NeDB takes fields of any name. */
  readonly edit: string
}

type StageRecord = Head | EditRecord

/** NeDB's own reader ends a line at each of these; escaped they are the same JSON. */
const LINE_BREAKS = /[\u0085\u2028\u2029]/g

function lineOf(record: object): string {
  return JSON.stringify(record).replace(
    LINE_BREAKS,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function recordIn(line: string): (StageRecord & { readonly $$deleted?: true }) | undefined {
  const record: unknown = orUndefined(() => JSON.parse(line))
  return isObject(record) && typeof record._id === 'string' ? (record as unknown as StageRecord) : undefined
}

function editId(stage: string, number: number): string {
  return `${stage}/${number}`
}

/**
 * The stages of a store: a log in the format of NeDB, with one small record for each stage and one for each of its edits, so
 * that an edit writes only itself. This is what is in memory of it.
 */
export class StageRecords implements LogMemory {
  readonly #session: LogSession
  readonly #dataPath: string
  /** Of each record, as it is in the file. */
  readonly #lines = new Map<string, string>()
  readonly #heads = new Map<string, Head>()
  /** The stages of each session. */
  readonly #sessions = new Map<string, Set<string>>()
  #bytes = 0

  /** @param dataPath the store's own file, whose rights are those of the stages, too */
  constructor(session: LogSession, dataPath: string) {
    this.#session = session
    this.#dataPath = dataPath
  }

  get heads(): Iterable<Head> {
    return this.#heads.values()
  }

  head(id: string): Head | undefined {
    return this.#heads.get(id)
  }

  /** The one that is open, or the one that was last. */
  lastOf(session: string): Head | undefined {
    let last: Head | undefined
    for (const id of this.#sessions.get(session) ?? []) {
      const head = this.#heads.get(id) as Head
      if (head.state === 'open') return head
      if (!last || head.at > last.at) last = head
    }
    return last
  }

  /** The edits from the first to this one. */
  edits(stage: string, count: number): { readonly editedAt: number; readonly edit: Edit }[] {
    return Array.from({ length: count }, (_, index) => {
      const line = this.#lines.get(editId(stage, index + 1))
      if (line === undefined) throw this.#lost(stage, index + 1)
      const { editedAt, edit } = JSON.parse(line) as EditRecord
      return { editedAt, edit: JSON.parse(edit) as Edit }
    })
  }

  #lost(stage: string, number: number): CorruptStoreError {
    const path = `${this.#dataPath}.stages`
    const session = JSON.stringify(this.#heads.get(stage)?.session)
    return new CorruptStoreError(
      `edit ${number} of the stage ${session} is missing in ${path}: its line is damaged or gone. Cancel the stage.`,
      { path },
    )
  }

  // --- In an exclusive operation ---

  put(head: Head): void {
    this.#change(head._id, head)
  }

  putEdit(stage: string, number: number, edit: Edit): void {
    const _id = editId(stage, number)
    this.#change(_id, { _id, editedAt: Date.now(), edit: JSON.stringify(edit) })
  }

  /** Takes away the edits behind this one. */
  dropEdits({ _id, edits }: Head, from: number): void {
    for (let number = from + 1; number <= edits; number++) this.#change(editId(_id, number), undefined)
  }

  remove(stage: string): void {
    this.#change(stage, undefined)
  }

  #change(id: string, record: StageRecord | undefined): void {
    const before = this.#lines.get(id)
    if (record === undefined && before === undefined) return
    const line = lineOf(record ?? { $$deleted: true, _id: id })
    this.#session.onUndo(() => this.#take(before ?? lineOf({ $$deleted: true, _id: id })))
    this.#take(line)
    // Without hooks that it would wait for.
    void this.#session.append([line])
  }

  /** @returns whether it is a record */
  #take(line: string): boolean {
    const record = recordIn(line)
    if (!record) return line.includes('"$$')
    const { _id: id } = record
    this.#bytes -= this.#lines.get(id)?.length ?? 0
    const head = this.#heads.get(id)
    this.#lines.delete(id)
    this.#heads.delete(id)
    if (head) this.#leave(head)
    if (record.$$deleted) return true
    this.#bytes += line.length
    this.#lines.set(id, line)
    if ('state' in record) {
      this.#heads.set(id, record)
      const ids = this.#sessions.get(record.session)
      if (ids) ids.add(id)
      else this.#sessions.set(record.session, new Set([id]))
    }
    return true
  }

  #leave({ _id, session }: Head): void {
    const ids = this.#sessions.get(session)
    ids?.delete(_id)
    if (ids?.size === 0) this.#sessions.delete(session)
  }

  // --- LogMemory ---

  get fileMode(): number {
    return (orUndefined(() => statSync(this.#dataPath).mode) ?? 0o644) & 0o666
  }

  corruptThreshold(): number {
    return 0.1
  }

  apply(lines: readonly string[], anew: boolean): readonly string[] {
    if (anew) {
      for (const map of [this.#lines, this.#heads, this.#sessions]) map.clear()
      this.#bytes = 0
    }
    return lines.filter((line) => !this.#take(line))
  }

  lines(): Iterable<string> {
    return this.#lines.values()
  }

  lineCount(): number {
    return this.#lines.size
  }

  liveBytes(): number {
    return this.#bytes
  }

  recordOf(line: string): RecordLine {
    const { _id = '', $$deleted: isGone = false } = recordIn(line) ?? {}
    return { key: _id, isGone, isIndex: false }
  }
}
