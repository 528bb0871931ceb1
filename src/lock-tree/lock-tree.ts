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
 * Hierarchical locks between processes (and worker threads, and the tasks of one process) on names such as `app`,
 * `app/orders`, `app/orders/price`. A name is locked with everything below it, and the names above it are marked with
 * the intention by themselves; `app/orders#import` is an operation, which excludes itself and whoever locks
 * `app/orders` or `app`, but not what is beside it.
 *
 * It promises what PsLock promises: the kernel frees a hold the moment its process dies and never before; waits are
 * finite, cancellable, and use no thread; who waits is not overtaken for ever. It does not promise anything between
 * machines, nor against code that does not lock. Linux x64 and arm64.
 *
 * Names are for what a program has (tables, fields), not for what it stores (rows): each name stays in the lock file
 * for ever, with half a kilobyte.
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
   * @param path what the tree is of; it need not exist, and may be a folder. The lock file is its real path plus
   * `.locktree`; a path that ends so is taken as the lock file itself.
   * @throws TypeError for a path or a duration that is none, and for an unknown option
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
   * Runs with a name, and all below it, held by nobody else. Inside, names of the same tree re-enter: what an enclosing
   * hold has is not waited for, two nested calls exclude each other. All is free again before the promise resolves.
   * @throws LockTimeoutError, LockUpgradeError inside one's own weaker hold that cannot be made stronger at once,
   * LockUnsupportedError, LockIoError, LockLostError if the lock file was removed meanwhile, ClosedError, TypeError, the
   * signal's reason, and whatever `run` throws
   */
  async exclusive<T>(name: string, run: () => T, options?: TreeAcquireOptions): Promise<Awaited<T>> {
    return this.#during(name, 'exclusive', run, options)
  }

  /** As `exclusive`, together with any number of other shared holders: nobody edits the name, or anything below it. */
  async shared<T>(name: string, run: () => T, options?: TreeAcquireOptions): Promise<Awaited<T>> {
    return this.#during(name, 'shared', run, options)
  }

  /**
   * Takes a name and hands it out. Not re-entrant: inside one's own hold it may wait for oneself (use the callback
   * forms there, or `held.run`).
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

  /** Takes a name if it is free this very moment and nobody waits for it, else returns undefined. */
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
   * Who holds what in this tree, and who waits, the oldest first. What is unknown is undefined, never guessed.
   * @param name only those whom an exclusive lock of this name would have to wait for
   * @throws TypeError, LockIoError, LockUnsupportedError, ClosedError
   */
  holders(name?: string): TreeLockHolder[] {
    const nodes = name === undefined ? undefined : nodesOf(name)
    return notedHolders(this.#open().path)
      .filter((holder) => !nodes || isInTheWay(holder, nodes, 'exclusive'))
      .map(({ slot: _, ...holder }) => holder)
  }

  /**
   * No new use of this object; resolves when its holds have ended. Not calling it does no harm: nothing stays open, and
   * nothing keeps the process alive, but holds and waits.
   * @throws LockDeadlockError inside one's own hold, whose end it would wait for
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
