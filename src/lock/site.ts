import { type LockHolder, LockLostError, type LockMode, LockUnsupportedError } from '../errors.ts'
import { monotonicMs } from '../os/clock.ts'
import { eraseNote, leaveNote } from '../os/holders.ts'
import { ownCommand } from '../os/live-process.ts'
import { type Backend, describeBackend, isSameBackend, lockableOf } from './backend.ts'
import type { Hold } from './hold.ts'
import { Room } from './room.ts'
import { shared } from './shared-state.ts'
import { Turnstile } from './turnstile.ts'

/**
 * A hold this old leaves a note of its start in the lock file, provided that another process waits for it: nobody else is
 * in need of it, and a file that changes makes programs that watch the folder start anew.
 */
const NOTE_AFTER_MS = 20
const LONGEST_NOTE_PAUSE_MS = 50

/** How often it is looked whether a lock is still held, for those who listen to `held.signal`. */
const LOOK_EVERY_MS = 500

/** One lock file as this process sees it: its door, its queue, its holds. Every `PsLock` on it shares this object. */
export class Site {
  readonly path: string
  readonly room: Room
  readonly backend: Backend
  readonly #door: Turnstile
  readonly #holds = new Set<Hold>()
  #watching: NodeJS.Timeout | undefined
  #users = 0
  #noteTimer: NodeJS.Timeout | undefined
  #noted = false

  /**
   * The site of a lock file, made at the first use and closed after the last.
   * @throws LockUnsupportedError where this process has it open with another backend
   */
  static open(path: string, guards: string | undefined, backend: Backend): Site {
    let site = shared.sites.get(path)
    if (!site) {
      site = new Site(path, guards, backend)
      shared.sites.set(path, site)
    }
    if (!isSameBackend(site.backend, backend)) {
      throw new LockUnsupportedError(
        `cannot lock ${path} with ${describeBackend(backend)}: this very process locks it with ` +
          `${describeBackend(site.backend)}, and neither excludes the other. Use the same options everywhere.`,
        { path },
      )
    }
    site.use()
    return site
  }

  private constructor(path: string, guards: string | undefined, backend: Backend) {
    this.path = path
    this.backend = backend
    const file = lockableOf(backend, path, guards, (error) => {
      for (const hold of this.#holds) hold.fail(error)
    })
    this.#door = new Turnstile(file, guards, () => this.room.knock())
    this.room = new Room(this.#door)
  }

  /** Whether it is held here, or waited for. */
  get isBusy(): boolean {
    return !this.room.isEmpty || this.room.waiters.length > 0
  }

  /** One user more. A method, for the site may be another copy's of this package: private names are per copy. */
  use(): void {
    this.#users++
  }

  /** One user fewer. The last one closes the files, but never under a hold. */
  release(): void {
    this.#users--
    this.#closeIfUnused()
  }

  entered(hold: Hold): void {
    this.#holds.add(hold)
    // Readers share one lock: who joins those that have lost it has none.
    const { failure } = this.#door.file
    if (failure) hold.fail(failure)
    if (!this.#noteTimer) this.#noteLater()
  }

  /** For `pslock run`: see `Lockable.passOn`. Only while it is held. */
  passOn(): number | undefined {
    return this.#door.file.passOn?.()
  }

  /**
   * Looks whether the lock is still held; where it is not, every hold is told. A flock that is held stays held, but of a
   * file that the path has left: a tmp cleaner, `git clean` or an `rm` has removed it, and others lock another one.
   */
  verify(): void {
    const { file } = this.#door
    if (file.verify) file.verify()
    else if (file.fd !== undefined && (file.isGone ?? !file.isCurrent)) {
      const error = new LockLostError(
        `${this.path} was removed or replaced while it was held, so somebody else may have held the lock at the same time: ` +
          'what was done under it was not protected. Look at the data, find out who removes lock files, or put this one ' +
          'elsewhere with the lockPath option.',
        { path: this.path },
      )
      for (const hold of this.#holds) hold.fail(error)
    }
  }

  /** From now on a loss is noticed within `LOOK_EVERY_MS`, as long as something is held. */
  watch(): void {
    this.#watching ??= setInterval(() => this.verify(), LOOK_EVERY_MS).unref()
  }

  left(hold: Hold): void {
    // What is beside a store's own lock of its data file loses nothing, see DataFile.
    if (!hold.isOfStore) this.verify()
    if (this.#noted && this.#holds.size === 1) this.#eraseNote()
    ;(hold.outer?.room ?? this.room).leave(hold.mode)
    // Not before: what fails while the lock is given back is the failure of this hold.
    this.#holds.delete(hold)
    if (this.#holds.size === 0 && this.#watching) {
      clearInterval(this.#watching)
      this.#watching = undefined
    }
    this.#closeIfUnused()
  }

  /** Everybody who holds or waits, as far as this system can tell. */
  holders(): LockHolder[] {
    const own = this.#ownHolders()
    const seen = this.#door.file.holders()
    // Worker threads of this process are the kernel's business; what this thread holds is known better here.
    const others = own.some((holder) => holder.state === 'holding') ? seen.filter(isOther) : seen
    return [...others, ...own, ...this.#door.waiters()]
  }

  #ownHolders(): LockHolder[] {
    const now = performance.now()
    const command = ownCommand()
    const describe = (
      mode: LockMode,
      since: number,
      state: LockHolder['state'],
      acquiredAt?: Error,
    ): LockHolder => ({
      pid: process.pid,
      command,
      mode,
      sinceMs: Math.round(now - since),
      state,
      ...(acquiredAt === undefined ? {} : { acquiredAt: acquiredAt.stack?.split('\n').slice(2).join('\n') }),
    })
    const outermost = [...this.#holds].filter((hold) => hold.outer === undefined)
    return [
      ...outermost.map((hold) => describe(hold.mode, hold.since, 'holding', hold.acquiredAt)),
      ...this.room.waiters.map((waiter) => describe(waiter.mode, waiter.since, 'waiting')),
    ]
  }

  /** @param pauseMs until it is looked whether anybody wants to know */
  #noteLater(pauseMs = NOTE_AFTER_MS): void {
    this.#noteTimer = setTimeout(() => {
      this.#noteTimer = undefined
      const [oldest] = this.#holds
      if (!oldest || this.#noted) return
      const fd = this.#door.file.fd
      const ageMs = performance.now() - oldest.since
      if (ageMs < NOTE_AFTER_MS) this.#noteLater()
      else if (!this.#door.isWaitedFor) this.#noteLater(Math.min(2 * pauseMs, LONGEST_NOTE_PAUSE_MS))
      else if (fd !== undefined) {
        leaveNote(fd, oldest.mode, monotonicMs() - ageMs)
        this.#noted = true
      }
    }, pauseMs)
    this.#noteTimer.unref()
  }

  /** Else the next hold of this process, too young for a note of its own, would be shown with the age of this one. */
  #eraseNote(): void {
    this.#noted = false
    const { fd } = this.#door.file
    if (fd !== undefined) eraseNote(fd)
  }

  #closeIfUnused(): void {
    if (this.#users > 0 || !this.room.isEmpty || this.room.waiters.length > 0) return
    clearTimeout(this.#noteTimer)
    this.#noteTimer = undefined
    this.#door.close()
    if (shared.sites.get(this.path) === this) shared.sites.delete(this.path)
  }
}

function isOther(holder: LockHolder): boolean {
  return holder.pid !== process.pid
}
