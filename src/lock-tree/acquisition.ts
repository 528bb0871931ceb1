import { LockIoError, type TreeLockMode } from '../errors.ts'
import { mustTurn, turn } from '../lock/local-queue.ts'
import { requireRangeLocks, tryLockRange, unlockRange } from '../os/range-lock.ts'
import { NodeLocks, NodeRanges } from './node-locks.ts'
import { intention, type TreeRequest } from './request.ts'
import {
  makeNote,
  NameTable,
  type Note,
  notedness,
  RecordFile,
  type TreeFile,
  writeNote,
} from './tree-file.ts'
import { timeoutError, upgradeError } from './tree-holders.ts'

/**
 * What the kernel knows one hold, or one waiter, by: an opening of the lock file of its own (two holds on one descriptor
 * would be granted each other's locks) and a note that is bound to it. Closing it ends everything at once.
 */
export class Claim {
  readonly file: RecordFile
  readonly slot: number
  readonly ranges: NodeRanges
  readonly #table: NameTable

  /**
   * @param blockingMs how long to stay with it, blocking, while another process appends
   * @returns undefined when the file changed under our hands, or another process was appending to it all the while
   * @throws LockIoError, LockUnsupportedError, LockLostError
   */
  static open(tree: TreeFile, blockingMs: number): Claim | undefined {
    requireRangeLocks(tree.path)
    const file = RecordFile.open(tree.path, tree.guards)
    let claim: Claim | undefined
    try {
      const table = NameTable.of(file, tree.table, blockingMs)
      tree.table = table
      const slot = table?.takeSlot(file, blockingMs)
      // The slot may be of a file that was emptied just before. From here on it cannot be refilled under us.
      if (table && slot !== undefined && table.isOf(file)) claim = new Claim(file, table, slot)
    } finally {
      if (!claim) file.close()
    }
    return claim
  }

  private constructor(file: RecordFile, table: NameTable, slot: number) {
    this.file = file
    this.#table = table
    this.slot = slot
    this.ranges = new NodeRanges(file, slot)
  }

  /** The record of a name; undefined when another process was appending all the while. */
  indexOf(name: string, blockingMs: number): number | undefined {
    return this.#table.indexOf(this.file, name, blockingMs)
  }

  /** Says who this is, to `holders()` of all processes. */
  leaveNote(note: Pick<Note, 'state' | 'mode' | 'node' | 'reason'>): void {
    this.#withdrawNote()
    try {
      writeNote(this.file, this.slot, makeNote(note))
    } catch (error) {
      // Full disk: the lock itself does not depend on it.
      if (error instanceof LockIoError) return
      throw error
    }
    tryLockRange(this.file.fd, 'exclusive', notedness(this.slot), this.file.path)
  }

  close(): void {
    this.#withdrawNote()
    this.file.close()
  }

  /** Before a note is changed, and before its place may become another's. */
  #withdrawNote(): void {
    unlockRange(this.file.fd, notedness(this.slot), this.file.path)
  }
}

/** What a request came to. */
export interface Granted {
  readonly claim: Claim
  readonly locks: NodeLocks
}

/** How to make an attempt. */
interface Manner {
  /** Whether another one follows: then those who come later are told to wait too. */
  readonly willWait: boolean
  /** How long to block while another process appends a name, which takes some 20 microseconds. */
  readonly blockingMs: number
}

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

function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/**
 * One request, from the first attempt to its end. Each attempt takes the whole path, parents before children, or
 * nothing: who waits holds no node, so nobody ever waits for a waiter, and an aborted wait leaves nothing behind.
 *
 * Against starvation a waiter closes the gate of the node where it was refused: newcomers in modes that it is not
 * compatible with then wait too. A node's gate is closed for one waiter at a time.
 */
export class Acquisition {
  readonly request: TreeRequest
  #claim: Claim | undefined
  #locks: NodeLocks | undefined
  #gate: number | undefined
  #isNoted = false

  constructor(request: TreeRequest) {
    this.request = request
  }

  /** The note that is this request's own. */
  get slot(): number | undefined {
    return this.#claim?.slot
  }

  /** Whether newcomers wait for this one. */
  get isNext(): boolean {
    return this.#gate !== undefined
  }

  /**
   * One attempt.
   * @param onStuck makes the error for an enclosing hold that cannot be made stronger
   * @returns undefined when it is refused
   * @throws LockIoError, LockUnsupportedError, LockLostError, and what onStuck makes
   */
  attempt({ willWait, blockingMs }: Manner, onStuck: () => Error): Granted | undefined {
    // Each round trip means that somebody replaced the file in that very moment; a hundred means a hostile loop.
    for (let round = 0; round < 100; round++) {
      const claim = this.#openClaim(blockingMs)
      const path = claim && this.#path(claim, blockingMs)
      if (!claim || !path) return undefined
      this.#locks ??= new NodeLocks(claim, this.request.enclosing)
      const refusedAt = this.#tryAll(claim, this.#locks, path, onStuck)
      if (refusedAt && willWait) this.#wait(claim, this.#locks, path, refusedAt)
      if (refusedAt) return undefined
      if (claim.file.isCurrent()) return this.#grant(claim, this.#locks, path)
      this.abandon()
    }
    const { path } = this.request.tree
    throw new LockIoError(`cannot lock ${path}: the lock file is being replaced again and again`, { path })
  }

  /** Ends it: nothing stays. */
  abandon(): void {
    this.#locks?.release()
    this.#claim?.close()
    this.#claim = undefined
    this.#locks = undefined
    this.#gate = undefined
    this.#isNoted = false
  }

  #openClaim(blockingMs: number): Claim | undefined {
    if (this.#claim && !this.#claim.file.isCurrent()) this.abandon()
    for (let tries = 0; !this.#claim && tries < 3; tries++)
      this.#claim = Claim.open(this.request.tree, blockingMs)
    return this.#claim
  }

  #path(claim: Claim, blockingMs: number): Wanted[] | undefined {
    const { nodes, mode } = this.request
    const path: Wanted[] = []
    for (const [i, name] of nodes.entries()) {
      const index = claim.indexOf(name, blockingMs)
      if (index === undefined) return undefined
      path.push({ name, index, mode: i === nodes.length - 1 ? mode : intention(mode) })
    }
    return path
  }

  /** Takes all, and returns undefined; or takes nothing, and returns where it was refused. */
  #tryAll(claim: Claim, locks: NodeLocks, path: Wanted[], onStuck: () => Error): Wanted | undefined {
    // Looks first: an attempt that fails half-way would for some microseconds be in the way of others.
    const refusedAt = path.find((wanted) => !this.#looksFree(claim, locks, wanted))
    if (refusedAt) return refusedAt
    for (const wanted of path) {
      const outcome = locks.take(wanted.name, wanted.index, wanted.mode)
      if (outcome === 'taken') continue
      locks.release()
      if (outcome === 'stuck') throw onStuck()
      return wanted
    }
    return undefined
  }

  #looksFree({ ranges, file }: Claim, locks: NodeLocks, { name, index, mode }: Wanted): boolean {
    if (locks.keeperOf(name)) return true
    if (this.#gate !== index && ranges.isGateClosed(index, mode)) {
      if (Math.abs(monotonicMs() - file.readField(index)) < GATE_BELIEVED_MS) return false
    }
    return !ranges.isBlocked(index, mode)
  }

  #wait({ ranges, file }: Claim, locks: NodeLocks, path: Wanted[], refusedAt: Wanted): void {
    if (this.#gate !== refusedAt.index) this.#openGate(ranges)
    // Inside an enclosing hold there are only siblings, who need no gate.
    if (!locks.keeperOf(refusedAt.name)) {
      if (this.#gate === undefined && ranges.tryCloseGate(refusedAt.index, refusedAt.mode))
        this.#gate = refusedAt.index
      if (this.#gate !== undefined) file.writeField(this.#gate, monotonicMs())
    }
    if (!this.#isNoted) this.#leaveNote('waiting', path)
    this.#isNoted = true
  }

  #grant(claim: Claim, locks: NodeLocks, path: Wanted[]): Granted {
    this.#openGate(claim.ranges)
    this.#leaveNote('holding', path)
    return { claim, locks }
  }

  #openGate(ranges: Claim['ranges']): void {
    if (this.#gate !== undefined) ranges.openGate(this.#gate)
    this.#gate = undefined
  }

  #leaveNote(state: 'holding' | 'waiting', path: Wanted[]): void {
    const { mode, reason } = this.request
    this.#claim?.leaveNote({ state, mode, node: (path.at(-1) as Wanted).index, reason })
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

export interface TreeWaitOptions {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/**
 * Asks until it is granted, the time is over, or the signal aborts. Between two attempts nothing of this waits but a
 * timer.
 * @param ownSlots the notes of the holds around it, which are in nobody's way here
 * @throws LockTimeoutError, LockUpgradeError, LockIoError, LockUnsupportedError, LockLostError, the signal's reason
 */
export async function waitFor(
  acquisition: Acquisition,
  ownSlots: readonly number[],
  { timeoutMs, signal }: TreeWaitOptions,
): Promise<Granted> {
  const { request } = acquisition
  const start = performance.now()
  try {
    if (mustTurn()) await turn(signal)
    for (let paceMs = PACE_MS.first; ; paceMs *= PACE_MS.growth) {
      const granted = acquisition.attempt({ willWait: timeoutMs > 0, blockingMs: BLOCKING_MS }, () =>
        upgradeError(request, ownSlots),
      )
      if (granted) return granted
      const waitedMs = performance.now() - start
      if (waitedMs >= timeoutMs) {
        const error = timeoutError(request, [...ownSlots, acquisition.slot], timeoutMs === 0 ? 0 : waitedMs)
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

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', abort, { once: true })
  })
}
