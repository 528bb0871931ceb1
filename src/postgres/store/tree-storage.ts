import { asError, CorruptStoreError, harmless } from '../../errors.ts'
import type { Steps } from '../../os/steps.ts'
import type { TreeFormat } from '../../store/adapter.ts'
import { apply, type Change } from '../../store/json/journal/changes.ts'
import type { Delta, Head, TreeNotes, TreeStorage, Written } from '../../store/json/storage.ts'
import type { Tree } from '../../store/json/values.ts'
import { treeOf } from '../../store/text/text.ts'
import type { OpenServerOptions } from '../server/url.ts'
import type { StoreSession } from './store-session.ts'
import { type Delta as Found, requireStorable, Units } from './units.ts'

/** A tree on a server: its text and, in units, what was changed since that was written. */
export class PgTree implements TreeStorage {
  readonly path: string
  /** It is in no file. */
  readonly file: undefined
  readonly keepsJournal = true
  readonly tookJournal = false
  /** The unmodified library does not look there. */
  readonly endsWithCheckpoint = false
  readonly mustRewrite = false
  readonly lock: StoreSession
  readonly #units: Units
  readonly #format: TreeFormat
  /** Those that the present pass has changed. */
  #notes = new Map<string, string>()

  readonly notes: TreeNotes = {
    get: (name) => this.#notes.get(name) ?? this.#units.notes.get(name),
    set: (name, text) => void this.#notes.set(name, text),
    mark: () => {
      const before = new Map(this.#notes)
      return () => {
        this.#notes = before
      }
    },
  }

  constructor(options: OpenServerOptions, format: TreeFormat) {
    this.#units = new Units(options)
    this.lock = this.#units.session
    this.path = this.#units.path
    this.#format = format
  }

  get isMissing(): boolean {
    return this.#units.isMissing
  }

  get hasJournal(): boolean {
    return this.#units.hasUnits
  }

  get isDurable(): boolean {
    return this.lock.isDurable
  }

  get isSynced(): boolean {
    return this.#units.isSynced
  }

  *refresh(): Steps<Delta> {
    this.#notes = new Map()
    const found: Found = yield this.#units.refresh()
    if (found.kind === 'none') return found
    const changes = found.units.flatMap((unit) => this.#changesIn(unit))
    if (found.kind === 'units') return { kind: 'changes', changes }
    const { text } = found
    const tree: Tree = text === undefined ? undefined : treeOf(text, this.path, this.#format)
    if (changes.length === 0) return { kind: 'tree', tree, text }
    return { kind: 'tree', tree: apply(tree, changes, this.path), text: undefined }
  }

  #changesIn(unit: string): Change[] {
    try {
      return JSON.parse(unit) as Change[]
    } catch (cause) {
      throw new CorruptStoreError(
        `a unit of ${this.path} in pslock.unit is not valid JSON: ${asError(cause).message}. It was written by something else. ` +
          'Nothing was changed; restore a dump of the database.',
        { path: this.path, cause },
      )
    }
  }

  *isFresh(): Steps<boolean> {
    return yield this.#units.isFresh()
  }

  forget(): void {
    this.#units.forget()
  }

  /** All of the changes are one commit. */
  *write(changes: readonly string[], head: Head): Steps<Written> {
    const units = this.#units
    const notes = this.#notes
    const isChange = changes.length > 0
    if (!isChange || this.isMissing) {
      const image = this.#imageOf(head)
      return { done: changes.length, settle: yield units.commit({ image, notes, isChange }) }
    }
    const all = joined(changes)
    const image = units.isOutgrownBy(all.length) ? this.#imageIfPossible(head) : undefined
    return { done: changes.length, settle: yield units.commit({ changes: all, image, notes, isChange }) }
  }

  #imageOf({ text }: Head): string {
    requireStorable(this.path, text)
    return text
  }

  /** What was changed is kept without it, too. */
  #imageIfPossible(head: Head): string | undefined {
    try {
      return this.#imageOf(head)
    } catch (error) {
      this.#units.postponeImage()
      process.emitWarning(
        harmless(`the changes of ${this.path} could not be put into its text: ${String(error)}`),
        { type: 'PsLockWarning', code: 'PSLOCK_CHECKPOINT' },
      )
      return undefined
    }
  }

  *sync(): Steps<void> {
    yield this.#units.sync()
  }

  end(): void {}

  close(): Promise<void> {
    this.forget()
    return this.lock.close()
  }
}

/** Lists in JSON as one. */
function joined(lists: readonly string[]): string {
  if (lists.length === 1) return lists[0] as string
  const elements = lists.map((list) => list.slice(1, -1)).filter((inner) => inner !== '')
  return `[${elements.join(',')}]`
}
