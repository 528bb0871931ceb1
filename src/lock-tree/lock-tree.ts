import { resolve } from 'node:path'
import {
  durationMs,
  type LockPath,
  requireFunction,
  requireKnown,
  requirePath,
  requireSignal,
} from '../arguments.ts'
import { ClosedError, LockDeadlockError, type TreeLockHolder, type TreeLockMode } from '../errors.ts'
import { canonicalPath } from '../lock/lock-file.ts'
import { Acquisition, type Granted, waitFor } from './acquisition.ts'
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
import { isInTheWay, notedHolders, upgradeError } from './tree-holders.ts'

const SUFFIX = '.locktree'

/** How long `tryAcquire` blocks while another process appends a name: that one may have lost its processor just then. */
const TRY_BLOCKING_MS = 100

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
  #closing: Promise<void> | undefined
  #inUse = 0
  #idle: (() => void) | undefined

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
   * LockUnsupportedError, LockIoError, LockLostError if the lock file was removed meanwhile, ClosedError, TypeError, the
   * reason of the signal, and whatever `run` throws
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
    const granted = await this.#using(() => waitFor(new Acquisition(request), [], wait))
    return this.#handOut(request, granted, acquiredAt)
  }

  /** Takes a name if it is free now and nobody waits for it. @returns undefined if it is not free */
  tryAcquire(
    name: string,
    options: { mode?: TreeLockMode | undefined; reason?: string | undefined } = {},
  ): HeldTreeLock | undefined {
    requireKnown(options, TREE_HAND_OUT_NAMES)
    const acquiredAt = new Error('acquired here')
    const request = this.#request(name, checkedTreeMode(options.mode), options)
    const acquisition = new Acquisition(request)
    let granted: Granted | undefined
    try {
      granted = acquisition.attempt({ willWait: false, blockingMs: TRY_BLOCKING_MS }, () =>
        upgradeError(request, []),
      )
    } finally {
      if (!granted) acquisition.abandon()
    }
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
    if (!this.#closing && this.#inUse > 0 && enclosingHolds(this.path).length > 0) {
      throw new LockDeadlockError(
        `close() was called inside a hold of ${this.path}, and would wait for that hold to end. Call it outside.`,
        { path: this.path },
      )
    }
    this.#closing ??= this.#inUse === 0 ? Promise.resolve() : new Promise((resolve) => (this.#idle = resolve))
    return this.#closing
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
    const ownSlots = outer.map(({ slot }) => slot)
    // What waits inside a hold counts as part of it from now on: the hold must not end under it.
    const done = outer.map((hold) => hold.accept())
    return this.#using(async (): Promise<Awaited<T>> => {
      try {
        const hold = new TreeHold(request, await waitFor(new Acquisition(request), ownSlots, wait))
        try {
          const result: Awaited<T> = await hold.run(run)
          hold.requireIntact()
          return result
        } finally {
          await hold.end()
        }
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

  #handOut(request: TreeRequest, granted: Granted, acquiredAt: Error): HeldTreeLock {
    const hold = new TreeHold(request, granted, acquiredAt)
    this.#inUse++
    hold.whenEnded(() => this.#leave())
    return handedOut(hold)
  }

  async #using<T>(run: () => Promise<T>): Promise<T> {
    this.#inUse++
    try {
      return await run()
    } finally {
      this.#leave()
    }
  }

  #leave(): void {
    this.#inUse--
    if (this.#inUse === 0) this.#idle?.()
  }

  #open(): TreeFile {
    if (this.#closing) throw new ClosedError(`this tree of ${this.#given} was closed`, { path: this.#given })
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
