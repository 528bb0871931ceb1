import { type LockMode, LockTimeoutError } from '../errors.ts'
import { during, enclosing, queueUp } from '../lock/enter.ts'
import { Hold } from '../lock/hold.ts'
import { PsLock } from '../lock/ps-lock.ts'
import { outsideHolds } from '../lock/shared-state.ts'
import { isReadOnlyFolder } from '../os/lock-file.ts'

/** One call on a store, from being issued to being settled. */
interface Operation {
  readonly mode: LockMode
  readonly run: () => unknown
  readonly since: number
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
}

/** How a commit ended. */
export interface Commit {
  /** How many of the pass's operations, from the first on, are in the file now. */
  readonly committed: number
  /** What stopped the one after those. */
  readonly error?: unknown
  /** What must still happen, after the lock is released, before anything resolves: fsync. */
  readonly settle?: (() => Promise<void>) | undefined
}

/** What a kind of store does in one locked pass. All of it runs under the lock. */
export interface Pass {
  /** Makes memory equal to the file. A throw rejects every operation of the pass; nothing was run. */
  catchUp(mode: LockMode): Promise<void> | void
  /** Runs one operation. When it throws, what it did is undone and nothing of it will be written. */
  run(operation: () => unknown, mode: LockMode): unknown
  /** Puts into the file what the operations did. Must not throw: it reports. */
  commit(): Promise<Commit> | Commit
  /** Called last under the lock, however the pass ended. */
  end(): void
}

/** A pass takes no more operations from the queue after this long under the lock. */
const PASS_MS = 10

/**
 * The operations of one store in this process, in the order they were issued. Those already queued when the lock is
 * granted share one hold, one catch-up, one write and one fsync; the lock is free again before any of them settles,
 * so that `await db.insert(job); execFileSync('node', ['worker.js'])` finds it free.
 */
export class OperationQueue {
  readonly #lock: PsLock
  readonly #pass: Pass
  readonly #queue: Operation[] = []
  #draining: Promise<void> | undefined
  /** The pass that runs now: passes inside the user's own holds and ours take turns on the same memory. */
  #running: Promise<unknown> | undefined
  /** The hold whose operation runs at this moment. */
  #operating: Hold | undefined

  constructor(lock: PsLock, pass: Pass) {
    this.#lock = lock
    this.#pass = pass
  }

  /** Runs an operation in a locked pass; inside the user's own hold of this lock, in a pass within that hold. */
  push<T>(mode: LockMode, run: () => T): Promise<Awaited<T>> {
    return new Promise<unknown>((resolve, reject) => {
      const operation: Operation = { mode, run, since: performance.now(), resolve, reject }
      const { site } = PsLock.entry(this.#lock, mode)
      const outer = enclosing(site)
      if (outer && outer === this.#operating) {
        // Issued from inside one of our own operations, which waits for it: it is part of that one.
        Promise.resolve().then(run).then(resolve, reject)
        return
      }
      if (outer) {
        this.#within(outer, operation).catch(reject)
        return
      }
      this.#queue.push(operation)
      // Later in this tick: calls issued together (`Promise.all`) then share the hold.
      this.#draining ??= Promise.resolve().then(() => outsideHolds(() => this.#drain()))
    }) as Promise<Awaited<T>>
  }

  /** Resolves when everything issued so far has settled. */
  async idle(): Promise<void> {
    while (this.#draining) await this.#draining
    await this.#running
  }

  async #within(outer: Hold, operation: Operation): Promise<void> {
    const { site, patience } = PsLock.entry(this.#lock, operation.mode)
    const settle = await during(site, outer, operation.mode, patience, (hold) =>
      this.#inTurn([operation], operation.mode, hold),
    )
    await settle()
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      try {
        await this.#onePass()
      } catch (error) {
        this.#refuse(error)
      }
    }
    this.#draining = undefined
  }

  async #onePass(): Promise<void> {
    const mode = this.#queue.some((operation) => operation.mode === 'exclusive') ? 'exclusive' : 'shared'
    const head = this.#queue[0]
    if (!head) return
    const hold = await this.#enter(mode, head)
    let settle: () => Promise<void>
    try {
      settle = await this.#inTurn(this.#queue, mode, hold)
    } finally {
      await hold?.end()
    }
    await settle()
  }

  /** Takes the lock; undefined where a reader may go without, because no lock file can be made in this folder. */
  async #enter(mode: LockMode, head: Operation): Promise<Hold | undefined> {
    const { site, patience } = PsLock.entry(this.#lock, mode)
    let waitedMs = 0
    try {
      if (!site.room.tryEnter(mode, patience.sliceMs)) {
        const left = Math.max(1, patience.timeoutMs - (performance.now() - head.since))
        const patient = patience.timeoutMs === 0 ? patience : { ...patience, timeoutMs: left }
        waitedMs = await queueUp(site, site.room, mode, patient)
      }
    } catch (error) {
      if (mode === 'shared' && isReadOnlyFolder(error)) return undefined
      throw error
    }
    return new Hold(site, mode, waitedMs)
  }

  /** The lock was not granted: those who have waited long enough are told, the others go on. */
  #refuse(error: unknown): void {
    const now = performance.now()
    const head = this.#queue.shift()
    head?.reject(error)
    if (!(error instanceof LockTimeoutError) || !head) return
    while (this.#queue[0] && this.#queue[0].since - head.since < 1 && now > this.#queue[0].since) {
      this.#queue.shift()?.reject(error)
    }
  }

  async #inTurn(queue: Operation[], mode: LockMode, hold: Hold | undefined): Promise<() => Promise<void>> {
    while (this.#running) await this.#running
    const pass = this.#underLock(queue, mode, hold)
    this.#running = pass.catch(() => {})
    try {
      return await pass
    } finally {
      this.#running = undefined
    }
  }

  /** Runs what is queued now; returns what settles it, to be called once the lock is released. */
  async #underLock(queue: Operation[], mode: LockMode, hold: Hold | undefined): Promise<() => Promise<void>> {
    const outcomes: { operation: Operation; value: unknown; error: unknown; failed: boolean }[] = []
    let commit: Commit = { committed: 0 }
    try {
      const caughtUp = this.#pass.catchUp(mode)
      if (caughtUp) await caughtUp
      const until = performance.now() + PASS_MS
      for (
        let left = queue.length;
        left > 0 && (outcomes.length === 0 || performance.now() < until);
        left--
      ) {
        if (mode === 'shared' && queue[0]?.mode === 'exclusive') break
        const operation = queue.shift() as Operation
        this.#operating = hold
        try {
          const run = () => this.#pass.run(operation.run, operation.mode)
          const value = await (hold ? hold.run(run) : run())
          outcomes.push({ operation, value, error: undefined, failed: false })
        } catch (error) {
          outcomes.push({ operation, value: undefined, error, failed: true })
        } finally {
          this.#operating = undefined
        }
      }
      const committing = this.#pass.commit()
      commit = committing instanceof Promise ? await committing : committing
    } catch (error) {
      // Catching up failed: nothing was run, and every operation of this pass would fail the same way.
      const refused = queue.splice(0, queue.length)
      return async () => {
        for (const { operation } of outcomes) operation.reject(error)
        for (const operation of refused) operation.reject(error)
      }
    } finally {
      this.#pass.end()
    }
    return async () => {
      const again: Operation[] = []
      let error: unknown = commit.error
      let broken = false
      try {
        await commit.settle?.()
      } catch (failure) {
        error = failure
        broken = true
      }
      for (const [index, outcome] of outcomes.entries()) {
        const { operation } = outcome
        if (outcome.failed) operation.reject(outcome.error)
        else if (
          broken ||
          (index >= commit.committed && (operation.mode === 'exclusive' || index === commit.committed))
        ) {
          operation.reject(error)
        } else if (index < commit.committed) operation.resolve(outcome.value)
        // A read that came after a write which failed has seen what is undone now: it looks again.
        else again.push(operation)
      }
      this.#queue.unshift(...again)
      if (again.length > 0) this.#draining ??= Promise.resolve().then(() => outsideHolds(() => this.#drain()))
    }
  }
}
