import { CorruptStoreError, type LockMode, StaleWriteError } from '../../errors.ts'
import { requireFunction } from '../../lock/options.ts'
import type { PsLock } from '../../lock/ps-lock.ts'
import { isReadOnlyFolder } from '../../os/lock-file.ts'
import { storeFailure } from '../../os/replace.ts'
import type { TreeFormat, TreeMemory, TreeSession } from '../adapter.ts'
import { ImageFile, type ImageNews } from '../image/image-file.ts'
import { type Commit, OperationQueue, type Pass } from '../operation-queue.ts'
import type { OpenOptions } from '../options.ts'
import { untilUnsplit } from '../patience.ts'
import { cloneTree, type Tree } from './json-tree.ts'
import { merge } from './merge.ts'
import { patch } from './patch.ts'

/** A state of the store, and its text. Later ones have higher numbers. */
interface State {
  /** Left out where it would be memory's own, live tree. */
  readonly tree: Tree | undefined
  readonly text: string
  readonly number: number
}

/**
 * A store whose memory is one JSON tree that its users edit directly (`db.data`), and whose file is that tree.
 *
 * Two things can differ from what both started from, `base`: the tree in memory, by edits that are not written yet, and
 * the file, by other processes. Every operation first folds the two together (tree/merge.ts) or refuses with
 * `StaleWriteError`, works on a copy, and after the write, in one synchronous step, patches the live tree in place.
 */
export class TreeStore implements TreeSession, Pass {
  readonly #path: string
  readonly #queue: OperationQueue
  readonly #lock: PsLock
  readonly #timeoutMs: number
  readonly #file: ImageFile
  readonly #memory: TreeMemory
  readonly #format: TreeFormat
  readonly #defaults: Tree
  /** The text of memory when it was last made equal to a state: memory that reads differently has unsaved edits. */
  #base: string
  /** The number of the state that `#base` is of. */
  #baseNumber = 0
  /** What the file holds, or will hold when this pass is written. */
  #truth: State
  /** What the file holds. */
  #saved: State
  #staged = false
  #discardEdits = false
  #baseBefore: { readonly text: string; readonly number: number } | undefined

  constructor(path: string, options: OpenOptions, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.#lock = options.lock
    this.#timeoutMs = options.timeoutMs
    this.#file = new ImageFile(path, options.durability === 'disk')
    this.#memory = memory
    this.#format = format
    this.#defaults = cloneTree(memory.get())
    this.#base = this.#text(memory.get())
    this.#saved = { tree: this.#defaults, text: this.#base, number: 0 }
    this.#truth = this.#saved
    this.#queue = new OperationQueue(options.lock, this)
  }

  read(): Promise<void> {
    return this.#queue.push('shared', () => {
      this.#discardEdits = true
    })
  }

  write(): Promise<void> {
    return this.#queue.push('exclusive', () => this.#stage(this.#fold()))
  }

  update<T>(edit: (tree: Tree) => T): Promise<void> {
    requireFunction(edit, 'update(fn): fn')
    return this.#queue.push('exclusive', async () => {
      const draft = cloneTree(this.#fold())
      await edit(draft)
      this.#stage(draft)
    })
  }

  readSync(): void {
    const read = () => {
      this.#begin()
      this.#lookSync('shared')
      this.#discardEdits = true
      this.#becomeTruth()
    }
    try {
      this.#lock.sharedSync(read)
    } catch (error) {
      if (!isReadOnlyFolder(error)) throw error
      read()
    }
  }

  writeSync(): void {
    this.#lock.exclusiveSync(() => this.#saveSync(this.#fold.bind(this)))
  }

  updateSync(edit: (tree: Tree) => unknown): void {
    requireFunction(edit, 'update(fn): fn')
    this.#lock.exclusiveSync(() =>
      this.#saveSync(() => {
        const draft = cloneTree(this.#fold())
        if (edit(draft) instanceof Promise) {
          throw new TypeError(
            'update(fn): fn must not return a promise here, since the lock ends when it returns',
          )
        }
        return draft
      }),
    )
  }

  async close(): Promise<void> {
    await this.#queue.idle()
    this.#file.close()
  }

  // --- Pass ---

  async catchUp(mode: LockMode): Promise<void> {
    this.#begin()
    try {
      const news = await untilUnsplit(this.#timeoutMs, () => this.#file.news(mode))
      if (news.kind === 'none') return
      if (news.kind === 'missing' || this.#format.io) this.#take(news, await this.#format.io?.read())
      else this.#takeText(await this.#file.read(news.size))
    } catch (error) {
      this.#file.forget()
      throw this.#failure('read', error)
    }
  }

  async run(operation: () => unknown): Promise<unknown> {
    const base = this.#base
    try {
      return await operation()
    } catch (error) {
      // The edits that it had folded in are unsaved as before.
      this.#base = base
      throw error
    }
  }

  async commit(): Promise<Commit> {
    try {
      if (this.#staged) {
        if (this.#format.io) {
          await this.#format.io.write(this.#truthTree())
          this.#file.wrote()
        } else await this.#file.replace(this.#truth.text)
      }
      this.#becomeTruth()
      return { committed: Number.POSITIVE_INFINITY }
    } catch (error) {
      this.#rollBack()
      return { committed: 0, error: this.#failure('write', error) }
    }
  }

  end(): void {
    this.#file.unlockData()
  }

  #begin(): void {
    this.#staged = false
    this.#discardEdits = false
    this.#baseBefore = { text: this.#base, number: this.#baseNumber }
  }

  /** The present state with the unsaved edits folded in. Memory's own tree where nothing else has changed. */
  #fold(): Tree {
    const mine = this.#memory.get()
    const text = this.#text(mine)
    const edited = text !== this.#base
    if (this.#baseNumber === this.#truth.number) {
      this.#base = text
      return mine
    }
    if (!edited) return this.#truthTree()
    const base: Tree = JSON.parse(this.#base)
    const theirs: Tree = JSON.parse(this.#truth.text)
    const merged = merge(base, JSON.parse(text), theirs)
    if (!('merged' in merged)) throw this.#stale(merged.conflicts, base, JSON.parse(text), theirs)
    this.#base = text
    return merged.merged
  }

  /** This tree is what the file shall hold. Memory's edits are in it. */
  #stage(tree: Tree): void {
    const text = this.#text(tree)
    const unchanged = text === this.#truth.text
    const own = tree === this.#memory.get() ? undefined : tree
    this.#truth = { tree: own, text, number: unchanged ? this.#truth.number : this.#truth.number + 1 }
    this.#staged ||= !unchanged || this.#file.isMissing
  }

  #truthTree(): Tree {
    return this.#truth.tree ?? JSON.parse(this.#truth.text)
  }

  /** Memory becomes what the file holds now, in one step; edits made while we wrote stay as unsaved edits. */
  #becomeTruth(): void {
    this.#saved = this.#truth
    // A read of a file that never was keeps the default data, and the edits made to it.
    if (this.#truth.number === 0) this.#discardEdits = false
    if (this.#baseNumber === this.#truth.number && !this.#discardEdits) return
    const mine = this.#memory.get()
    const text = this.#text(mine)
    let next = this.#truthTree()
    if (!this.#discardEdits && text !== this.#base) {
      const merged = merge(JSON.parse(this.#base), JSON.parse(text), JSON.parse(this.#truth.text))
      // It cannot be folded: memory keeps the edits, and the next operation says so.
      if (!('merged' in merged)) return
      next = merged.merged
    }
    this.#memory.set(patch(mine, next))
    const patched = this.#text(this.#memory.get())
    this.#base = this.#discardEdits || text === this.#base ? patched : this.#truth.text
    this.#baseNumber = this.#truth.number
  }

  #rollBack(): void {
    this.#truth = this.#saved
    if (!this.#baseBefore) return
    this.#base = this.#baseBefore.text
    this.#baseNumber = this.#baseBefore.number
  }

  #saveSync(make: () => Tree): void {
    this.#begin()
    try {
      this.#lookSync('exclusive')
      this.#stage(make())
      if (this.#staged) {
        if (this.#format.io) {
          this.#format.io.write(this.#truthTree())
          this.#file.wrote()
        } else this.#file.replaceSync(this.#truth.text)
      }
      this.#becomeTruth()
    } catch (error) {
      this.#rollBack()
      throw error
    } finally {
      this.#file.unlockData()
    }
  }

  #lookSync(mode: LockMode): void {
    try {
      const news = this.#file.news(mode)
      if (news.kind === 'none') return
      if (news.kind === 'missing' || this.#format.io) this.#take(news, this.#format.io?.read())
      else this.#takeText(this.#file.readSync(news.size))
    } catch (error) {
      this.#file.forget()
      throw this.#failure('read', error)
    }
  }

  #takeText(text: string): void {
    if (text.trim() === '') {
      throw new CorruptStoreError(`${this.#path} is empty. Remove it to start from the default data.`, {
        path: this.#path,
      })
    }
    this.#newTruth(this.#parse(text))
  }

  /** No file is an empty store; a foreign adapter reads it in its own way. */
  #take(news: ImageNews, tree: Tree): void {
    this.#newTruth(news.kind === 'missing' || tree === null ? cloneTree(this.#defaults) : tree)
  }

  #newTruth(tree: Tree): void {
    const text = this.#text(tree)
    if (text === this.#saved.text) return
    this.#saved = { tree, text, number: this.#saved.number + 1 }
    this.#truth = this.#saved
  }

  #parse(text: string): Tree {
    try {
      return this.#format.parse(text)
    } catch (cause) {
      throw new CorruptStoreError(
        `${this.#path} is not valid ${this.#format.name}: ${(cause as Error).message}. It was left as it is; mend or remove it.`,
        { path: this.#path, cause },
      )
    }
  }

  #text(tree: Tree): string {
    const text = this.#format.stringify(tree) as string | undefined
    if (typeof text === 'string') return text
    throw new TypeError(
      `the data of ${this.#path} cannot be written as ${this.#format.name}: got ${String(tree)}`,
    )
  }

  #failure(operation: string, error: unknown): unknown {
    return error instanceof TypeError ? error : storeFailure(this.#path, operation, error)
  }

  #stale(paths: readonly string[], base: Tree, mine: Tree, theirs: Tree): StaleWriteError {
    return new StaleWriteError(
      `${this.#path} and the unsaved edits in memory were both changed at ${paths.join(', ')}. Nothing was written and ` +
        'nothing is lost: call read() to take what is in the file, and use update() for edits that depend on it.',
      { path: this.#path, paths, base, mine, theirs },
    )
  }
}
