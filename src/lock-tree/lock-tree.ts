import { resolve } from 'node:path'
import {
  durationMs,
  type LockPath,
  requireFunction,
  requireKnown,
  requirePath,
  requireSignal,
} from '../arguments.ts'
import { ClosedError, type TreeLockHolder, type TreeLockMode } from '../errors.ts'
import { Uses } from '../lock/hold.ts'
import { canonicalPath } from '../lock/lock-file.ts'
import { askOnce, waitFor } from './acquisition.ts'
import type { NodeLocks } from './node-locks.ts'
import {
  checkedReason,
  checkedTreeMode,
  DEFAULT_TIMEOUT_MS,
  type LockTreeOptions,
  nodesOf,
  TREE_ACQUIRE_NAMES,
  TREE_HAND_OUT_NAMES,
  TREE_NAMES,
  type TreeAcquireOptions,
  type TreeRequest,
} from './request.ts'
import type { TreeFile } from './tree-file.ts'
import { enclosingHolds, type HeldTreeLock, handedOut, TreeHold } from './tree-hold.ts'
import { isInTheWay, notedHolders } from './tree-holders.ts'

const SUFFIX = '.locktree'

/**
 * Hierarchical locks on names such as `app`, `app/orders` and `app/orders/price`, between processes, worker threads and the
 * tasks of one process. A lock on a name covers everything below it; the names above it get intention locks by themselves.
 * `app/orders#import` is an operation: it excludes itself and whoever locks `app/orders` or `app`, but nothing beside it.
 *
 * It promises what `PsLock` promises: the kernel frees a hold when its process dies, and never before; waits are finite,
 * can be cancelled and take no thread; no waiter is overtaken for ever. It promises nothing between machines, and nothing
 * against code that does not lock. It works on Linux x64 and arm64; elsewhere its calls are a LockUnsupportedError.
 *
 * Names are for what a program has (tables, fields), not for what it stores (rows): each name stays in the lock file and
 * takes half a kilobyte there.
 */
export class LockTree {
  readonly #timeoutMs: number
  readonly #given: string
  #tree: TreeFile | undefined
  readonly #uses = new Uses()

  /**
   * Opens nothing yet.
   * @param path what the tree is for. It need not exist, and may be a folder. The lock file is its real path plus
   * `.locktree`; a path that ends in `.locktree` is the lock file itself
   * @throws TypeError for a wrong path or duration, and for an unknown option
   */
  constructor(path: LockPath, options: LockTreeOptions = {}) {
    requireKnown(options, TREE_NAMES)
    // Now: a later chdir must not make it another file.
    this.#given = resolve(requirePath(path, 'path'))
    this.#timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', DEFAULT_TIMEOUT_MS)
  }

  /** The lock file. */
  get path(): string {
    return (this.#tree ?? this.#resolve()).path
  }

  /**
   * Runs the callback while nobody else holds the name or anything below it. Names of the same tree re-enter inside it:
   * what an enclosing hold has is not waited for. Two nested calls exclude each other. Everything is free again before
   * the promise resolves.
   * @returns the value of the callback
   * @throws LockTimeoutError, LockUpgradeError inside one's own weaker hold that cannot be made stronger at once,
   * LockUnsupportedError, LockIoError, ClosedError, TypeError, the reason of the signal, and whatever `run` throws.
   * LockLostError, once `run` has settled, if the lock file was removed meanwhile; its `cause` is what `run` has thrown
   */
  async exclusive<T>(name: string, run: () => T, options?: TreeAcquireOptions): Promise<Awaited<T>> {
    return this.#during(name, 'exclusive', run, options)
  }

  /** As `exclusive`, but with other shared holders: nobody edits the name or anything below it meanwhile. */
  async shared<T>(name: string, run: () => T, options?: TreeAcquireOptions): Promise<Awaited<T>> {
    return this.#during(name, 'shared', run, options)
  }

  /**
   * Takes a name and returns the hold, which must be released. It does not re-enter: inside one's own hold it may wait for
   * that hold. Use `exclusive`, `shared` or `held.run` there.
   * @throws as `exclusive`
   */
  async acquire(
    name: string,
    options: TreeAcquireOptions & { mode?: TreeLockMode | undefined } = {},
  ): Promise<HeldTreeLock> {
    requireKnown(options, TREE_HAND_OUT_NAMES)
    const acquiredAt = new Error('acquired here')
    const request = this.#request(name, checkedTreeMode(options.mode), options)
    const wait = this.#wait(options)
    return this.#handOut(request, await this.#uses.during(() => waitFor(request, wait)), acquiredAt)
  }

  /** Takes a name if it is free now and nobody waits for it. @returns undefined if it is not free */
  tryAcquire(
    name: string,
    options: { mode?: TreeLockMode | undefined; reason?: string | undefined } = {},
  ): HeldTreeLock | undefined {
    requireKnown(options, TREE_HAND_OUT_NAMES)
    const acquiredAt = new Error('acquired here')
    const request = this.#request(name, checkedTreeMode(options.mode), options)
    const granted = askOnce(request)
    return granted && this.#handOut(request, granted, acquiredAt)
  }

  /**
   * Who holds what in this tree and who waits, the oldest first. What is unknown is undefined, never guessed.
   * @param name lists only those for whom an exclusive lock of this name would have to wait
   * @throws TypeError, LockIoError, LockUnsupportedError, ClosedError
   */
  holders(name?: string): TreeLockHolder[] {
    const nodes = name === undefined ? undefined : nodesOf(name)
    return notedHolders(this.#open().path)
      .filter((holder) => !nodes || isInTheWay(holder, nodes, 'exclusive'))
      .map(({ slot: _, ...holder }) => holder)
  }

  /**
   * Refuses further use of this object, and resolves when its holds have ended. It need not be called: only holds and waits
   * keep something open or the process alive.
   * @throws LockDeadlockError inside one's own hold, for whose end it would wait
   */
  async close(): Promise<void> {
    this.#uses.requireNotInside(this.path, () => enclosingHolds(this.path).length > 0)
    return this.#uses.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #during<T>(
    name: string,
    mode: TreeLockMode,
    run: () => T,
    options: TreeAcquireOptions = {},
  ): Promise<Awaited<T>> {
    requireFunction(run, 'run')
    requireKnown(options, TREE_ACQUIRE_NAMES)
    const outer = enclosingHolds(this.#open().path)
    const request = this.#request(name, mode, options, outer)
    const wait = this.#wait(options)
    // What waits inside a hold counts as part of it from now on: the hold must not end under it.
    const done = outer.map((hold) => hold.accept())
    return this.#uses.during(async (): Promise<Awaited<T>> => {
      try {
        const hold = new TreeHold(request, await waitFor(request, wait))
        return await hold.during(run, () => hold.end())
      } finally {
        for (const end of done) end()
      }
    })
  }

  #request(
    name: string,
    mode: TreeLockMode,
    { reason }: { reason?: string | undefined },
    outer: readonly TreeHold[] = [],
  ): TreeRequest {
    return {
      tree: this.#open(),
      nodes: nodesOf(name),
      mode,
      reason: checkedReason(reason) ?? outer[0]?.reason,
      enclosing: outer.map(({ locks }) => locks),
    }
  }

  #wait({ timeoutMs, signal }: TreeAcquireOptions): {
    timeoutMs: number
    signal: AbortSignal | undefined
  } {
    requireSignal(signal)
    if (signal?.aborted) throw signal.reason
    return { timeoutMs: durationMs(timeoutMs, 'timeoutMs', this.#timeoutMs), signal }
  }

  #handOut(request: TreeRequest, granted: NodeLocks, acquiredAt: Error): HeldTreeLock {
    const hold = new TreeHold(request, granted, acquiredAt)
    this.#uses.count++
    hold.whenEnded(() => this.#uses.end())
    return handedOut(hold)
  }

  #open(): TreeFile {
    if (this.#uses.closing)
      throw new ClosedError(`this tree of ${this.#given} was closed`, { path: this.#given })
    this.#tree ??= this.#resolve()
    return this.#tree
  }

  #resolve(): TreeFile {
    const real = canonicalPath(this.#given)
    return real.endsWith(SUFFIX)
      ? { path: real, guards: undefined, table: undefined }
      : { path: `${real}${SUFFIX}`, guards: real, table: undefined }
  }
}
