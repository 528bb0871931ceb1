import { CorruptStoreError, type LockMode, TransactionError } from '../../errors.ts'
import { type AcquireOptions, requireFunction } from '../../lock/options.ts'
import type { PsLock } from '../../lock/ps-lock.ts'
import { isReadOnlyFolder } from '../../os/lock-file.ts'
import { storeFailure } from '../../os/replace.ts'
import type { TreeFormat, TreeMemory, TreeSession } from '../adapter.ts'
import { ImageFile } from '../image/image-file.ts'
import type { Issued } from '../operation.ts'
import { OperationQueue } from '../operation-queue.ts'
import type { OpenOptions } from '../options.ts'
import type { Commit, Pass } from '../pass.ts'
import { untilUnsplit } from '../patience.ts'
import { readFailure } from '../read-failure.ts'
import type { TransactionOptions } from '../transaction.ts'
import { type Draft, Drafts, inTurn } from './drafts.ts'
import { cloneTree, frozenTree, type Tree } from './json-tree.ts'
import { patch } from './patch.ts'
import { TreeState } from './tree-state.ts'

/**
 * A store whose memory is one JSON tree that its users edit directly (`db.data`), and whose file is that tree. Every
 * operation first folds memory and file together, works on a copy, and after the write, in one synchronous step,
 * patches the live tree in place.
 */
export class TreeStore implements TreeSession, Pass {
  readonly #path: string
  readonly #lock: PsLock
  readonly #timeoutMs: number
  readonly #format: TreeFormat
  readonly #file: ImageFile
  readonly #state: TreeState
  readonly #queue: OperationQueue
  #staged = false
  #discardEdits = false
  #rollBack: () => void = () => {}
  readonly #drafts = new Drafts()
  /** The copy that a blocking edit works on at this moment. */
  #draft: { readonly tree: Tree } | undefined

  constructor(path: string, options: OpenOptions, memory: TreeMemory, format: TreeFormat) {
    this.#path = path
    this.#lock = options.lock
    this.#timeoutMs = options.timeoutMs
    this.#format = format
    this.#file = new ImageFile(path, options.durability === 'disk')
    this.#state = new TreeState(path, memory, format)
    this.#queue = new OperationQueue(options.lock, this)
  }

  read(): Promise<void> {
    // What an edit works on is the present state already.
    if (this.#drafts.enclosing) return Promise.resolve()
    return this.#queue.push('shared', () => {
      this.#discardEdits = true
    })
  }

  write(): Promise<void> {
    const outer = this.#drafts.enclosing
    if (outer) return inTurn(outer, () => this.#state.foldInto(outer.tree))
    return this.#queue.push('exclusive', () => this.#stage(this.#state.fold()))
  }

  update<T>(edit: (tree: Tree) => T): Promise<void> {
    requireFunction(edit, 'update(fn): fn')
    return this.#update((draft) => edit(draft.tree), {})
  }

  async transact<T>(
    run: (memory: TreeMemory) => T,
    { retry, ...options }: TransactionOptions,
  ): Promise<Awaited<T>> {
    let result: Awaited<T> | undefined
    const edit = async (draft: Draft) => {
      result = await run(draft)
    }
    await this.#update(edit, { ...options, kind: retry === undefined ? 'transaction' : 'optimistic' })
    return result as Awaited<T>
  }

  look<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): Promise<Awaited<T>> {
    const read = () => {
      const back = this.#state.mark()
      let tree: Tree
      try {
        tree = frozenTree(cloneTree(this.#state.fold()))
      } finally {
        // Nothing is written: memory's edits stay unsaved edits.
        back()
      }
      const set = () => {
        throw new TransactionError(`nothing can be written inside a view of ${this.#path}`, {
          path: this.#path,
        })
      }
      return run({ get: () => tree, set })
    }
    return this.#queue.push('shared', read, { ...options, kind: 'view' })
  }

  #update(edit: (draft: Draft) => unknown, issued: Issued): Promise<void> {
    const outer = this.#drafts.enclosing
    if (outer) {
      // Called from inside an edit of this very store it is part of that one, and its throw undoes its own part only.
      return inTurn(outer, async () => {
        const copied = cloneTree(outer.tree)
        this.#state.join(outer.tree, copied, await this.#drafts.edit(edit, cloneTree(copied), outer))
      })
    }
    return this.#queue.push(
      'exclusive',
      async () => {
        this.#stage(await this.#drafts.edit(edit, cloneTree(this.#state.fold())))
      },
      issued,
    )
  }

  readSync(): void {
    const read = () => {
      this.#lookSync('shared')
      this.#state.settle(true, this.#file.isMissing)
    }
    try {
      this.#lock.sharedSync(read)
    } catch (error) {
      if (!isReadOnlyFolder(error)) throw error
      read()
    }
  }

  writeSync(): void {
    this.#lock.exclusiveSync(() => {
      if (this.#draft) this.#state.foldInto(this.#draft.tree)
      else this.#saveSync(() => this.#state.fold())
    })
  }

  updateSync(edit: (tree: Tree) => unknown): void {
    requireFunction(edit, 'update(fn): fn')
    this.#lock.exclusiveSync(() => {
      const outer = this.#draft
      if (outer) patch(outer.tree, this.#editSync(edit, cloneTree(outer.tree)))
      else this.#saveSync(() => this.#editSync(edit, cloneTree(this.#state.fold())))
    })
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
      if (news.kind === 'missing') this.#take(null)
      else if (this.#format.io) this.#take(await this.#format.io.read())
      else this.#takeText(await this.#file.read(news.size))
    } catch (error) {
      this.#file.forget()
      throw readFailure(this.#format.name, this.#path, error)
    }
  }

  async run(operation: () => unknown): Promise<unknown> {
    const back = this.#state.mark()
    try {
      return await operation()
    } catch (error) {
      back()
      throw error
    }
  }

  savepoint(operation: () => unknown): Promise<unknown> {
    return this.run(operation)
  }

  isFresh(): boolean {
    return this.#file.news('exclusive').kind === 'none'
  }

  abandon(): void {
    this.#state.unstage()
    this.#rollBack()
    this.#file.forget()
  }

  async commit(): Promise<Commit> {
    try {
      if (this.#staged) {
        if (this.#format.io) {
          await this.#format.io.write(this.#state.truthTree)
          this.#file.wrote()
        } else await this.#file.replace(this.#state.truthText)
      }
      this.#state.settle(this.#discardEdits, this.#file.isMissing)
      return { committed: Number.POSITIVE_INFINITY }
    } catch (error) {
      this.#state.unstage()
      this.#rollBack()
      return { committed: 0, error: this.#failure(error) }
    }
  }

  end(): void {
    this.#file.unlockData()
  }

  #begin(): void {
    this.#staged = false
    this.#discardEdits = false
    this.#rollBack = this.#state.mark()
  }

  #stage(tree: Tree): void {
    const changed = this.#state.stage(tree)
    this.#staged ||= changed || this.#file.isMissing
  }

  #saveSync(make: () => Tree): void {
    this.#begin()
    try {
      this.#lookSync('exclusive')
      this.#stage(make())
      if (this.#staged) {
        if (this.#format.io) {
          this.#format.io.write(this.#state.truthTree)
          this.#file.wrote()
        } else this.#file.replaceSync(this.#state.truthText)
      }
      this.#state.settle(false, this.#file.isMissing)
    } catch (error) {
      this.#state.unstage()
      this.#rollBack()
      throw error
    } finally {
      this.#file.unlockData()
    }
  }

  #editSync(edit: (tree: Tree) => unknown, tree: Tree): Tree {
    const outer = this.#draft
    this.#draft = { tree }
    try {
      if (!(edit(tree) instanceof Promise)) return tree
      throw new TypeError(
        'update(fn): fn must not return a promise here, since the lock ends when it returns',
      )
    } finally {
      this.#draft = outer
    }
  }

  #lookSync(mode: LockMode): void {
    try {
      const news = this.#file.news(mode)
      if (news.kind === 'none') return
      if (news.kind === 'missing') this.#take(null)
      else if (this.#format.io) this.#take(this.#format.io.read())
      else this.#takeText(this.#file.readSync(news.size))
    } catch (error) {
      this.#file.forget()
      throw readFailure(this.#format.name, this.#path, error)
    }
  }

  /** `null`, also from a foreign adapter: there is no file, the store is empty. */
  #take(tree: Tree): void {
    const state = tree === null || tree === undefined ? cloneTree(this.#state.defaults) : tree
    this.#state.arrived(state, this.#state.text(state))
  }

  #takeText(text: string): void {
    const details = { path: this.#path }
    if (text.trim() === '') {
      throw new CorruptStoreError(
        `${this.#path} is empty. Remove it to start from the default data.`,
        details,
      )
    }
    let tree: Tree
    try {
      tree = this.#format.parse(text)
    } catch (cause) {
      throw new CorruptStoreError(
        `${this.#path} is not valid ${this.#format.name}: ${(cause as Error).message}. It was left as it is; mend or remove it.`,
        { ...details, cause },
      )
    }
    this.#state.arrived(tree, text)
  }

  #failure(error: unknown): unknown {
    return error instanceof TypeError ? error : storeFailure(this.#path, 'write', error)
  }
}
