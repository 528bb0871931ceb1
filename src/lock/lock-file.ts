import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { errnoOf, type LockHolder, LockIoError, LockUnsupportedError, orUndefined } from '../errors.ts'
import type { NamedFile } from '../os/file-stat.ts'
import { orClose, PathLock, requireFlock } from '../os/flock.ts'
import { kernelHolders, markAsOurs } from '../os/lock-owners.ts'
import { mountOf } from '../os/mounts.ts'
import { openFile } from '../os/open-files.ts'
import { sleep } from '../os/steps.ts'
import type { KernelLock } from './kernel-lock.ts'
import { creationAdvice } from './kernel-lock.ts'
import { folderRenewedAt, unknownHolder } from './lockfile-backend.ts'

/**
 * The lock file: created beside the data, and never renamed or truncated by us, nor unlinked but under its own lock (see
 * lock-removal.ts). Others may do all three (a clean-up script, `git clean`, Python's `open(name, 'w')`), so what is *in*
 * it is only a hint.
 */
export class LockFile extends PathLock implements KernelLock {
  readonly #guards: string | undefined
  readonly #isCourtesy: boolean

  /**
   * @param guards the data file whose mode and group a new lock file takes over
   * @param courtesy its content is useful but not needed: if no descriptor is left, it is not opened. `mayClose` says
   * whether it may be closed while nothing is locked
   */
  constructor(path: string, guards?: string, courtesy?: { mayClose(): boolean }) {
    super(path, courtesy ?? { mayClose: () => true })
    this.#guards = guards
    this.#isCourtesy = courtesy !== undefined
  }

  exists(): boolean {
    return existsSync(this.path)
  }

  protected open(): void {
    // Before a file is made that only stands in the way of the other backend.
    requireFlock(this.path)
    this.whenLocked = undefined
    const created = () => {
      if (!this.#isCourtesy) this.whenLocked = markAsOurs
    }
    this.replace(openLockFile(this.named, this.#guards, this.#isCourtesy ? openSync : openFile, created))
  }

  /**
   * As the kernel knows them. A folder of this name is the lock of a process that uses the other backend.
   * @throws LockUnsupportedError for a FIFO, a device, or a socket: nobody can hold it, and "free" would be wrong
   */
  holders(): LockHolder[] {
    if (folderRenewedAt(this.path) !== undefined) return [unknownHolder()]
    const found = lstatSync(this.path, { throwIfNoEntry: false })
    if (found && !found.isFile() && !found.isSymbolicLink()) throw notAFile(this.path, false)
    return kernelHolders(this.path)
  }
}

/**
 * Opens a lock file, for reading only where it may not be written, or creates it like the data file that it guards.
 * Never through a symbolic link, and never anything but a regular file.
 * @throws LockIoError, LockUnsupportedError
 */
export function openLockFile(
  file: NamedFile,
  guards: string | undefined,
  open: typeof openFile = openFile,
  created: () => void = () => {},
): number {
  const { path } = file
  const fd = openOrCreate(path, guards, open, created)
  const { mode } = orClose(fd, () => {
    try {
      return file.opened(fd)
    } catch (error) {
      throw openFailure(path, error)
    }
  })
  const kind = mode & constants.S_IFMT
  if (kind === constants.S_IFREG) return fd
  closeSync(fd)
  throw notAFile(path, kind === constants.S_IFDIR)
}

export function notAFile(path: string, isDirectory: boolean, cause?: unknown): LockUnsupportedError {
  const what = isDirectory
    ? "is a folder, the kind of lock that proper-lockfile and { backend: 'lockfile' } use. The two kinds do not exclude each " +
      'other: use one of them everywhere, or remove it if nobody uses it'
    : 'is not a regular file. Remove it'
  return new LockUnsupportedError(`cannot lock ${path}: it ${what}, or choose another lockPath.`, {
    path,
    cause,
  })
}

/**
 * Opens without O_CREAT first: in a sticky folder such as /tmp Linux refuses O_CREAT on other users' files
 * (fs.protected_regular). Read-only is enough for flock, so a lock file made by root still serves everybody.
 */
function openOrCreate(
  path: string,
  guards: string | undefined,
  open: typeof openFile,
  created: () => void,
): number {
  const { O_RDWR, O_RDONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants
  // O_NONBLOCK: somebody may have put a FIFO in its place, whose opening waits for ever.
  const careful = O_NOFOLLOW | O_NONBLOCK
  const widened = (fd: number) => {
    orClose(fd, () => widenLike(fd, path, guards))
    return fd
  }
  for (let attempt = 0; ; attempt++) {
    try {
      try {
        return widened(open(path, O_RDWR | careful))
      } catch (error) {
        const code = errnoOf(error)
        if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM')
          return widened(open(path, O_RDONLY | careful))
        if (code !== 'ENOENT') throw error
      }
      const fd = createLike(path, guards, open, O_RDWR | O_CREAT | O_EXCL | careful)
      created()
      return fd
    } catch (error) {
      // EEXIST: another process created it between our two calls. ENOENT on the second call: no such folder.
      if (errnoOf(error) === 'EEXIST' && attempt < 100) continue
      // Who makes it opens it to others a moment later: see `createLike`.
      if (errnoOf(error) === 'EACCES' && attempt < 20 && isJustMade(path)) {
        sleep(1)
        continue
      }
      throw openFailure(path, error)
    }
  }
}

function isJustMade(path: string): boolean {
  const found = orUndefined(() => lstatSync(path))
  return found !== undefined && found.size === 0 && Date.now() - found.ctimeMs < 1000
}

/** A lock file that whoever can read the data can open, and that belongs to whom the data belongs to. */
function createLike(path: string, guards: string | undefined, open: typeof openFile, flags: number): number {
  const wanted = ownershipFor(path, guards)
  const fd = open(path, flags, wanted.mode)
  // Not left to the umask: who can read the data must be able to open its lock.
  orClose(fd, () => giveTo(fd, fstatSync(fd), wanted, wanted.mode))
  return fd
}

/** Data that was opened to more people after its lock file was made: whoever may widens the lock file too. */
function widenLike(fd: number, path: string, guards: string | undefined): void {
  if (guards === undefined) return
  const data = statSync(guards, { throwIfNoEntry: false })
  if (!data?.isFile()) return
  const found = fstatSync(fd)
  const missing = data.mode & 0o666 & ~found.mode
  if (missing === 0 || !found.isFile()) return
  const own = process.geteuid?.()
  if (own !== found.uid && own !== 0) return
  giveTo(fd, found, ownershipFor(path, guards), (found.mode & 0o777) | missing)
}

interface Ownership {
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

const S_ISVTX = 0o1000

/** As the data; where there is none yet, as who may use the folder: the umask of whoever comes first says nothing of that. */
function ownershipFor(path: string, guards: string | undefined): Ownership {
  const data = guards === undefined ? undefined : statSync(guards, { throwIfNoEntry: false })
  if (data?.isFile()) return { mode: data.mode & 0o666, uid: data.uid, gid: data.gid }
  const folder = statSync(dirname(path))
  // In a folder such as /tmp, which is everybody's, a file is its owner's all the same.
  const isEverybodys = (folder.mode & S_ISVTX) !== 0
  const mode = (folder.mode & (isEverybodys ? 0o644 : 0o666)) | 0o600
  return { mode, uid: folder.uid, gid: isEverybodys ? -1 : folder.gid }
}

/** Root gives a file to the owner of the data, who would be locked out for ever. The others give it to the group, if they may. */
function giveTo(fd: number, found: Stats, { uid, gid }: Ownership, mode: number): void {
  const owner = process.geteuid?.() === 0 ? uid : found.uid
  const group = gid === -1 ? found.gid : gid
  const isOther = owner !== found.uid || group !== found.gid
  for (const change of [() => fchmodSync(fd, mode), () => isOther && fchownSync(fd, owner, group)]) {
    try {
      change()
    } catch (error) {
      // What takes a right that we may not have: not a member of that group, say. Flock needs only read permission.
      if (errnoOf(error) !== 'EPERM') throw error
    }
  }
}

/** Why a lock file cannot be opened, or its place not be looked at. */
export function openFailure(path: string, cause: unknown): Error {
  const code = errnoOf(cause)
  if (code === 'EISDIR') return notAFile(path, true, cause)
  // A socket, or a device that is not there.
  if (code === 'ENXIO' || code === 'ENODEV') return notAFile(path, false, cause)
  if (code === 'ELOOP') {
    return new LockUnsupportedError(
      `cannot lock ${path}: the lock file is a symbolic link, which is not followed. Remove it.`,
      { path, cause },
    )
  }
  return new LockIoError(`cannot open the lock file ${path}: ${creationAdvice(path, cause)}`, { path, cause })
}

/**
 * Whether a lock failed because nothing can be written beside the data. Readers then go without a lock: what they read
 * is whole all the same, since images are renamed into place and units of a log are complete or passed over.
 */
export function isReadOnlyFolder(error: unknown): boolean {
  return error instanceof LockIoError && ['EACCES', 'EROFS', 'EPERM'].includes(errnoOf(error.cause) ?? '')
}

/**
 * The real path of a file that may not exist yet: two names of one file (symbolic links, `..`, relative paths) must
 * give one lock. Links are followed for the file too, also where they dangle. What cannot be resolved (no such folder,
 * no permission) is returned as an absolute path: opening it will say why.
 */
export function canonicalPath(path: string): string {
  let current = resolve(path)
  for (let hops = 0; hops < 40; hops++) {
    try {
      return realpathSync.native(current)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') return current
    }
    const link = orUndefined(() => readlinkSync(current))
    if (link === undefined) break
    current = resolve(dirname(current), link)
  }
  // The folder may be created later (NeDB does so itself): until then the name is all there is.
  const folder = orUndefined(() => realpathSync.native(dirname(current)))
  return folder === undefined ? current : join(folder, basename(current))
}

/**
 * The lock of a file is beside one of its names, so a file with several has several locks, none of which excludes the others.
 * @param names how many hard links there are
 * @param thorough look also whether it is mounted under this name, which takes a look at the table of mounts
 * @throws LockUnsupportedError
 */
export function requireOneName(path: string, names: number, thorough: boolean): void {
  const advice =
    'Processes that use another name would take another lock file: give all of them the same lockPath, or use one name.'
  if (names > 1)
    throw new LockUnsupportedError(`cannot lock ${path}: it has ${names} hard links. ${advice}`, { path })
  if (thorough && mountOf(canonicalPath(path))?.point === canonicalPath(path)) {
    throw new LockUnsupportedError(
      `cannot lock ${path}: it is a mount point of its own (a single-file bind mount). ${advice} Or mount its folder.`,
      { path },
    )
  }
}
