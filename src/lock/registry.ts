import { requireOneOf, show } from '../arguments.ts'
import {
  type LockHolder,
  type LockMode,
  LockTimeoutError,
  LockUnsupportedError,
  type PsLockError,
} from '../errors.ts'
import { eraseNote, leaveNote } from '../os/lock-owners.ts'
import { localNetworkMount, warnOfLocalLocks } from '../os/mounts.ts'
import { monotonicMs, ownCommand } from '../os/processes.ts'
import { type Hold, shared, verify } from './hold.ts'
import type { KernelLock } from './kernel-lock.ts'
import { Arbiter, LocalQueue } from './local-queue.ts'
import { LockFile } from './lock-file.ts'
import { LockFolder } from './lockfile-backend.ts'
import type { PsLockOptions } from './options.ts'
import { passedLock } from './passed-lock.ts'

/**
 * A hold this old leaves a note of its start in the lock file, provided that another process waits for it: nobody else is
 * in need of it, and a file that changes makes programs that watch the folder start anew.
 */
const NOTE_AFTER_MS = 20
const LONGEST_NOTE_PAUSE_MS = 50

/** How often it is looked whether a lock is still held, for those who listen to `held.signal`. */
const LOOK_EVERY_MS = 500

/**
 * One lock file as this process sees it: its queue, its holds. Every `PsLock` on it shares this object. It may be another
 * copy's of this package, so what others use of it has no private name.
 */
export class LockEntry {
  readonly path: string
  readonly backend: Backend
  readonly file: KernelLock
  readonly queue: LocalQueue
  readonly holds: Set<Hold> = new Set()
  /** How many use it that have not released it. */
  users = 0
  /** Whether there is a note of ours in the lock file. */
  isNoted = false
  noteTimer: NodeJS.Timeout | undefined
  watching: NodeJS.Timeout | undefined
  readonly #arbiter: Arbiter

  /**
   * The entry of a lock file, made at the first use and closed after the last.
   * @throws LockUnsupportedError where this process has it open with another backend
   */
  static open(path: string, guards: string | undefined, backend: Backend): LockEntry {
    let entry = shared.entries.get(path)
    if (!entry) {
      entry = new LockEntry(path, guards, backend)
      shared.entries.set(path, entry)
    }
    if (describeBackend(entry.backend) !== describeBackend(backend)) {
      throw new LockUnsupportedError(
        `cannot lock ${path} with ${describeBackend(backend)}: this very process locks it with ` +
          `${describeBackend(entry.backend)}, and neither excludes the other. Use the same options everywhere.`,
        { path },
      )
    }
    entry.users++
    return entry
  }

  private constructor(path: string, guards: string | undefined, backend: Backend) {
    this.path = path
    this.backend = backend
    this.file = kernelLockOf(backend, path, guards, (error) => {
      for (const hold of this.holds) hold.fail(error)
    })
    this.#arbiter = new Arbiter(this.file, guards, () => this.queue.retry())
    this.queue = new LocalQueue(this.#arbiter)
  }

  /** One user fewer. The last one closes the files, but never under a hold. */
  release(): void {
    this.users--
    this.rest()
  }

  /** Nobody holds it: stops what a hold needs, and closes the files where nobody uses it any more. */
  rest(): void {
    if (this.holds.size === 0) {
      clearInterval(this.watching)
      this.watching = undefined
    }
    if (this.users > 0 || this.queue.inside > 0 || this.queue.waiting.length > 0) return
    clearTimeout(this.noteTimer)
    this.noteTimer = undefined
    this.#arbiter.close()
    if (shared.entries.get(this.path) === this) shared.entries.delete(this.path)
  }

  /** From now on a loss is noticed within `LOOK_EVERY_MS`, as long as something is held. */
  watch(): void {
    this.watching ??= setInterval(() => verify(this), LOOK_EVERY_MS).unref()
  }

  /** Everybody who holds or waits, as far as this system can tell. */
  holders(): LockHolder[] {
    const own = this.#ownHolders()
    const seen = this.file.holders()
    // Worker threads of this process are the kernel's business; what this thread holds is known better here.
    const others = own.some((holder) => holder.state === 'holding')
      ? seen.filter(({ pid }) => pid !== process.pid)
      : seen
    return [...others, ...own, ...this.#arbiter.waiters()]
  }

  #ownHolders(): LockHolder[] {
    const now = performance.now()
    const command = ownCommand()
    const describe = (
      one: { mode: LockMode; since: number; acquiredAt?: Error | undefined },
      state: LockHolder['state'],
    ): LockHolder => {
      const sinceMs = Math.round(now - one.since)
      return { pid: process.pid, command, mode: one.mode, sinceMs, state, ...acquisitionOf(one) }
    }
    const outermost = [...this.holds].filter((hold) => hold.outer === undefined)
    return [
      ...outermost.map((hold) => describe(hold, 'holding')),
      ...this.queue.waiting.map((waiter) => describe(waiter, 'waiting')),
    ]
  }

  /** @param pauseMs until it is looked whether anybody wants to know */
  noteLater(pauseMs: number = NOTE_AFTER_MS): void {
    this.noteTimer = setTimeout(() => {
      this.noteTimer = undefined
      const [oldest] = this.holds
      if (!oldest || this.isNoted) return
      const fd = this.file.fd
      const ageMs = performance.now() - oldest.since
      if (ageMs < NOTE_AFTER_MS) this.noteLater()
      else if (!this.#arbiter.isWaitedFor) this.noteLater(Math.min(2 * pauseMs, LONGEST_NOTE_PAUSE_MS))
      else if (fd !== undefined) {
        leaveNote(fd, oldest.mode, monotonicMs() - ageMs)
        this.isNoted = true
      }
    }, pauseMs)
    this.noteTimer.unref()
  }

  /** Else the next hold of this process, too young for a note of its own, would be shown with the age of this one. */
  eraseNote(): void {
    this.isNoted = false
    const { fd } = this.file
    if (fd !== undefined) eraseNote(fd)
  }
}

/** For `holders()`: where a hold of this very process was acquired. */
export function acquisitionOf(hold: { acquiredAt?: Error | undefined } | undefined): {
  acquiredAt?: string | undefined
} {
  const stack = hold?.acquiredAt?.stack
  return stack === undefined ? {} : { acquiredAt: stack.split('\n').slice(2).join('\n') }
}

/** What a lock is made of, checked. */
export type Backend = { readonly kind: 'flock' } | { readonly kind: 'lockfile'; readonly staleMs: number }

/** proper-lockfile's own default. */
const DEFAULT_STALE_MS = 10_000
/** It silently takes anything below as this. */
const SHORTEST_STALE_MS = 2_000

/** @throws TypeError that shows the wrong value */
export function backendOf({ backend = 'flock', staleMs }: PsLockOptions): Backend {
  if (backend === 'flock') {
    if (staleMs === undefined) return { kind: 'flock' }
    throw new TypeError(
      `staleMs is for { backend: 'lockfile' } only, got ${show(staleMs)}: a flock has no age`,
    )
  }
  requireOneOf(backend, 'backend', ['flock', 'lockfile'])
  if (staleMs === undefined) return { kind: 'lockfile', staleMs: DEFAULT_STALE_MS }
  if (Number.isFinite(staleMs) && staleMs >= SHORTEST_STALE_MS) return { kind: 'lockfile', staleMs }
  throw new TypeError(
    `staleMs must be a finite number of milliseconds from ${SHORTEST_STALE_MS} up, got ${show(staleMs)}`,
  )
}

/** @param onFailure is told when the lock is lost while it is held */
function kernelLockOf(
  backend: Backend,
  path: string,
  guards: string | undefined,
  onFailure: (error: PsLockError) => void,
): KernelLock {
  if (backend.kind === 'lockfile') return new LockFolder(path, backend.staleMs, onFailure)
  const mount = localNetworkMount(path)
  if (mount) warnOfLocalLocks(mount)
  return passedLock(path, guards) ?? new LockFile(path, guards)
}

/** "the flock backend", "the lockfile backend (staleMs 10000)" */
function describeBackend(backend: Backend): string {
  const detail = backend.kind === 'lockfile' ? ` (staleMs ${backend.staleMs})` : ''
  return `the ${backend.kind} backend${detail}`
}

/** Law 7: the error names the file, the mode, how long it waited, and who holds it. */
export function timeoutError(entry: LockEntry, mode: LockMode, waitedMs: number): LockTimeoutError {
  let holders: LockHolder[] = []
  let cause: unknown
  try {
    holders = entry.holders()
  } catch (error) {
    // That the time is up is what the caller must know.
    cause = error
  }
  const holding = holders.filter((holder) => holder.state === 'holding')
  const who =
    holding.length === 0
      ? 'Who holds it cannot be seen from here (another container?), or let go just now.'
      : `Held by ${holding.map(describeHolder).join(' and by ')}.`
  const advice = holding.some(({ pid }) => pid === process.pid)
    ? 'Give it more time with timeoutMs. If that hold waits for this very call, directly or by a queue of jobs, no time is ' +
      'enough: make the call in the context of the hold, or do not await it there.'
    : 'Give it more time with timeoutMs, or see who it is with "pslock status".'
  return new LockTimeoutError(
    `no ${mode} lock of ${entry.path} within ${Math.round(waitedMs)} ms. ${who} ${advice}`,
    { path: entry.path, mode, waitedMs, holders, ...(cause === undefined ? {} : { cause }) },
  )
}

/** Of a holder, or a waiter, that is. */
export const STOPPED = 'stopped (until it gets SIGCONT: fg, or kill -CONT)'

/** "4711 (node worker.js, exclusive) for 3.2 s, stopped" */
function describeHolder(holder: LockHolder): string {
  const { pid, stopped } = holder
  const own = pid === process.pid ? 'this very process, ' : ''
  const who = pid === undefined ? 'a process that cannot be seen from here' : `${own}${pid}`
  const since = holder.sinceMs === undefined ? '' : ` for ${(holder.sinceMs / 1000).toFixed(1)} s`
  return `${who} (${holder.command ?? 'unknown command'}, ${holder.mode})${since}${stopped ? `, ${STOPPED}` : ''}`
}
