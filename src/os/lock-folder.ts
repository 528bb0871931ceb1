import { lstatSync } from 'node:fs'
import {
  errnoOf,
  type LockHolder,
  LockIoError,
  LockLostError,
  LockUnsupportedError,
  PsLockError,
} from '../errors.ts'
import { requireLate } from './builtin.ts'
import { creationAdvice } from './creation-advice.ts'
import type { Lockable } from './lockable.ts'
import { isNotOurs, OwnedFolder } from './owned-folder.ts'

/**
 * How often a holder renews its lock, the shortest that proper-lockfile allows: the more often, the longer an event loop
 * may be busy without losing the lock, and the sooner a loss is known.
 */
const HEARTBEAT_MS = 1_000

interface ProperLockfile {
  lockSync(
    file: string,
    options: {
      lockfilePath: string
      realpath: false
      stale: number
      update: number
      fs: object
      onCompromised(error: Error): void
    },
  ): () => void
}

/**
 * A lock where flock(2) does not work: proper-lockfile's, a folder that exists while it is held and whose modification
 * time its holder renews. Best effort: a holder that is stopped, or whose event loop is busy, for longer than `staleMs`
 * loses it to the next process, and a dead one keeps it that long. A loss is reported, never thrown from a timer.
 *
 * Always exclusive: the shared mode is taken as exclusive. proper-lockfile is loaded at the first lock and not before, for
 * it puts handlers on the exit and on the signals of the process.
 */
export class LockFolder implements Lockable {
  readonly path: string
  /** No descriptor carries this lock. */
  readonly fd: undefined = undefined
  /** Each question is two or more round trips to a server, and the event loop waits for them. */
  readonly slowPaceMs: number = 50
  readonly #staleMs: number
  readonly #onFailure: (error: PsLockError) => void
  readonly #folder: OwnedFolder
  #release: (() => void) | undefined
  #failure: PsLockError | undefined

  /**
   * @param staleMs after this time without a renewal others take it over; 2000 at least, and the same everywhere
   * @param onFailure is told, once, when the lock is lost while it is held, or cannot be given back
   */
  constructor(path: string, staleMs: number, onFailure: (error: PsLockError) => void) {
    this.path = path
    this.#staleMs = staleMs
    this.#onFailure = onFailure
    this.#folder = new OwnedFolder(path, staleMs)
  }

  /** Whether it is still ours is for `verify` to say, which throws. */
  readonly isCurrent = true

  get failure(): PsLockError | undefined {
    return this.#failure
  }

  /**
   * Takes the lock if it is free, or stale.
   * @throws LockUnsupportedError where proper-lockfile is not installed, or a file has this name; LockIoError
   */
  tryLock(): boolean {
    const { lockSync } = properLockfile(this.path)
    try {
      this.#release = lockSync(this.path, {
        lockfilePath: this.path,
        realpath: false,
        stale: this.#staleMs,
        update: HEARTBEAT_MS,
        fs: this.#folder.calls,
        onCompromised: (error) => this.#lose(error),
      })
    } catch (error) {
      // Not ours: another process was faster at taking over a stale one.
      if (errnoOf(error) === 'ELOCKED' || isNotOurs(error)) return false
      throw this.#systemFailure('create', error)
    }
    this.#folder.isOurs = true
    this.#failure = undefined
    return true
  }

  unlock(): void {
    const release = this.#release
    if (!release) return
    this.#release = undefined
    try {
      release()
    } catch (error) {
      if (isNotOurs(error)) this.#lose(error)
      else this.#fail(this.#systemFailure('remove', error))
    } finally {
      this.#folder.isOurs = false
    }
  }

  /** To let go of it shows whether it was ours; a busy event loop finds out here before its heartbeat does. */
  verify(): void {
    if (this.#release && !this.#folder.isAsKnown()) this.unlock()
  }

  close(): void {
    this.unlock()
  }

  /** Somebody, or nobody. A lock folder stays empty, so who it is, and since when, is not known. */
  holders(): LockHolder[] {
    if (this.#release) return []
    const renewedMs = folderRenewedAt(this.path)
    return renewedMs === undefined || renewedMs < Date.now() - this.#staleMs ? [] : [unknownHolder()]
  }

  #lose(cause: unknown): void {
    this.#release = undefined
    this.#folder.isOurs = false
    this.#fail(
      new LockLostError(
        `the lock ${this.path} was lost while it was held: this process did not renew it for ${this.#staleMs} ms ` +
          '(stopped, suspended, or its event loop was busy) and another one took it over, or somebody removed or changed it. What ' +
          'ran meanwhile was not protected: check the data and do it again. Shorten what blocks, or raise staleMs everywhere.',
        { path: this.path, cause },
      ),
    )
  }

  #fail(error: PsLockError): void {
    this.#failure = error
    this.#onFailure(error)
  }

  #systemFailure(action: 'create' | 'remove', cause: unknown): PsLockError {
    if (cause instanceof PsLockError) return cause
    const code = errnoOf(cause) ?? String(cause)
    const advice =
      code === 'ENOTEMPTY'
        ? 'there is something in it, and as long as that is so nobody can lock. Empty it.'
        : action === 'create'
          ? creationAdvice(this.path, cause)
          : `${code}. Others wait until it is stale; remove it by hand where that fails too.`
    return new LockIoError(`cannot ${action} the lock folder ${this.path}: ${advice}`, {
      path: this.path,
      cause,
    })
  }
}

/** When the folder of this name was renewed last, on the clock of its holder; undefined where there is no folder. */
export function folderRenewedAt(path: string): number | undefined {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false })
    return found?.isDirectory() ? found.mtimeMs : undefined
  } catch {
    return undefined
  }
}

export function unknownHolder(): LockHolder {
  return { pid: undefined, command: undefined, mode: 'exclusive', sinceMs: undefined, state: 'holding' }
}

function properLockfile(path: string): ProperLockfile {
  try {
    return requireLate()('proper-lockfile') as ProperLockfile
  } catch (cause) {
    throw new LockUnsupportedError(
      `cannot lock ${path} with the lockfile backend: proper-lockfile could not be loaded. Run "npm install ` +
        'proper-lockfile" (version 4).',
      { path, cause },
    )
  }
}
