import { CorruptStoreError } from '../../errors.ts'
import type { LineCoder, LogMemory } from '../../store/adapter.ts'
import type { Connection, Query, Row } from '../server/connection.ts'
import { IS_DURABLE } from '../server/schema.ts'
import type { Address } from '../server/url.ts'
import type { Changes } from './changes.ts'

/** So many lines are given to memory at once while a store is loaded. */
const LOADED_AT_ONCE = 1000

const HEAD = `select null, pg_current_snapshot()::text, s.fence::text, s.floor::text, i.id::text,
    ${IS_DURABLE}::text
  from pslock.store s left join pslock.incarnation i on true where s.id =`

/**
 * What was committed since the caller last looked: a head, and records, in one statement and so of one snapshot. After a database was
 * restored the number may be that of another store, but not the name.
 */
const LOOK = `${HEAD} $1 and s.name = $4
  union all
  select key, seq::text, gone::text, line, null, null from pslock.doc where store = $1 and seq >= $2
  union all
  select key, seq::text, gone::text, line, null, null from pslock.doc where store = $1 and seq = any($3)`

/** Everything. The number of the store is written out: how many of the rows are its own decides how they are found. */
const loadOf = (id: number) => `${HEAD} ${id} and s.name = $1
  union all
  select key, seq::text, 'false', line, null, null from pslock.doc where store = ${id} and not gone`

/** Which transactions were over at a moment: those below \`next\`, but for the ones that were \`open\`. As numbers of the server. */
interface Moment {
  readonly next: number
  readonly open: readonly number[]
}

/** Before everything. */
const NEVER: Moment = { next: 0, open: [] }

/** What a look has found. */
export interface News {
  /** When that was. */
  readonly moment: Moment
  /** How often an index was changed, or everything replaced. */
  readonly fence: number
  /** What was removed by transactions up to here is not told any more. */
  readonly floor: number
  /** Changes when the server may have lost its last commits; null: it is to be named anew. */
  readonly incarnation: string | null
  /** Whether all of it survives a crash of the server. */
  readonly isDurable: boolean
  /** Key, number of the transaction, whether it is gone, line. */
  readonly records: readonly Row[]
}

/** The keys of what is kept beside the records. */
export const NOTE = '$$note '

/** What a process knows of a store's records: their memory in the store itself, and here the number of each. */
export class Rows {
  readonly #address: Address
  readonly #memory: LogMemory
  /** The number of the store in the database. */
  readonly #id: number
  /** By key, the transaction that wrote it last. What is not here does not exist. */
  readonly #versions = new Map<string, number>()
  /** What is kept beside the records, by its name. */
  readonly notes: Map<string, string> = new Map()
  /** All that was over then is in memory. */
  #known: Moment = NEVER
  fence = 0
  incarnation: string | undefined
  /** Memory may be something else: everything is read at the next look. */
  mustReload = true

  constructor(address: Address, id: number, memory: LogMemory) {
    this.#address = address
    this.#id = id
    this.#memory = memory
  }

  /** The transaction that this process knows to have written a record last; 0 where there is no such record. */
  versionOf(key: string): number {
    return this.#versions.get(key) ?? 0
  }

  /** How many records there are. */
  get size(): number {
    return this.#versions.size
  }

  get look(): Query {
    const { next, open } = this.#known
    return { name: 'pslock.look', text: LOOK, values: [this.#id, next, open, this.#address.name] }
  }

  /** @throws CorruptStoreError where there is no such store any more */
  newsOf(rows: Row[]): News {
    // The one without a key; it comes first, which is not promised.
    const at = rows[0]?.[0] === null ? 0 : rows.findIndex(([key]) => key === null)
    const head = rows[at]
    if (!head) throw storeGone(this.#address)
    const [, snapshot, fence, floor, incarnation = null, isDurable] = head
    return {
      moment: momentOf(snapshot as string),
      fence: Number(fence),
      floor: Number(floor),
      incarnation,
      isDurable: isDurable === 'true',
      records: rows.length === 1 ? [] : rows.filter((row, index) => index !== at && !this.#knows(row)),
    }
  }

  /** What this process has written itself comes with its next look, too. */
  #knows([key, version, isGone]: Row): boolean {
    return this.versionOf(key as string) === (isGone === 'true' ? 0 : Number(version))
  }

  /** Whether memory is what the store has. */
  isFresh(news: News): boolean {
    return this.#isContinued(news) && news.records.length === 0
  }

  #isContinued({ incarnation, floor, moment }: News): boolean {
    if (this.mustReload || incarnation !== this.incarnation) return false
    // The numbers of transactions go back where an older copy of the server's data was put in its place.
    return moment.next >= this.#known.next && !isOverSince(this.#known, moment, floor)
  }

  /**
   * Brings memory up to date.
   * @param connection to read everything by, where that must be
   * @param incarnate names the incarnation of the server, after a crash
   * @throws CorruptStoreError
   */
  async take(news: News, connection: Connection, incarnate: () => Promise<string>): Promise<void> {
    if (!this.#isContinued(news)) return this.#load(connection, incarnate)
    const { records } = news
    if (records.length > 0) {
      this.mustReload = true
      this.#require(this.#memory.apply(await this.#linesOf(this.#takeNotes(records)), false))
      for (const [key, version, isGone] of records)
        this.#number(key as string, Number(version), isGone === 'true')
      this.mustReload = false
    }
    this.#known = news.moment
    this.fence = news.fence
  }

  /**
   * What this process has written itself.
   * @param version the number of the transaction
   * @param isAlone it had the lock alone, and has looked under it: so all before is known
   */
  wrote(version: number, changes: readonly Changes[], isAlone: boolean): void {
    for (const { keys, gone, isFence } of changes) {
      for (const [index, key] of keys.entries()) this.#number(key, version, gone[index] as boolean)
      if (isFence) this.fence++
    }
    if (isAlone) this.#known = { next: version + 1, open: [] }
  }

  /** This process removes everything, in the commit that comes next. */
  clear(): void {
    this.#versions.clear()
    this.fence++
  }

  async #load(connection: Connection, incarnate: () => Promise<string>): Promise<void> {
    this.mustReload = true
    const [, rows] = await Promise.all([
      connection.query({ text: 'set enable_seqscan = on' }),
      connection.query({ text: loadOf(this.#id), values: [this.#address.name] }),
      connection.query({ text: 'set enable_seqscan = off' }),
    ])
    // What is known by now is of no use.
    this.#versions.clear()
    const { incarnation, moment, fence, records: all } = this.newsOf(rows)
    if (incarnation === null) {
      // Then once more: what was read before it has a name may be gone with another crash.
      await incarnate()
      return this.#load(connection, incarnate)
    }
    this.notes.clear()
    const records = this.#takeNotes(all)
    const loading = this.#memory.load?.()
    if (!loading) this.#memory.apply([], true)
    for (let at = 0; at < records.length; at += LOADED_AT_ONCE) {
      const lines = await this.#linesOf(records.slice(at, at + LOADED_AT_ONCE))
      this.#require(loading ? loading.add(lines) : this.#memory.apply(lines, false))
    }
    await loading?.finish()
    for (const [key, version] of all) this.#versions.set(key as string, Number(version))
    this.#known = moment
    this.fence = fence
    this.incarnation = incarnation
    this.mustReload = false
  }

  /** @returns the others */
  #takeNotes(records: readonly Row[]): readonly Row[] {
    const notes = records.filter(([key]) => key?.startsWith(NOTE))
    for (const [key, , , text] of notes) this.notes.set((key as string).slice(NOTE.length), text as string)
    return notes.length === 0 ? records : records.filter(([key]) => !key?.startsWith(NOTE))
  }

  #number(key: string, version: number, isGone: boolean): void {
    if (isGone) this.#versions.delete(key)
    else this.#versions.set(key, version)
  }

  #linesOf(records: readonly Row[]): string[] | Promise<string[]> {
    const lines = records.map((record) => record[3] as string)
    const { coder } = this.#memory
    return coder ? decoded(lines, coder) : lines
  }

  #require(bad: readonly string[]): void {
    if (bad.length === 0) return
    throw new CorruptStoreError(
      `${bad.length} rows of ${this.#address.shown} are no records of the store, the first begins with ` +
        `${JSON.stringify(bad[0]?.slice(0, 60))}. They were written by something else: mend or delete them in pslock.doc.`,
      { path: this.#address.shown },
    )
  }
}

/** @param snapshot as the server writes it: the first that is open, the next one, and all that are open */
function momentOf(snapshot: string): Moment {
  const [, next, open] = snapshot.split(':')
  return { next: Number(next), open: open ? open.split(',').map(Number) : [] }
}

/** Whether any transaction up to a number was over at a moment, but not at one before. */
function isOverSince(before: Moment, { open }: Moment, upTo: number): boolean {
  if (before.next <= upTo) return true
  return before.open.some((number) => number <= upTo && !open.includes(number))
}

async function decoded(lines: readonly string[], coder: LineCoder): Promise<string[]> {
  const all: string[] = []
  for (const line of lines) all.push(await coder.decode(line))
  return all
}

/** The store was open, and its row is gone: it is never made anew in silence. */
export function storeGone({ shown, name }: Address): CorruptStoreError {
  return new CorruptStoreError(
    `${shown} is gone: its row in pslock.store was removed while it was open here, or the server lost it in a failover. ` +
      `Nothing was changed. Restore it, or open ${JSON.stringify(name)} anew in a new process, which makes an empty store.`,
    { path: shown },
  )
}
