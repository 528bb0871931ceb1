import {
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
} from 'node:fs'
import { errnoOf, LockLostError, LockUnsupportedError, StoreIoError } from '../errors.ts'
import { sync, syncNames, syncNamesSync, type Written, writeAt, writeAtSync, writeWhole } from './data-io.ts'
import { closeLocked, orClose } from './descriptor.ts'
import { tryFlock } from './flock.ts'
import { openFile } from './open-files.ts'

/** How a file is replaced as a whole. */
export interface Replacement {
  /** Beside the file, on the same file system, of a name that nobody else uses while the lock is held. */
  readonly temp: string
  /** Permission bits where the file does not exist yet; an existing file keeps its own, and its owner. */
  readonly newMode: number
  /**
   * Write through `fs.createWriteStream`, which some stores' own tests look for. It takes a few turns of the event loop
   * more, under the lock.
   */
  readonly asStream?: boolean | undefined
  /** Also make the rename itself survive power loss. The content is synced in any case. */
  readonly durable: boolean
  /**
   * Whether a file of this name may be there already.
   * @default true
   */
  readonly overwrite?: boolean | undefined
}

/**
 * Replaces a file by a new content: temp file, fsync, rename. Another process sees the old file or the new one. The
 * content is synced whatever the durability, since the rename would take other processes' durable records with it.
 * @returns the descriptor of the new file, open for reading and appending, and locked (flock) by us
 * @throws StoreIoError, LockUnsupportedError (hard links, mount points), LockLostError
 */
export async function replaceFile(path: string, content: Buffer, how: Replacement): Promise<number> {
  const fd = openTemp(path, how)
  try {
    if (how.asStream) await writeWhole(fd, how.temp, content)
    else requireAll(await writeAt(fd, content, 0), content)
    await sync(fd)
    putInPlace(path, how)
  } catch (error) {
    throw abandon(fd, path, how.temp, error)
  }
  try {
    if (how.durable) await syncNames(path)
    return fd
  } catch (error) {
    throw notDurable(fd, path, error)
  }
}

/** As `replaceFile`, blocking. */
export function replaceFileSync(path: string, content: Buffer, how: Replacement): number {
  const fd = openTemp(path, how)
  try {
    requireAll(writeAtSync(fd, content, 0), content)
    fsyncSync(fd)
    putInPlace(path, how)
  } catch (error) {
    throw abandon(fd, path, how.temp, error)
  }
  try {
    if (how.durable) syncNamesSync(path)
    return fd
  } catch (error) {
    throw notDurable(fd, path, error)
  }
}

function requireAll({ bytes, error }: Written, content: Buffer): void {
  if (bytes !== content.length) throw error
}

function openTemp(path: string, { temp, newMode }: Replacement): number {
  const old = present(path)
  if (old && old.nlink > 1) {
    throw new LockUnsupportedError(
      `cannot replace ${path}: it has ${old.nlink} hard links, and the other names would keep the old content. ` +
        'Remove the other links, or use a symbolic link, which is followed.',
      { path },
    )
  }
  const { O_RDWR, O_CREAT, O_APPEND, O_NOFOLLOW } = constants
  // Without the sticky bit: see journal/mark.
  const mode = old ? old.mode & 0o6777 : newMode
  let fd: number
  try {
    fd = openFile(temp, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, mode)
    orClose(fd, () => lockTemp(fd, path, temp))
  } catch (error) {
    throw storeFailure(path, 'write', error)
  }
  try {
    // Only now: with two lock files it might be what another process is writing.
    ftruncateSync(fd)
    if (old) keepOwner(fd, old, mode)
    return fd
  } catch (error) {
    throw abandon(fd, path, temp, error)
  }
}

function present(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    throw storeFailure(path, 'look at', error)
  }
}

function lockTemp(fd: number, path: string, temp: string): void {
  if (tryFlock(fd, 'exclusive', temp)) return
  throw new LockLostError(
    `${temp} is being written by another process: ${path} is guarded by two different lock files. ` +
      'Use the same path (or lockPath) everywhere.',
    { path },
  )
}

/** A rename would replace what came into being a moment ago; a link never does. */
function putInPlace(path: string, { temp, overwrite = true }: Replacement): void {
  if (!overwrite) {
    try {
      linkSync(temp, path)
      unlinkSync(temp)
      return
    } catch (error) {
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error
      // A file system without links: the next best is to look first.
      if (statSync(path, { throwIfNoEntry: false })) {
        throw Object.assign(new Error(`EEXIST: ${path} exists`), { code: 'EEXIST' })
      }
    }
  }
  renameSync(temp, path)
}

/** Gives a new file the owner and the permission bits of the one that it replaces, or belongs to. */
export function keepOwner(fd: number, old: Stats, mode: number): void {
  try {
    fchownSync(fd, old.uid, old.gid)
  } catch (error) {
    // Only root may give files away; the new file then belongs to its writer, as with any editor.
    if (errnoOf(error) !== 'EPERM') throw error
  }
  fchmodSync(fd, mode)
}

function abandon(fd: number, path: string, temp: string, error: unknown): Error {
  try {
    unlinkSync(temp)
  } catch {
    // It is overwritten by the next replacement.
  }
  closeLocked(fd, path)
  if (errnoOf(error) === 'EBUSY' || errnoOf(error) === 'EXDEV') {
    return new LockUnsupportedError(
      `cannot replace ${path}: it is a mount point of its own (a single-file bind mount). Mount its folder instead.`,
      { path, cause: error },
    )
  }
  return storeFailure(path, 'write', error)
}

/** The new content is in place; the next look at the file finds it. */
function notDurable(fd: number, path: string, cause: unknown): StoreIoError {
  closeLocked(fd, path)
  return new StoreIoError(
    `fsync of the folder of ${path} failed: the new content is in the file, but whether that survives power loss is unknown.`,
    { path, cause },
  )
}

/** The failure of a write to a file whose mode allows none: a rename would replace it all the same, and root may write. */
export function noWritePermission(path: string): Error {
  return Object.assign(new Error(`EACCES: ${path} is marked read-only`), { code: 'EACCES', syscall: 'write' })
}

/** Any failure of the data file as a typed error that says what was done and what to do. */
export function storeFailure(path: string, operation: string, cause: unknown): Error {
  const code = errnoOf(cause)
  if (code?.startsWith('PSLOCK_') && 'path' in (cause as object)) return cause as Error
  return new StoreIoError(
    `cannot ${operation} ${path}: ${ADVICE[code ?? ''] ?? `${code ?? String(cause)}.`}`,
    { path, cause },
  )
}

const ADVICE: Record<string, string> = {
  ENOSPC: 'the disk is full (ENOSPC). Nothing was changed; free some space and try again.',
  EDQUOT: 'the disk quota is used up (EDQUOT). Nothing was changed.',
  EFBIG: 'the file would exceed the size limit (EFBIG). Nothing was changed.',
  EACCES: 'permission denied (EACCES): the file or its folder is read-only.',
  EPERM: 'not permitted (EPERM).',
  EBADF: 'it could only be opened for reading: no write permission (EBADF).',
  EROFS: 'the file system is read-only (EROFS).',
  EEXIST:
    'a file of this name is there already (EEXIST). Nothing was changed; ask for overwriting, or take another name.',
  EISDIR: 'it is a folder (EISDIR).',
  ENOENT: 'its folder does not exist (ENOENT). Create it first.',
  ENOTDIR: 'a part of the path is not a folder (ENOTDIR).',
  EMFILE: 'too many open files (EMFILE). Raise the limit (ulimit -n) or close some stores.',
}
