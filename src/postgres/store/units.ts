import { CorruptStoreError } from '../../errors.ts'
import type { Query, Row } from '../server/connection.ts'
import { IS_DURABLE } from '../server/schema.ts'
import type { OpenServerOptions } from '../server/url.ts'
import { NOTE, storeGone } from './rows.ts'
import { type HeldPass, type Pass, READ, StoreSession } from './store-session.ts'

/** The text is written anew when the units since are longer than it is, and than this. */
const SMALLEST_LENGTH = 64 * 1024

/**
 * What somebody does not know who knows all up to $2, of the incarnation $3: in one statement, and so of one moment. First a
 * head, then the text as a whole, where it is needed, units, and notes.
 */
const LOOK = `
  with head as materialized (
    select s.seq, i.id, m.seq as image, octet_length(m.text) as length,
        ${IS_DURABLE} as flushed,
        $2::bigint < s.floor or $2::bigint > s.seq or i.id is distinct from $3::uuid as anew
      from pslock.store s left join pslock.incarnation i on true left join pslock.image m on m.store = s.id
      where s.id = $1::int
  )
  select 'head', seq, id::text, flushed::text, anew::text, image, length from head
  union all
  select 'text', m.seq, m.text, null, null, null, null
    from head, pslock.image m where head.anew and m.store = $1::int
  union all
  select 'unit', u.seq, u.changes, null, null, null, null
    from head, pslock.unit u
    where u.store = $1::int and u.seq > case when head.anew then coalesce(head.image, 0) else $2::bigint end
  union all
  select 'note', d.seq, d.line, d.key, null, null, null
    from head, pslock.doc d where d.store = $1::int and d.seq > case when head.anew then 0 else $2::bigint end`

const PUT = 'select * from pslock.put_text($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)'

/** Nothing is known. */
const NOTHING = -1

/** What is new: units, each of which is the changes of one commit; or all of it. */
export type Delta =
  | { readonly kind: 'none' }
  | { readonly kind: 'units'; readonly units: readonly string[] }
  /** `text` is undefined where there is nothing yet. */
  | { readonly kind: 'whole'; readonly text: string | undefined; readonly units: readonly string[] }

const NONE: Delta = { kind: 'none' }
const NO_NOTES: ReadonlyMap<string, string> = new Map()

/** What a look has found. */
interface News {
  /** The number of the last commit. */
  readonly seq: number
  /** Changes when the server may have lost its last commits; null: it is to be named anew. */
  readonly incarnation: string | null
  /** Whether all of it survives a crash of the server. */
  readonly isDurable: boolean
  /** Whether it is everything, and not only what is new. */
  readonly isWhole: boolean
  /** Of which commit the text is; undefined where there is none. */
  readonly image: number | undefined
  readonly imageLength: number
  readonly text: string | undefined
  readonly units: readonly { readonly seq: number; readonly changes: string }[]
  /** By name. */
  readonly notes: readonly (readonly [name: string, text: string])[]
}

/** What a commit changes: how the text changes, or all of it, or both; neither: it is written with all changes so far. */
interface Written {
  readonly changes?: string
  readonly image?: string | undefined
  /** What is kept beside it, by name. */
  readonly notes?: ReadonlyMap<string, string>
  /** Without it the content stays the same. */
  readonly isChange: boolean
}

/**
 * A text on a server: the text as it was after some commit, and the units of what was changed since. Every process knows up to
 * which commit it has it, and reads what is newer.
 */
export class Units {
  readonly session: StoreSession
  /** What is kept beside the text, by name. */
  readonly notes: Map<string, string> = new Map()
  readonly #options: OpenServerOptions
  #id = 0
  /** All commits up to here are known. */
  #known = NOTHING
  /** Others have written since this process has last looked. */
  #isContended = false
  #incarnation: string | undefined
  #image: number | undefined
  /** How long all units since the image are together. */
  #length = 0
  #mostLength = 0
  #lookedAt = Number.NEGATIVE_INFINITY
  /** Whether what was read could be taken back by a crash of the server. */
  #isUnflushed = false
  #pass: Pass = READ

  constructor(options: OpenServerOptions) {
    this.#options = options
    this.session = new StoreSession(options, {
      opened: (id) => {
        this.#id = id
      },
      restarted: () => this.forget(),
      look: () => this.#look(this.#known),
      isKeyed: () => false,
    })
  }

  get path(): string {
    return this.session.path
  }

  /** Whether there was nothing at the last look. */
  get isMissing(): boolean {
    return this.#known === 0
  }

  /** Whether there are units since the image. */
  get hasUnits(): boolean {
    return this.#length > 0
  }

  get isSynced(): boolean {
    return !this.#isUnflushed
  }

  #look(known: number): Query {
    return { name: 'pslock.look-text', text: LOOK, values: [this.#id, known, this.#incarnation ?? null] }
  }

  /** Everything is read at the next look. */
  forget(): void {
    this.#known = NOTHING
  }

  /**
   * Begins a pass, with what is new.
   * @throws CorruptStoreError, StoreUnavailableError, LockUnsupportedError
   */
  async refresh(): Promise<Delta> {
    const pass = this.session.begin()
    this.#pass = pass
    if (pass.kind !== 'held') return this.#isRecent ? NONE : this.#readNews()
    const delta = await this.#take(newsOf(pass.news))
    return delta ?? this.#readNews()
  }

  /** Whether what was looked up last may still be shown. */
  get #isRecent(): boolean {
    const { staleMs } = this.#options
    return staleMs > 0 && this.#known !== NOTHING && performance.now() - this.#lookedAt < staleMs
  }

  /** Nobody commits meanwhile where the lock is held: then the other connection sees the same. */
  #readNews(): Promise<Delta> {
    return this.session.asking(async (reader) => {
      const since = performance.now()
      let delta = await this.#take(newsOf(await reader.query(this.#look(this.#known))))
      delta ??= await this.#take(newsOf(await reader.query(this.#look(NOTHING))))
      if (!delta) throw this.#damaged('there are gaps in its units')
      this.#lookedAt = since
      return delta
    })
  }

  /** @returns undefined where all of it must be read */
  async #take(news: News | undefined): Promise<Delta | undefined> {
    if (!news) throw storeGone(this.#options.address)
    if (news.incarnation === null) {
      // What was read before it has a name may be gone with another crash.
      await this.session.incarnate()
      return undefined
    }
    const { seq, isWhole, image, text } = news
    const units = isWhole ? news.units : news.units.filter((unit) => unit.seq > this.#known)
    const from = isWhole ? (image ?? 0) : this.#known
    if (!isWhole && (news.incarnation !== this.#incarnation || this.#known === NOTHING)) return undefined
    if (units.some((unit, index) => unit.seq !== from + 1 + index) || seq !== from + units.length)
      return undefined
    if (image === undefined && seq > 0) throw this.#damaged('the text itself is gone')
    this.#incarnation = news.incarnation
    if (isWhole || image !== this.#image) this.#began(image, news.imageLength)
    if (isWhole) this.notes.clear()
    for (const [name, note] of news.notes) this.notes.set(name, note)
    for (const unit of units) if (unit.seq > (image ?? 0)) this.#length += unit.changes.length
    this.#known = seq
    // As for rows: where nothing is new it is as before.
    if (isWhole || units.length > 0) this.#isUnflushed = this.session.isDurable && !news.isDurable
    else if (news.isDurable) this.#isUnflushed = false
    this.#isContended = !isWhole && units.length > 0
    const changes = units.map((unit) => unit.changes)
    if (isWhole) return { kind: 'whole', text, units: changes }
    return units.length === 0 ? NONE : { kind: 'units', units: changes }
  }

  #began(image: number | undefined, length: number): void {
    this.#image = image
    this.#length = 0
    this.#mostLength = Math.max(SMALLEST_LENGTH, length)
  }

  /** Begins a pass to commit what was done without the lock. @returns whether nothing has changed since */
  async isFresh(): Promise<boolean> {
    const pass = this.session.begin()
    this.#pass = pass
    if (pass.kind !== 'held') return false
    const news = newsOf(pass.news)
    return news !== undefined && !news.isWhole && news.seq === this.#known
  }

  /** Whether the units would be longer than the text, with one more of so many characters: then that is written anew. */
  isOutgrownBy(length: number): boolean {
    return this.#length + length > this.#mostLength
  }

  /** It cannot be written anew now: not at once again. */
  postponeImage(): void {
    this.#mostLength = 2 * (this.#length + this.#mostLength)
  }

  /**
   * In a pass that holds the lock, once.
   * @returns what must still happen until it survives a crash of the server
   * @throws StoreUnavailableError, CorruptStoreError
   */
  async commit(written: Written): Promise<(() => Promise<void>) | undefined> {
    const pass = this.#pass
    try {
      if (pass.kind !== 'held') throw new Error(`the lock of ${this.path} is not held`)
      const send = (number: number) => [this.#put(pass, written, number)] as const
      const { settle } = await this.session.commitHeld(pass, this.#isContended, send)
      this.#wrote(written)
      return settle
    } catch (error) {
      throw this.session.failure('write', error)
    }
  }

  async #put({ connection }: HeldPass, written: Written, number: number): Promise<Row> {
    const { changes = null, image = null, notes = NO_NOTES, isChange } = written
    const keys = [...notes.keys()].map((name) => NOTE + name)
    const known = [this.#id, this.#incarnation, this.#known]
    const content = [changes, image, isChange, keys, [...notes.values()]]
    const values = [...known, ...content, this.session.client, number]
    const [row] = await connection.query({ name: 'pslock.put-text', text: PUT, values })
    return row as Row
  }

  /** It is known which number it has, also where the answer was lost: nobody else had the lock. */
  #wrote({ changes, image, notes = NO_NOTES, isChange }: Written): void {
    if (isChange && this.#known !== NOTHING) this.#known++
    for (const [name, note] of notes) this.notes.set(name, note)
    if (image !== undefined) this.#began(this.#known, image.length)
    else this.#length += changes?.length ?? 0
  }

  /** Makes what was read survive a crash of the server. */
  async sync(): Promise<void> {
    const known = this.#known
    await this.session.flush(this.#incarnation)
    if (this.#known === known) this.#isUnflushed = false
  }

  #damaged(what: string): CorruptStoreError {
    return new CorruptStoreError(
      `${this.path} is damaged: ${what}. Rows of it were removed from pslock.image or pslock.unit by something else. ` +
        'Nothing was changed; restore a dump of the database.',
      { path: this.path },
    )
  }
}

/** @returns undefined where there is no such store any more */
function newsOf(rows: readonly Row[]): News | undefined {
  const head = rows.find(([kind]) => kind === 'head')
  if (!head) return undefined
  const [, seq, incarnation = null, isDurable, isWhole, image, imageLength] = head
  const units = rows.flatMap(([kind, number, changes]) =>
    kind === 'unit' ? [{ seq: Number(number), changes: changes as string }] : [],
  )
  return {
    seq: Number(seq),
    incarnation,
    isDurable: isDurable === 'true',
    isWhole: isWhole === 'true',
    image: image === null ? undefined : Number(image),
    imageLength: Number(imageLength ?? 0),
    text: rows.find(([kind]) => kind === 'text')?.[2] ?? undefined,
    units: units.sort((a, b) => a.seq - b.seq),
    notes: rows.flatMap(([kind, , note, key]) =>
      kind === 'note' ? [[(key as string).slice(NOTE.length), note as string] as const] : [],
    ),
  }
}

/**
 * What PostgreSQL keeps no text with, or another: it would be lost.
 * @throws TypeError
 */
export function requireStorable(path: string, text: string): void {
  const at = text.search(/\0|\p{Cs}/u)
  if (at === -1) return
  const what = text[at] === '\0' ? 'the character U+0000' : 'half of a surrogate pair'
  throw new TypeError(
    `the text of ${path} cannot be kept on a server: it has ${what} (at ${at}), which PostgreSQL has no text with. Nothing was changed.`,
  )
}
