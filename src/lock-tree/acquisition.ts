import { LockIoError, type TreeLockMode } from '../errors.ts'
import { Claim, type TreeFile } from './claim.ts'
import { intention } from './mode.ts'
import { NodeLocks } from './node-locks.ts'

/** What is asked for. */
export interface Request {
  readonly tree: TreeFile
  /** From the top down to the node that is named. */
  readonly nodes: readonly string[]
  readonly mode: TreeLockMode
  readonly reason: string | undefined
  /** The holds around the one that is asked for, innermost first. */
  readonly enclosing: readonly NodeLocks[]
}

export function nameOf({ nodes }: Request): string {
  return nodes.at(-1) as string
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
 * Who closes a gate shows this often at least that it waits in earnest. One that is stopped, or busy with something
 * else, is passed by: a gate is a priority, never a lock. Far above the slowest pace of a waiter, and above what a
 * crowd of processes makes a timer late.
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
  readonly request: Request
  #claim: Claim | undefined
  #locks: NodeLocks | undefined
  #gate: number | undefined
  #isNoted = false

  constructor(request: Request) {
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
