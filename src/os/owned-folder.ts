import { type BigIntStats, lstatSync, mkdirSync, rmdirSync, utimesSync } from 'node:fs'
import { errnoOf, LockUnsupportedError } from '../errors.ts'

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
    try {
      return markOf(lstatSync(this.path, { bigint: true })) === this.#mark
    } catch {
      // Also where it cannot be told (a network that is down): an operation is reported as protected or not at all.
      return false
    }
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
      throw Object.assign(new Error(`ENOENT: another lock folder has taken the place of ours, ${path}`), {
        code: 'ENOENT',
      })
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
  return Object.assign(new Error(`${NOT_OURS}: ${message}`), { code: NOT_OURS })
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
