import { type BigIntStats, lstatSync, mkdirSync, rmdirSync, utimesSync } from 'node:fs'
import {
  errnoOf,
  type LockHolder,
  LockIoError,
  LockLostError,
  LockUnsupportedError,
  orUndefined,
  PsLockError,
  systemError,
} from '../errors.ts'
import { requireLate } from '../os/modules.ts'
import { creationAdvice, type KernelLock } from './kernel-lock.ts'

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
export class LockFolder implements KernelLock {
  readonly path: string
  /** No descriptor carries this lock. */
  readonly fd: undefined = undefined
  /** Each question is two or more round trips to a server, and the event loop waits for them. */
  readonly slowPaceMs: number = 50
  readonly #staleMs: number
  readonly #onFailure: (error: PsLockError) => void
  readonly #folder: OwnedFolder
  /** Whether it is still ours is for `verify` to say, which throws. */
  readonly isCurrent = true
  failure: PsLockError | undefined
  #release: (() => void) | undefined

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
    this.failure = undefined
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
    this.failure = error
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
    const message = `cannot ${action} the lock folder ${this.path}: ${advice}`
    return new LockIoError(message, { path: this.path, cause })
  }
}

/** When the folder of this name was renewed last, on the clock of its holder; undefined where there is no folder. */
export function folderRenewedAt(path: string): number | undefined {
  const found = orUndefined(() => lstatSync(path, { throwIfNoEntry: false }))
  return found?.isDirectory() ? found.mtimeMs : undefined
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

/** What marks an error of ours that means: the folder is not the one we know. */
const NOT_OURS = 'ECOMPROMISED'

/**
 * The file system calls that proper-lockfile makes on its lock folder, with the ownership check that it lacks. Left to
 * itself its `release()` and its exit handler remove whatever folder has the name, also that of a successor (measured:
 * a third process then enters beside the second), and so does its removal of a stale one.
 *
 * A lock folder must stay empty, or nobody could remove it; so it is signed in its modification time, below the
 * milliseconds that proper-lockfile looks at. Inode numbers alone come back at once.
 *
 * The check and the removal are two calls. Between them nobody may take over a lock that is fresh, and a stale one is
 * removed by one process at a time, behind a second folder `<lock>.takeover`: without it most of the takeovers that
 * six processes tried in the same millisecond were granted twice (210 of 300; measured again with it: 0).
 */
export class OwnedFolder {
  readonly path: string
  /** Whether it is ours: then nobody else may touch it. Else it is only known, as it was seen last. */
  isOurs = false
  #mark: string | undefined
  /** When it was made, or seen to be ours, on the clock by which others find it stale. */
  #sureAt = 0
  #signedAt = 0
  readonly #staleMs: number

  constructor(path: string, staleMs: number) {
    this.path = path
    this.#staleMs = staleMs
  }

  /**
   * proper-lockfile's `fs` option. Own properties, for it copies them. With the synchronous API its heartbeat is
   * synchronous too, so that nothing of ours runs between its look at the folder and its touch.
   */
  readonly calls: object = {
    mkdirSync: (path: string) => this.#make(path),
    statSync: (path: string) => this.#look(path),
    utimesSync: (path: string, _atime: Date, mtime: Date) => this.#sign(path, mtime),
    rmdirSync: (path: string) => this.#remove(path),
  }

  /** Whether the path still names the very folder that was seen or signed last. */
  isAsKnown(): boolean {
    // No where it cannot be told (a network that is down): an operation is reported as protected or not at all.
    const found = orUndefined(() => lstatSync(this.path, { bigint: true }))
    return found !== undefined && markOf(found) === this.#mark
  }

  #make(path: string): void {
    this.#sureAt = Date.now()
    mkdirSync(path)
    this.#mark = undefined
  }

  #look(path: string): BigIntStats {
    this.#sureAt = Date.now()
    const found = lstatSync(path, { bigint: true })
    if (!found.isDirectory()) throw notAFolder(path)
    const mark = markOf(found)
    if (this.isOurs && mark !== this.#mark) {
      // "Our folder is gone", which ends the heartbeat. By its own check, of milliseconds, it could miss this.
      throw systemError('ENOENT', `another lock folder has taken the place of ours, ${path}`)
    }
    this.#mark = mark
    return found
  }

  #sign(path: string, mtime: Date): void {
    this.#requireSure(path)
    utimesSync(path, new Date(), mtime.getTime() / 1000 + Math.random() * 0.0004)
    const mark = markOf(lstatSync(path, { bigint: true }))
    this.#requireSure(path)
    this.#mark = mark
    this.#signedAt = this.#sureAt
  }

  /** Who was stopped since its last look may be about to renew the lock of its successor (measured: it happens). */
  #requireSure(path: string): void {
    if (Date.now() - this.#sureAt < this.#staleMs / 4) return
    throw notOurs(`${path} may be another lock folder by now`)
  }

  #remove(path: string): void {
    if (this.isOurs && Date.now() - this.#signedAt < this.#staleMs / 2) this.#removeKnown(path)
    else this.#removeStale(path)
  }

  #removeStale(path: string): void {
    const guard = `${path}.takeover`
    try {
      mkdirSync(guard)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      const found = lstatSync(guard, { throwIfNoEntry: false })
      // Its maker died in the middle. Who asks next goes on.
      if (found && found.mtimeMs < Date.now() - this.#staleMs) removeIfThere(guard)
      throw notOurs(`another process is removing ${path}`)
    }
    try {
      this.#removeKnown(path)
    } finally {
      removeIfThere(guard)
    }
  }

  #removeKnown(path: string): void {
    if (!this.isAsKnown()) throw notOurs(`${path} is not the lock folder that it was`)
    rmdirSync(path)
  }
}

function removeIfThere(path: string): void {
  try {
    rmdirSync(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

/** Whether something failed because another process has removed the folder, or put its own there, under our hands. */
export function isNotOurs(error: unknown): boolean {
  const code = errnoOf(error)
  // From mkdir it means that there is no place for a lock folder.
  return code === NOT_OURS || (code === 'ENOENT' && (error as NodeJS.ErrnoException).syscall !== 'mkdir')
}

function notOurs(message: string): Error {
  return systemError(NOT_OURS, message)
}

function markOf({ dev, ino, mtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${mtimeNs}`
}

function notAFolder(path: string): LockUnsupportedError {
  return new LockUnsupportedError(
    `cannot lock ${path} with the lockfile backend: it is not a folder, so it is the lock file of flock(2), or ` +
      'something else. Use one backend everywhere; to change to this one, remove that file when no process uses it.',
    { path },
  )
}
