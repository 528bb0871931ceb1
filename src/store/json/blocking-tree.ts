import { isThenable } from '../../arguments.ts'
import { type LockMode, TransactionError } from '../../errors.ts'
import type { Call } from '../../features/hooks/hook.ts'
import { lockInternals, type PsLock } from '../../lock/lock.ts'
import { isReadOnlyFolder } from '../../lock/lock-file.ts'
import { type AcquireOptions, joins } from '../../lock/options.ts'
import type { TreeMemory } from '../adapter.ts'
import { exclusiveToWriteSync } from '../data-file.ts'
import { blockingInside, notInside } from '../engine.ts'
import type { Issued } from '../operation.ts'
import type { Pipeline } from '../pipeline.ts'
import { cloneTree, type Tree } from './json-tree.ts'
import { patch } from './patch.ts'
import type { TreePass } from './tree-pass.ts'
import { frozenMemory } from './view.ts'

/** The blocking calls of a tree store: each is one pass, and the thread waits for the lock. */
export class BlockingTree {
  readonly #path: string
  readonly #lock: PsLock
  readonly #pass: TreePass
  readonly #queue: Pipeline
  /** The copy that an edit works on at this moment. */
  #draft: TreeMemory | undefined
  #isViewing = false

  constructor(path: string, lock: PsLock, pass: TreePass, queue: Pipeline) {
    this.#path = path
    this.#lock = lock
    this.#pass = pass
    this.#queue = queue
  }

  /** @throws TransactionError where the caller runs inside an edit or a view */
  requireOutside(what: string): void {
    if (this.#draft || this.#isViewing) throw notInside(what, this.#lock.path)
  }

  get draft(): TreeMemory | undefined {
    return this.#draft
  }

  read(): void {
    this.#told('shared', { call: { name: 'read', args: [] } }, () => {
      // What an edit works on is the present state already.
      if (this.#draft || this.#queue.isInside()) return
      this.#shared({}, () => {
        const seen = this.#pass.state.see()
        try {
          this.#pass.lookSync('shared')
          this.#pass.state.drop(seen)
          this.#pass.saveSync('shared')
        } finally {
          this.#pass.state.released(seen)
        }
      })
    })
  }

  write(): void {
    this.#told('exclusive', { call: { name: 'write', args: [] } }, () => {
      this.#exclusive({}, () => {
        if (this.#draft) this.#pass.state.foldInto(this.#draft.get())
        else this.#save(() => this.#pass.state.fold())
      })
    })
  }

  /** Runs on a copy of the present state, inside another on a copy of that one's; writes it unless it throws. */
  edit<T>(run: (memory: TreeMemory) => T, options: AcquireOptions, call?: Call): T {
    let result: T | undefined
    const edit = (tree: Tree) => {
      const draft = draftOf(cloneTree(tree))
      result = this.#during(draft, () => run(draft))
      return draft.get()
    }
    this.#told('exclusive', { ...options, call, kind: 'transaction' }, () => {
      this.#exclusive(options, () => {
        const outer = this.#draft
        if (outer) patch(outer.get(), edit(outer.get()))
        else this.#save(() => edit(this.#pass.state.fold()))
      })
    })
    return result as T
  }

  /** Runs on the present state, without the lock, which nobody can change. */
  view<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): T {
    return this.#told('shared', { ...options, kind: 'view' }, () => this.#view(run, options))
  }

  #view<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): T {
    const outer = joins(options) ? this.#draft : undefined
    let tree: Tree = outer?.get()
    if (!outer) {
      this.#shared(options, () => {
        this.#pass.lookSync('shared')
        // Memory's unsaved edits can be seen, and stay unsaved.
        tree = this.#pass.state.folded()
      })
    }
    const wasViewing = this.#isViewing
    this.#isViewing = true
    try {
      return notAPromise(run(frozenMemory(this.#path, tree)))
    } finally {
      this.#isViewing = wasViewing
    }
  }

  #told<T>(mode: LockMode, issued: Issued, run: () => T): T {
    const outer = this.#draft
    const { state } = this.#pass
    const { observer } = this.#queue
    if (!observer) return run()
    return observer.blocking(mode, issued, run, () => (outer ? state.text(outer.get()) : this.#pass.revision))
  }

  #save(make: () => Tree): void {
    const { revision } = this.#pass
    try {
      this.#pass.lookSync('exclusive')
      this.#pass.stage(make())
      this.#pass.saveSync('exclusive')
    } catch (error) {
      this.#pass.undo()
      this.#pass.revision = revision
      throw error
    } finally {
      this.#pass.file.unlockData()
    }
  }

  #during<T>(draft: TreeMemory, run: () => T): T {
    const outer = this.#draft
    this.#draft = draft
    try {
      return notAPromise(run())
    } finally {
      this.#draft = outer
    }
  }

  #exclusive(options: AcquireOptions, run: () => void): void {
    if (this.#isViewing) {
      throw new TransactionError(`nothing can be written inside a view of ${this.#path}`, {
        path: this.#path,
      })
    }
    // It could not take its turn with what runs there, and the commit would write over it.
    if (this.#queue.isInside()) throw blockingInside(this.#path)
    exclusiveToWriteSync(this.#path, run, (held) =>
      lockInternals.duringSync(this.#lock, 'exclusive', held, options),
    )
    if (!this.#draft) this.#pass.settleSync()
  }

  /** A reader may go without the lock where no lock file can be made. */
  #shared(options: AcquireOptions, run: () => void): void {
    try {
      lockInternals.duringSync(this.#lock, 'shared', run, options)
    } catch (error) {
      if (!isReadOnlyFolder(error)) throw error
      run()
    } finally {
      this.#pass.file.unlockData()
    }
    this.#pass.settleSync()
  }
}

function draftOf(tree: Tree): TreeMemory {
  let draft = tree
  return {
    get: () => draft,
    set: (next) => {
      draft = patch(draft, next)
    },
  }
}

function notAPromise<T>(result: T): T {
  if (!isThenable(result)) return result
  result.then(undefined, () => {})
  throw new TypeError(
    'update(fn), transaction(fn): fn must not return a promise here, since the lock ends when it returns',
  )
}
