import { isThenable } from '../../arguments.ts'
import { type LockMode, TransactionError } from '../../errors.ts'
import { lockInternals, type PsLock } from '../../lock/lock.ts'
import { isReadOnlyFolder } from '../../lock/lock-file.ts'
import { type AcquireOptions, joins } from '../../lock/options.ts'
import type { Call, TreeMemory } from '../adapter.ts'
import { enterToWrite } from '../data-file.ts'
import { blockingInside, notInside } from '../engine.ts'
import type { Issued } from '../operation.ts'
import type { JsonEngine } from './engine.ts'
import type { LiveTree, WorkingCopy } from './live-tree.ts'
import { copyToEdit, type Tree } from './values.ts'

/** The blocking calls of a store: each is a batch of its own, and the thread waits for the lock. */
export class BlockingCalls {
  /** What the edit that runs at this moment works on. */
  copy: WorkingCopy | undefined
  readonly #path: string
  readonly #lock: PsLock
  readonly #engine: JsonEngine
  readonly #tree: LiveTree
  #isViewing = false

  constructor(path: string, lock: PsLock, engine: JsonEngine, tree: LiveTree) {
    this.#path = path
    this.#lock = lock
    this.#engine = engine
    this.#tree = tree
  }

  /** @throws TransactionError where the caller runs inside an edit or a view */
  requireOutside(what: string): void {
    if (this.copy || this.#isViewing) throw notInside(what, this.#lock.path)
  }

  read(): void {
    this.#hooked('shared', { call: { name: 'read', args: [] } }, () => {
      // What an edit works on is the present state already.
      if (this.copy || this.#engine.queue.isInside()) return
      this.#shared({}, () => {
        const seen = this.#tree.see()
        try {
          this.#engine.passNow('shared', () => void this.#tree.drop(seen))
        } finally {
          this.#tree.release(seen)
        }
      })
    })
  }

  write(): void {
    this.#hooked('exclusive', { call: { name: 'write', args: [] } }, () => {
      this.#exclusive({}, () => {
        if (this.copy) this.#tree.stageInto(this.copy)
        else this.#engine.passNow('exclusive', () => this.#tree.stage(this.#tree.rebase()))
      })
    })
  }

  /** Runs on a copy of the present state, inside another on a copy of that one's; writes it unless it throws. */
  edit<T>(run: (memory: TreeMemory) => T, options: AcquireOptions, call?: Call): T {
    let result: T | undefined
    const edit = (copy: WorkingCopy): Tree => {
      const outer = this.copy
      this.copy = copy
      try {
        result = notAPromise(run(copy))
      } finally {
        this.copy = outer
      }
      return copy.tree
    }
    this.#hooked('exclusive', { ...options, call, kind: 'transaction' }, () => {
      this.#exclusive(options, () => {
        const outer = this.copy
        if (outer) this.#editInside(outer, edit)
        else {
          this.#engine.passNow('exclusive', () =>
            this.#tree.stage(edit(this.#tree.workingCopy(copyToEdit(this.#tree.rebase())))),
          )
        }
      })
    })
    return result as T
  }

  #editInside(outer: WorkingCopy, edit: (copy: WorkingCopy) => void): void {
    const { copy, join, undo } = this.#tree.inside(outer)
    try {
      edit(copy)
    } catch (error) {
      undo(error)
    }
    join()
  }

  /** Runs on the present state, without the lock, which nobody can change. */
  view<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): T {
    return this.#hooked('shared', { ...options, kind: 'view' }, () => {
      const memory = this.#view(options)
      const wasViewing = this.#isViewing
      this.#isViewing = true
      try {
        return notAPromise(run(memory))
      } finally {
        this.#isViewing = wasViewing
      }
    })
  }

  #view(options: AcquireOptions): TreeMemory {
    const outer = joins(options) ? this.copy : undefined
    if (outer) return this.#tree.view(outer)
    this.#shared(options, () => this.#engine.refreshNow('shared'))
    return this.#tree.view()
  }

  #hooked<T>(mode: LockMode, issued: Issued, run: () => T): T {
    const outer = this.copy
    const { observer } = this.#engine.queue
    if (!observer) return run()
    return observer.blocking(mode, issued, run, () =>
      outer ? this.#tree.version(outer) : this.#engine.revision,
    )
  }

  #exclusive(options: AcquireOptions, run: () => void): void {
    if (this.#isViewing) {
      throw new TransactionError(`nothing can be written inside a view of ${this.#path}`, {
        path: this.#path,
      })
    }
    // It could not take its turn with what runs there, and the commit would write over it.
    if (this.#engine.queue.isInside()) throw blockingInside(this.#path)
    enterToWrite(this.#path, (held) => {
      const write = () => {
        held()
        run()
      }
      lockInternals.duringSync(this.#lock, 'exclusive', write, options)
    })
    if (!this.copy) this.#engine.settleNow()
  }

  /** A reader may go without the lock where no lock file can be made. */
  #shared(options: AcquireOptions, run: () => void): void {
    try {
      lockInternals.duringSync(this.#lock, 'shared', run, options)
    } catch (error) {
      if (!isReadOnlyFolder(error)) throw error
      run()
    } finally {
      this.#engine.end()
    }
    this.#engine.settleNow()
  }
}

function notAPromise<T>(result: T): T {
  if (!isThenable(result)) return result
  result.then(undefined, () => {})
  throw new TypeError(
    'update(fn), transaction(fn): fn must not return a promise here, since the lock ends when it returns',
  )
}
