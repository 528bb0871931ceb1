import { AsyncResource } from 'node:async_hooks'
import type { LockMode } from '../errors.ts'
import { shared } from '../lock/hold.ts'
import { mustTurn } from '../lock/local-queue.ts'
import { joins, type WaitOptions } from '../lock/options.ts'
import { turned } from '../os/steps.ts'
import type { Call } from './adapter.ts'
import { type Commit, type Engine, notInside, runIn, writeInView } from './engine.ts'
import {
  attempted,
  beginPass,
  endPass,
  type Issued,
  type Observed,
  type Observer,
  OneAtATime,
  Operation,
  Outcomes,
  QueueWatch,
  refuseWaiting,
  type Settle,
} from './operation.ts'
import { enterUnless, Unlocked } from './optimistic.ts'
import { outsideAll, requireOwn, Scope } from './scope.ts'
import type { StoreHold, StoreLock } from './store-lock.ts'

/** A pass takes no more operations from the queue after this long under the lock. */
const PASS_MS = 10

/** Off for tests of the general path alone. */
export const IS_STRAIGHT: boolean = process.env.PSLOCK_STRAIGHT_PATH !== 'off'

/**
 * The operations of one store in this process, in the order they were issued. Those already queued when the lock is
 * granted share one hold, one refresh, one write and one fsync; the lock is free again before any of them settles,
 * so that `await db.insert(job); execFileSync('node', ['worker.js'])` finds it free.
 */
export class Pipeline {
  readonly lock: StoreLock
  readonly #engine: Engine
  /** Who is told of every operation, where there are hooks. */
  observer: Observer | undefined
  readonly #queue: Operation[] = []
  #draining: Promise<void> | undefined
  /** Puts the write that waits for the end of this tick into the queue: it is no longer alone. */
  #alone: (() => void) | undefined
  /** A write has taken the straight path: in this tick; since the last hold of a pass; when. */
  #isJustTaken = false
  #wasTaken = false
  readonly #straightPath = { takenAt: Number.NEGATIVE_INFINITY }
  readonly #tickEnded = () => {
    this.#isJustTaken = false
  }
  /** Passes inside the user's own holds and ours take turns on the same memory. */
  readonly #passes = new OneAtATime()
  readonly #unlocked: Unlocked
  readonly #watch = new QueueWatch(this.#queue)

  constructor(lock: StoreLock, engine: Engine) {
    this.lock = lock
    this.#engine = engine
    this.#unlocked = new Unlocked(this, lock, engine)
  }

  /**
   * Runs an operation in a locked pass; inside another operation of this store as a part of that one, and inside the
   * user's own hold of this lock in a pass within that hold. Everything a store does comes by here, so nothing goes
   * past its hooks.
   */
  push<T>(mode: LockMode, run: () => T, issued: Issued = {}): Promise<Awaited<T>> {
    try {
      return (this.#readNow(mode, run, issued) ?? this.#issue(mode, run, issued)) as Promise<Awaited<T>>
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * As `push`, for a write of which nothing special is asked. It takes the straight path, later in this tick, where nothing
   * else of this store is under way or is issued until then, nobody is to be told of it, and the lock is free. Where it has
   * an `attempt`, that is its straight path.
   */
  write<T>(run: () => T, issued: Issued): Promise<Awaited<T>> {
    const { kind, timeoutMs, signal, join, attempt } = issued
    const isPlain = kind !== 'optimistic' && !signal && timeoutMs === undefined && join === undefined
    if (!IS_STRAIGHT || !isPlain || this.#draining || !this.#isIdle || mustTurn() || Scope.enclosing(this))
      return this.push('exclusive', run, issued)
    return new Promise((resolve) => {
      // Whoever comes after it calls this: the callback is still the caller's. `AsyncResource.bind` would take 20 us.
      const caller = new AsyncResource('PSLOCK')
      const enqueue = () => {
        this.#alone = undefined
        resolve(caller.runInAsyncScope(() => this.push('exclusive', run, issued)))
      }
      this.#alone = enqueue
      this.#draining = Promise.resolve().then(async () => {
        const turn = beginPass(() => shared.context.get() === undefined)
        if (turn) await turn
        const isAlone = this.#alone === enqueue
        const hold = isAlone && !attempt ? this.lock.enterNow('exclusive') : undefined
        if (isAlone) this.#alone = undefined
        const done = hold ? this.#straight(run, hold) : isAlone && attempt && attempted<T>(attempt)
        if (done) {
          resolve(done)
          // Behind what was attempted, which is done but for the disk, nobody waits.
          if (!attempt) await done.catch(() => {})
        } else if (isAlone) enqueue()
        endPass()
        this.#wasTaken = Boolean(done) && this.#queue.length > 0
        if (this.#queue.length === 0) this.#draining = undefined
        else await outsideAll(() => this.#drain())
      })
    })
  }

  /** The whole way of one write that has the lock. */
  async #straight<T>(run: () => T, hold: StoreHold): Promise<Awaited<T>> {
    const engine = this.#engine
    hold.owner = this
    let value: unknown
    let failure: { error: unknown } | undefined
    const fail = (error: unknown) => {
      failure ??= { error }
    }
    const pass = async () => {
      try {
        // Refresh.
        const refreshing = engine.refresh('exclusive', false)
        if (refreshing) await refreshing
        // Run.
        const running = engine.run(() => new Scope(this, 'exclusive').run(run, hold), 'exclusive')
        value = await (running as Promise<unknown>).catch(fail)
        // Write.
        return await engine.commit()
      } finally {
        engine.end()
      }
    }
    let commit: Commit
    try {
      commit = await this.#passes.run(pass)
    } finally {
      // Release. What was issued inside, and comes after this pass, goes first.
      const ended = hold.end()
      if (ended) await ended
    }
    // Settle.
    if (commit.settle) await commit.settle().catch(fail)
    if (commit.error !== undefined) fail(commit.error)
    if (failure) throw failure.error
    return value as Awaited<T>
  }

  /** Whether the caller runs inside an operation of this store; where `mode` is given, inside one of that mode. */
  isInside(mode?: LockMode): boolean {
    const scope = Scope.enclosing(this)
    return scope !== undefined && (mode ?? scope.mode) === scope.mode
  }

  /** The time of the state that the caller sees: one for all of a transaction or a view. */
  get now(): number {
    return Scope.clock(this)
  }

  /** In an operation: should it be optimistic, it is a conflict where this is no longer so when it is written. */
  provided(condition: () => boolean): void {
    this.#unlocked.provided(condition)
  }

  /** @throws TransactionError where the caller runs inside an operation of this store */
  requireOutside(what: string): void {
    if (Scope.enclosing(this)) throw notInside(what, this.lock.path)
  }

  /**
   * Runs what takes the lock by itself, a restore, say: hooks are told of it as of an operation.
   * @throws TransactionError where the caller runs inside an operation of this store
   */
  async beside<T>(mode: LockMode, call: Call, run: () => Promise<T>): Promise<T> {
    this.observer?.requireNotAsking()
    this.requireOutside(call.name)
    const { observer } = this
    if (!observer?.observes({ call })) return run()
    const asked = this.lock.asked(mode)
    let done = 0
    const counted = async () => {
      const value = await run()
      if (mode === 'exclusive') done++
      return value
    }
    return observer.inOrder(mode, { call }, asked, (observed) => observed.watch(counted, () => done))
  }

  /** Resolves when everything issued so far has settled. */
  async idle(): Promise<void> {
    await this.observer?.idle()
    while (this.#draining) await this.#draining
    await this.#passes.idle()
    if (!this.#isBusy) this.#watch.stop()
  }

  /** Whether something issued here is waiting or runs. */
  get isAtWork(): boolean {
    return this.#draining !== undefined || this.#isBusy
  }

  get #isBusy(): boolean {
    return this.#alone !== undefined || this.#queue.length > 0 || this.#passes.isRunning
  }

  /** A write has taken the straight path. Those issued in the same tick (`Promise.all`) queue up, to share a hold. */
  taken<T>(value: T): Promise<T> {
    this.#isJustTaken = true
    this.#wasTaken = true
    this.#straightPath.takenAt = performance.now()
    const taken = Promise.resolve(value)
    void taken.then(this.#tickEnded)
    return taken
  }

  /**
   * Whether what is issued now may run at once: nothing of this store is under way, the caller runs in no operation of it,
   * nobody is to be told, and the event loop need not turn. What is queued comes first, in any case.
   */
  get isClear(): boolean {
    return this.isQuiet && !this.lock.isClosing() && !mustTurn()
  }

  /** The same, whether the event loop need turn or not, and whether the lock is being closed, which whoever takes it is told. */
  get isQuiet(): boolean {
    if (this.#isJustTaken || !this.#isIdle) return false
    return !shared.context.rest() || Scope.enclosing(this) === undefined
  }

  /** Whether what is issued now is no part of anything, and nobody is to be told of it. */
  get isPlain(): boolean {
    return !this.observer?.observes({}) && (!shared.context.rest() || Scope.enclosing(this) === undefined)
  }

  get #isIdle(): boolean {
    return !this.#isBusy && !this.observer?.observes({})
  }

  /** A read that waits for nothing of its own store sees everything committed before it began, and needs no lock. */
  #readNow(mode: LockMode, run: () => unknown, issued: Issued): Promise<unknown> | undefined {
    // A step of something else is not run here: what fails in it is not tried again, but said.
    if (mode === 'exclusive' || !issued.isSelfContained || issued.isInternal || !this.isClear)
      return undefined
    const read = this.#engine.lookNow?.(run)
    return read && Promise.resolve(read.value)
  }

  #issue(mode: LockMode, run: () => unknown, issued: Issued): Promise<unknown> {
    this.observer?.requireNotAsking()
    this.#alone?.()
    const scope = joins(issued) ? Scope.enclosing(this) : undefined
    if (scope) return this.#join(scope, mode, run, issued)
    const asked = this.lock.asked(mode, issued)
    const { wait, outer } = asked
    const { observer } = this
    if (!observer?.observes(issued)) return this.#push(mode, run, issued, wait, outer)
    return observer.inOrder(mode, issued, asked, async (observed) => {
      // Anew: meanwhile the store may have been closed, or the operation aborted.
      const { wait } = this.lock.asked(mode, issued)
      return this.#push(mode, run, { ...issued, observed }, wait, outer)
    })
  }

  #push(
    mode: LockMode,
    run: () => unknown,
    issued: Issued,
    wait: WaitOptions,
    outer: StoreHold | undefined,
  ): Promise<unknown> {
    const operation = new Operation(mode, run, issued)
    if (outer) {
      if (mode === 'exclusive') requireOwn(outer, this, this.lock.path)
      this.#within(outer, operation).catch((error) => operation.reject(error))
      return operation.promise
    }
    const timedOut = () => wait.onTimeout(operation.waitedMs)
    if (issued.timeoutMs === 0 && this.#isBusy && !issued.mayQueue) throw timedOut()
    operation.waitBehind((reason) => {
      const index = this.#queue.indexOf(operation)
      if (index !== -1) this.#queue.splice(index, 1)
      operation.reject(reason())
    }, timedOut)
    this.#queue.push(operation)
    if (issued.timeoutMs === undefined) this.#watch.start(wait)
    this.#start()
    return operation.promise
  }

  #start(): void {
    // Later in this tick: calls issued together (`Promise.all`) then share the hold.
    this.#draining ??= Promise.resolve().then(() => outsideAll(() => this.#drain()))
  }

  #join(scope: Scope, mode: LockMode, run: () => unknown, issued: Issued): Promise<unknown> {
    const part = (observed?: Observed) => {
      if (mode === 'exclusive' && scope.mode === 'shared') throw writeInView(this.lock.path)
      return runIn(this, this.#engine, 'savepoint', { mode, run, observed })
    }
    const { observer } = this
    if (!observer?.observes(issued)) return scope.issue(() => part())
    return scope.issue(() => observer.part(scope.observed, mode, issued, async (observed) => part(observed)))
  }

  async #within(outer: StoreHold, operation: Operation): Promise<void> {
    const { mode } = operation
    const settle = await this.lock.within(outer, mode, operation, (hold) => {
      // It cannot be committed now, and to wait for each other would be to wait for ever.
      this.#unlocked.giveUp()
      return this.#passes.run(() => this.#underLock([operation], mode, hold))
    })
    await settle()
  }

  async #drain(): Promise<void> {
    for (let head = this.#queue[0]; head; head = this.#queue[0]) {
      const turn = beginPass(() => !head?.isInHold)
      if (turn) await turn
      try {
        // Whoever has its result already runs first: it may block the thread for another process, which needs the lock.
        if (mustTurn() || this.#wasTaken) await turned()
        this.#wasTaken = false
        await this.#onePass()
      } catch (error) {
        refuseWaiting(this.#queue, error)
      } finally {
        endPass()
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
    // No lock file is made for those who only look.
    if (mode === 'shared' && (await this.#readUnlocked())) return
    const asks = head.asksFor(this.#queue, this.#straightPath)
    const hold = (asks ? undefined : this.lock.enterNow(mode, head)) ?? (await this.#enter(mode, head))
    if (hold === 'unlocked' || head.isDone) return
    let settle: Settle
    try {
      settle = await this.#passes.run(() => this.#underLock(this.#queue, mode, hold))
    } finally {
      const ended = hold?.end()
      if (ended) await ended
    }
    await settle()
  }

  /** @returns 'unlocked' where what came first only looked, and it has been run while somebody else held the lock */
  async #enter(mode: LockMode, head: Operation): Promise<StoreHold | undefined | 'unlocked'> {
    if (!head.onlyLooks || !this.#engine.refreshUnlocked) return this.lock.enter(mode, head)
    if (mode === 'exclusive' && (await this.#readUnlocked())) return 'unlocked'
    return enterUnless(
      (served) => this.lock.enter(mode, head, served),
      () => this.#readUnlocked(),
    )
  }

  #canGoWithout({ signal }: Operation): boolean {
    // What waits for a pass of this process has no end of its own: it may wait for itself.
    if (this.#passes.isRunning || this.lock.isClosing() || signal?.aborted) return false
    return this.#engine.refreshUnlocked !== undefined
  }

  /** Runs those that come first and only look without the lock. @returns false where they need it */
  async #readUnlocked(): Promise<boolean> {
    const head = this.#queue[0]
    if (!head?.onlyLooks || !this.#canGoWithout(head)) return false
    const settle = await this.#passes.run(async () => {
      try {
        if (!(await this.#engine.refreshUnlocked?.())) return undefined
        return await this.#runQueued(this.#queue, 'shared', undefined, (next) => next.onlyLooks)
      } catch (error) {
        const refused: Operation[] = []
        while (this.#queue[0]?.onlyLooks) refused.push(this.#queue.shift() as Operation)
        return () => {
          for (const operation of refused) operation.reject(error)
        }
      } finally {
        this.#engine.end()
      }
    })
    if (!settle) return false
    await settle()
    return true
  }

  /** Runs on one state: the lock is free again as soon as that state is in memory, which nobody else touches. */
  async #apart(operation: Operation): Promise<void> {
    // Who means to write mends what must be mended now, or would meet it as a conflict again and again.
    const mode = operation.kind === 'view' ? 'shared' : 'exclusive'
    if (mode === 'shared' && this.#canGoWithout(operation) && (await this.#viewUnlocked(operation))) return
    const hold = await this.lock.enter(mode, operation)
    this.#queue.shift()
    await this.#passes
      .run(() => this.#unlocked.run(operation, mode, hold))
      .then(
        (value) => operation.resolve(value),
        (error) => operation.reject(error),
      )
  }

  /** @returns false where the view, which comes first, needs the lock */
  #viewUnlocked(operation: Operation): Promise<boolean> {
    return this.#passes.run(async () => {
      try {
        if (!(await this.#engine.refreshUnlocked?.())) return false
      } catch (error) {
        this.#queue.shift()
        operation.reject(error)
        return true
      } finally {
        this.#engine.end()
      }
      this.#queue.shift()
      await this.#unlocked.view(operation).then(
        (value) => operation.resolve(value),
        (error) => operation.reject(error),
      )
      return true
    })
  }

  #run(operation: Operation, hold: StoreHold | undefined): unknown {
    if (operation.isSelfContained && !operation.observed) {
      // Nothing asks for it inside: without a context one process does 1.7 times the `$inc`.
      shared.context.rest()
      return this.#engine.run(operation.run, operation.mode)
    }
    const run = () => runIn(this, this.#engine, 'run', operation)
    return hold ? hold.run(run) : run()
  }

  /** Catches up, and runs what is queued now; returns what settles it, to be called once the lock is released. */
  async #underLock(queue: Operation[], mode: LockMode, hold: StoreHold | undefined): Promise<Settle> {
    if (hold && mode === 'exclusive') hold.owner = this
    try {
      const isBlind = queue[0]?.isBlind?.() ?? false
      const caughtUp = this.#engine.refresh(mode, isBlind)
      if (caughtUp) await caughtUp
      // What a blind one could pass over the others need: the next pass is their own.
      return await this.#runQueued(queue, mode, hold, (next) => !isBlind || Boolean(next.isBlind?.()))
    } catch (error) {
      // Catching up failed: nothing was run, and every operation of this pass would fail the same way.
      const refused = queue.splice(0, queue.length)
      return () => {
        for (const operation of refused) operation.reject(error)
      }
    } finally {
      this.#engine.end()
    }
  }

  /** Runs what is queued now, as far as it `fits`, on memory that is caught up, and commits it. */
  async #runQueued(
    queue: Operation[],
    mode: LockMode,
    hold: StoreHold | undefined,
    fits: (next: Operation) => boolean,
  ): Promise<Settle> {
    const outcomes = new Outcomes()
    const until = performance.now() + PASS_MS
    for (let left = queue.length; left > 0 && (outcomes.isEmpty || performance.now() < until); left--) {
      const next = queue[0]
      if (!next || (mode === 'shared' && next.mode === 'exclusive') || !fits(next)) break
      // The user's code may take its time: nothing of others shall wait for its end to be written.
      if (next.kind !== 'call' && !outcomes.isEmpty) break
      queue.shift()
      next.stopWaiting()
      try {
        outcomes.succeeded(next, await next.inContext(() => this.#run(next, hold)))
      } catch (error) {
        outcomes.failed(next, error)
      }
      if (next.kind !== 'call') break
    }
    try {
      const commit = this.#engine.commit()
      outcomes.commit = commit instanceof Promise ? await commit : commit
    } catch (error) {
      return () => outcomes.rejectAll(error)
    }
    return () => outcomes.settle((again) => this.#again(again))
  }

  #again(operations: Operation[]): void {
    if (this.#queue.unshift(...operations) > 0) this.#start()
  }
}
