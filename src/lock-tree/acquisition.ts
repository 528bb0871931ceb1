import type { LockTimeoutError, TreeLockMode } from '../errors.ts'
import { mustTurn } from '../lock/local-queue.ts'
import { replacedAgainAndAgain } from '../os/flock.ts'
import { monotonicMs } from '../os/processes.ts'
import { pause, turn } from '../os/steps.ts'
import { Claim, NodeLocks } from './node-locks.ts'
import { intention, type TreeRequest } from './request.ts'
import { timeoutError, upgradeError } from './tree-holders.ts'

interface Wanted {
  readonly name: string
  readonly index: number
  readonly mode: TreeLockMode
}

/**
 * A waiter that closes a gate renews it at least this often. One that is stopped, or busy with something else, is passed by:
 * a gate is a priority, never a lock. This is far above the slowest pace of a waiter, and above the delay of timers when
 * many processes run.
 */
const GATE_BELIEVED_MS = 1000

/**
 * One request, from the first attempt to its end. Each attempt takes the whole path, parents before children, or
 * nothing: who waits holds no node, so nobody ever waits for a waiter, and an aborted wait leaves nothing behind.
 *
 * Against starvation a waiter closes the gate of the node where it was refused: newcomers in modes that it is not
 * compatible with then wait too. A node's gate is closed for one waiter at a time.
 */
class Acquisition {
  readonly #request: TreeRequest
  readonly #willWait: boolean
  readonly #blockingMs: number
  #locks: NodeLocks | undefined
  #gate: number | undefined
  #isNoted = false

  /**
   * @param willWait whether there are several attempts: then those who come later are told to wait too
   * @param blockingMs how long to block while another process appends a name, which takes some 20 microseconds
   */
  constructor(request: TreeRequest, willWait: boolean, blockingMs: number) {
    this.#request = request
    this.#willWait = willWait
    this.#blockingMs = blockingMs
  }

  /** Why it was refused. */
  timeoutError(waitedMs: number): LockTimeoutError {
    return timeoutError(this.#request, this.#locks?.claim.slot, waitedMs)
  }

  /** Whether newcomers wait for this one. */
  get isNext(): boolean {
    return this.#gate !== undefined
  }

  /**
   * One attempt.
   * @returns undefined when it is refused
   * @throws LockIoError, LockUnsupportedError, LockLostError; LockUpgradeError for an enclosing hold that cannot be made
   * stronger
   */
  attempt(): NodeLocks | undefined {
    // Each round trip means that somebody replaced the file in that very moment; a hundred means a hostile loop.
    for (let round = 0; round < 100; round++) {
      const locks = this.#open()
      const path = locks && this.#path(locks.claim)
      if (!locks || !path) return undefined
      const refusedAt = this.#tryAll(locks, path)
      if (refusedAt && this.#willWait) this.#wait(locks, path, refusedAt)
      if (refusedAt) return undefined
      if (locks.claim.file.isCurrent()) {
        this.#openGate(locks.claim)
        this.#leaveNote(locks.claim, 'holding', path)
        return locks
      }
      this.abandon()
    }
    throw replacedAgainAndAgain(this.#request.tree.path)
  }

  /** Ends it: nothing stays. */
  abandon(): void {
    this.#locks?.release()
    this.#locks?.claim.close()
    this.#locks = undefined
    this.#gate = undefined
    this.#isNoted = false
  }

  #open(): NodeLocks | undefined {
    if (this.#locks && !this.#locks.claim.file.isCurrent()) this.abandon()
    for (let tries = 0; !this.#locks && tries < 3; tries++) {
      const claim = Claim.open(this.#request.tree, this.#blockingMs)
      this.#locks = claim && new NodeLocks(claim, this.#request.enclosing)
    }
    return this.#locks
  }

  #path(claim: Claim): Wanted[] | undefined {
    const { nodes, mode } = this.#request
    const path: Wanted[] = []
    for (const [i, name] of nodes.entries()) {
      const index = claim.indexOf(name)
      if (index === undefined) return undefined
      path.push({ name, index, mode: i === nodes.length - 1 ? mode : intention(mode) })
    }
    return path
  }

  /** Takes all, and returns undefined; or takes nothing, and returns where it was refused. */
  #tryAll(locks: NodeLocks, path: Wanted[]): Wanted | undefined {
    // Looks first: an attempt that fails half-way would for some microseconds be in the way of others.
    const refusedAt = path.find((wanted) => !this.#looksFree(locks, wanted))
    if (refusedAt) return refusedAt
    for (const wanted of path) {
      const outcome = locks.take(wanted.name, wanted.index, wanted.mode)
      if (outcome === 'taken') continue
      locks.release()
      if (outcome === 'stuck') throw upgradeError(this.#request, locks.claim.slot)
      return wanted
    }
    return undefined
  }

  #looksFree(locks: NodeLocks, { name, index, mode }: Wanted): boolean {
    const { claim } = locks
    if (locks.keeperOf(name)) return true
    const isOthersGate = this.#gate !== index && claim.isGateClosed(index, mode)
    if (isOthersGate && Math.abs(monotonicMs() - claim.file.readField(index)) < GATE_BELIEVED_MS) return false
    return !claim.isBlocked(index, mode)
  }

  #wait(locks: NodeLocks, path: Wanted[], { name, index, mode }: Wanted): void {
    const { claim } = locks
    if (this.#gate !== index) this.#openGate(claim)
    // Inside an enclosing hold there are only siblings, who need no gate.
    if (!locks.keeperOf(name)) {
      if (this.#gate === undefined && claim.tryCloseGate(index, mode)) this.#gate = index
      if (this.#gate !== undefined) claim.file.writeField(this.#gate, monotonicMs())
    }
    if (!this.#isNoted) this.#leaveNote(claim, 'waiting', path)
    this.#isNoted = true
  }

  #openGate(claim: Claim): void {
    if (this.#gate !== undefined) claim.openGate(this.#gate)
    this.#gate = undefined
  }

  #leaveNote(claim: Claim, state: 'holding' | 'waiting', path: Wanted[]): void {
    const { mode, reason } = this.#request
    claim.leaveNote({ state, mode, node: (path.at(-1) as Wanted).index, reason })
  }
}

/**
 * How often a waiter asks: soon at first, then ever more seldom; each time costs about 0.1 ms of CPU. Who has a gate
 * closed is next, and asks more often: it is one at a node.
 */
const PACE_MS = { first: 1, growth: 1.5, slowestNext: 5, slowest: 25 }

/**
 * Who was refused without seeing by whom came between a grant and its note, or while a name was appended. Both take
 * some microseconds, or a little longer where that process has just lost its processor.
 */
const NAMELESS_MS = 100

/** How long one attempt blocks while another process appends a name; after that it asks again later. */
const BLOCKING_MS = 2
/** The same where there is no later: that process may have lost its processor just then. */
const TRY_BLOCKING_MS = 100

export interface TreeWaitOptions {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/**
 * Asks until it is granted, the time is over, or the signal aborts. Between two attempts nothing of this waits but a
 * timer.
 * @throws LockTimeoutError, LockUpgradeError, LockIoError, LockUnsupportedError, LockLostError, the signal's reason
 */
export async function waitFor(
  request: TreeRequest,
  { timeoutMs, signal }: TreeWaitOptions,
): Promise<NodeLocks> {
  const acquisition = new Acquisition(request, timeoutMs > 0, BLOCKING_MS)
  const start = performance.now()
  try {
    if (mustTurn()) await turn(signal)
    for (let paceMs = PACE_MS.first; ; paceMs *= PACE_MS.growth) {
      const granted = acquisition.attempt()
      if (granted) return granted
      const waitedMs = performance.now() - start
      if (waitedMs >= timeoutMs) {
        const error = acquisition.timeoutError(timeoutMs === 0 ? 0 : waitedMs)
        if (error.holders.length > 0 || waitedMs >= NAMELESS_MS + timeoutMs) throw error
        await pause(1, signal)
      } else {
        paceMs = Math.min(paceMs, acquisition.isNext ? PACE_MS.slowestNext : PACE_MS.slowest)
        // Random, so that no two stay in step.
        await pause(Math.min(paceMs * (0.5 + Math.random()), timeoutMs - waitedMs), signal)
      }
    }
  } catch (error) {
    acquisition.abandon()
    throw error
  }
}

/** Asks once. @returns undefined when it is refused @throws as `waitFor` */
export function askOnce(request: TreeRequest): NodeLocks | undefined {
  const acquisition = new Acquisition(request, false, TRY_BLOCKING_MS)
  let granted: NodeLocks | undefined
  try {
    granted = acquisition.attempt()
  } finally {
    if (!granted) acquisition.abandon()
  }
  return granted
}
