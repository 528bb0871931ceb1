import { type LockMode, LockTimeoutError } from '../errors.ts'
import { during, enclosing, queueUp } from '../lock/enter.ts'
import { Hold } from '../lock/hold.ts'
import { PsLock } from '../lock/ps-lock.ts'
import { isReadOnlyFolder } from '../os/lock-file.ts'
import { type Issued, Operation } from './operation.ts'
import { Outcomes } from './outcomes.ts'
import { outsideAll } from './outside.ts'
import { ownedBy, requireOwn } from './owners.ts'
import type { Commit, Pass } from './pass.ts'
import { QueueWatch } from './queue-watch.ts'
import { conflict, notInside, writeInView } from './refusals.ts'
import { Scope } from './scope.ts'

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
  /** Aborts when a hold of the user's own needs the memory that an optimistic transaction works on. */
  #optimist: AbortController | undefined
  readonly #watch = new QueueWatch(this.#queue)

  constructor(lock: PsLock, pass: Pass) {
    this.#lock = lock
    this.#pass = pass
  }

  /**
   * Runs an operation in a locked pass; inside another operation of this store as a part of that one, and inside the
   * user's own hold of this lock in a pass within that hold.
   */
  push<T>(mode: LockMode, run: () => T, issued: Issued = {}): Promise<Awaited<T>> {
    return this.#push(mode, run, issued) as Promise<Awaited<T>>
  }

  /** Whether the caller runs inside an operation of this store; where `mode` is given, inside one of that mode. */
  isInside(mode?: LockMode): boolean {
    const scope = Scope.enclosing(this)
    return scope !== undefined && (mode ?? scope.mode) === scope.mode
  }

  /** @throws TransactionError where the caller runs inside an operation of this store */
  requireOutside(what: string): void {
    if (Scope.enclosing(this)) throw notInside(what, this.#lock.path)
  }

  /** Resolves when everything issued so far has settled. */
  async idle(): Promise<void> {
    while (this.#draining) await this.#draining
    await this.#running
  }

  async #push(mode: LockMode, run: () => unknown, issued: Issued): Promise<unknown> {
    const scope = Scope.enclosing(this)
    if (scope) return this.#join(scope, mode, run)
    const operation = new Operation(mode, run, issued)
    const { site, patience } = PsLock.entry(this.#lock, mode, issued)
    const outer = enclosing(site)
    if (outer) {
      if (mode === 'exclusive') requireOwn(outer, this, this.#lock.path)
      this.#within(outer, operation).catch((error) => operation.reject(error))
      return operation.promise
    }
    const timedOut = () => patience.onTimeout(operation.waitedMs)
    if (issued.timeoutMs === 0 && (this.#queue.length > 0 || this.#running)) throw timedOut()
    operation.waitBehind((reason) => {
      const index = this.#queue.indexOf(operation)
      if (index !== -1) this.#queue.splice(index, 1)
      operation.reject(reason())
    }, timedOut)
    this.#queue.push(operation)
    if (issued.timeoutMs === undefined) this.#watch.start(patience)
    this.#start()
    return operation.promise
  }

  #start(): void {
    // Later in this tick: calls issued together (`Promise.all`) then share the hold.
    this.#draining ??= Promise.resolve().then(() => outsideAll(() => this.#drain()))
  }

  #join(scope: Scope, mode: LockMode, run: () => unknown): Promise<unknown> {
    if (mode === 'exclusive' && scope.mode === 'shared') throw writeInView(this.#lock.path)
    return scope.issue(() => this.#pass.savepoint(() => Scope.run(this, mode, run), mode))
  }

  async #within(outer: Hold, operation: Operation): Promise<void> {
    const { site, patience } = PsLock.entry(this.#lock, operation.mode, operation)
    const settle = await during(site, outer, operation.mode, patience, (hold) => {
      // It cannot be committed now, and to wait for each other would be to wait for ever.
      this.#optimist?.abort(conflict(this.#lock.path))
      return this.#alone(() => this.#underLock([operation], operation.mode, hold))
    })
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
    head.stopWaiting()
    if (head.kind === 'view' || head.kind === 'optimistic') return this.#apart(head)
    const hold = await this.#enter(mode, head)
    let settle: () => Promise<void>
    try {
      settle = await this.#alone(() => this.#underLock(this.#queue, mode, hold))
    } finally {
      await hold?.end()
    }
    await settle()
  }

  /** Runs on one state: the lock is free again as soon as that state is in memory, which nobody else touches. */
  async #apart(operation: Operation): Promise<void> {
    // Who means to write mends what must be mended now, or would meet it as a conflict again and again.
    const mode = operation.kind === 'view' ? 'shared' : 'exclusive'
    const hold = await this.#enter(mode, operation)
    this.#queue.shift()
    const run = async () => {
      try {
        await this.#pass.catchUp(mode)
      } finally {
        this.#pass.end()
        await hold?.end()
      }
      return operation.kind === 'view'
        ? operation.inContext(() => Scope.run(this, 'shared', operation.run))
        : this.#optimistically(operation)
    }
    await this.#alone(run).then(
      (value) => operation.resolve(value),
      (error) => operation.reject(error),
    )
  }

  async #optimistically(operation: Operation): Promise<unknown> {
    const run = () => this.#pass.run(() => Scope.run(this, 'exclusive', operation.run), 'exclusive')
    const optimist = new AbortController()
    this.#optimist = optimist
    let value: unknown
    let commit: Commit
    try {
      value = await operation.inContext(run)
      optimist.signal.throwIfAborted()
      commit = await this.#commitUnlessConflict(operation, optimist.signal)
    } catch (error) {
      this.#pass.abandon()
      throw error
    } finally {
      this.#optimist = undefined
    }
    await commit.settle?.()
    if (commit.error !== undefined) throw commit.error
    return value
  }

  async #commitUnlessConflict(operation: Operation, giveUp: AbortSignal): Promise<Commit> {
    const hold = await this.#enter('exclusive', operation, giveUp)
    try {
      if (!(await this.#pass.isFresh())) throw conflict(this.#lock.path)
      return await this.#pass.commit()
    } finally {
      this.#pass.end()
      await hold?.end()
    }
  }

  /** Takes the lock; undefined where a reader may go without, because no lock file can be made in this folder. */
  async #enter(mode: LockMode, head: Operation, giveUp?: AbortSignal): Promise<Hold | undefined> {
    const { timeoutMs, signal } = head
    const { site, patience } = PsLock.entry(this.#lock, mode, {
      timeoutMs,
      signal: giveUp && signal ? AbortSignal.any([signal, giveUp]) : (giveUp ?? signal),
    })
    let waitedMs = 0
    try {
      if (!site.room.tryEnter(mode, patience.sliceMs)) {
        // What comes to commit has worked in the meantime, and not waited.
        const left = giveUp ? patience.timeoutMs : Math.max(1, patience.timeoutMs - head.waitedMs)
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
    if (!(error instanceof LockTimeoutError) || !head || head.timeoutMs !== undefined) return
    while (this.#queue[0] && this.#queue[0].since - head.since < 1 && now > this.#queue[0].since) {
      this.#queue.shift()?.reject(error)
    }
  }

  /** After the pass that runs now. */
  async #alone<T>(run: () => Promise<T>): Promise<T> {
    while (this.#running) await this.#running
    const pass = run()
    this.#running = pass.catch(() => {})
    try {
      return await pass
    } finally {
      this.#running = undefined
    }
  }

  /** Runs what is queued now; returns what settles it, to be called once the lock is released. */
  async #underLock(queue: Operation[], mode: LockMode, hold: Hold | undefined): Promise<() => Promise<void>> {
    const outcomes = new Outcomes()
    if (hold && mode === 'exclusive') ownedBy(hold, this)
    try {
      const caughtUp = this.#pass.catchUp(mode)
      if (caughtUp) await caughtUp
      const until = performance.now() + PASS_MS
      for (let left = queue.length; left > 0 && (outcomes.isEmpty || performance.now() < until); left--) {
        const next = queue[0]
        if (!next || (mode === 'shared' && next.mode === 'exclusive')) break
        // The user's code may take its time: nothing of others shall wait for its end to be written.
        if (next.kind !== 'call' && !outcomes.isEmpty) break
        queue.shift()
        next.stopWaiting()
        // What it issued has ended before it is undone, should it throw.
        const run = () => this.#pass.run(() => Scope.run(this, next.mode, next.run), next.mode)
        await outcomes.add(next, () => next.inContext(hold ? () => hold.run(run) : run))
        if (next.kind !== 'call') break
      }
      outcomes.commit = await this.#pass.commit()
    } catch (error) {
      // Catching up failed: nothing was run, and every operation of this pass would fail the same way.
      const refused = queue.splice(0, queue.length)
      return async () => {
        outcomes.rejectAll(error)
        for (const operation of refused) operation.reject(error)
      }
    } finally {
      this.#pass.end()
    }
    return async () => {
      const again = await outcomes.settle()
      if (this.#queue.unshift(...again) > 0) this.#start()
    }
  }
}
