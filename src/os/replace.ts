import {
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  linkSync,
  lstatSync,
  readdirSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, LockLostError, LockUnsupportedError, StoreIoError, systemError } from '../errors.ts'
import { closeLocked, closeQuietly, tryFlock } from './flock.ts'
import { type Pieces, sync, writeAsStream } from './io.ts'
import { crypto } from './modules.ts'
import { openFile } from './open-files.ts'
import { BLOCKING, type FileCalls, runBlocking, runSteps, type Steps, WAITING } from './steps.ts'

/** How a file is replaced as a whole. */
export interface Replacement {
  /**
   * Beside the file, on the same file system, of a name that no other writer uses while the lock is held. Where somebody
   * else has made a file of this name another one is taken, see `openTemp`.
   */
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
export function* replace(path: string, content: Pieces, how: Replacement, calls: FileCalls): Steps<number> {
  const { fd, temp } = openTemp(path, how)
  try {
    yield how.asStream ? writeAsStream(fd, temp, content) : calls.write(fd, content)
    yield calls.sync(fd)
    putInPlace(path, temp, how)
  } catch (error) {
    throw abandon(fd, path, temp, error)
  }
  try {
    if (how.durable) yield* syncNames(path, calls)
    return fd
  } catch (error) {
    throw notDurable(fd, path, error)
  }
}

/** As `replace`, without blocking the thread. */
export async function replaceFile(path: string, content: Pieces, how: Replacement): Promise<number> {
  return runSteps(replace(path, content, how, WAITING))
}

/**
 * Makes the temp file: always a new one (O_EXCL), so that nobody has it open, or has it under another name. What a crash
 * has left under its name is removed before; what somebody else has put there is neither written to nor removed, and
 * the temp file gets a name that nobody can know.
 */
function openTemp(path: string, how: Replacement): { fd: number; temp: string } {
  const old = present(path)
  if (old?.isDirectory()) throw storeFailure(path, 'write', systemError('EISDIR', path))
  if (old && old.nlink > 1) {
    throw new LockUnsupportedError(
      `cannot replace ${path}: it has ${old.nlink} hard links, and the other names would keep the old content. ` +
        'Remove the other links, or use a symbolic link, which is followed.',
      { path },
    )
  }
  // Without the sticky bit: see json/journal/journal.ts.
  const mode = old ? old.mode & 0o6777 : how.newMode
  let opened: { fd: number; temp: string }
  try {
    opened = createTemp(path, how.temp, mode, old?.uid)
  } catch (error) {
    throw storeFailure(path, 'write', error)
  }
  const { fd, temp } = opened
  try {
    lockTemp(fd, path, temp)
  } catch (error) {
    closeQuietly(fd)
    throw storeFailure(path, 'write', error)
  }
  try {
    if (old) keepOwner(fd, old, mode)
    return opened
  } catch (error) {
    throw abandon(fd, path, temp, error)
  }
}

function createTemp(
  path: string,
  name: string,
  mode: number,
  owner: number | undefined,
): { fd: number; temp: string } {
  const { O_RDWR, O_CREAT, O_EXCL, O_APPEND, O_NOFOLLOW } = constants
  let temp = name
  for (let attempt = 0; ; attempt++) {
    try {
      return { fd: openFile(temp, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW, mode), temp }
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || attempt === 10) throw error
    }
    if (removeLeftover(path, temp, owner)) continue
    if (temp === name) removeUnknown(path, owner)
    temp = secretTemp(path)
  }
}

/** The name of a temp file that nobody else can know, and that `pslock check` recognises. */
export function secretTemp(path: string): string {
  return join(dirname(path), `.${basename(path)}.${crypto().randomUUID().slice(0, 8)}.pslock.tmp`)
}

/** Of a dump, say: whoever makes one locks it at once. */
const YOUNG_MS = 60_000

/** Crashes while somebody else's file had the usual name have left temp files of other names. They must not add up. */
function removeUnknown(path: string, owner: number | undefined): void {
  const start = `.${basename(path)}.`
  for (const name of readdirSync(dirname(path))) {
    if (!name.startsWith(start) || !/^[0-9a-f]{8}\.pslock\.tmp$/.test(name.slice(start.length))) continue
    const temp = join(dirname(path), name)
    const found = lstatSync(temp, { throwIfNoEntry: false })
    if (!found || Date.now() - found.mtimeMs < YOUNG_MS) continue
    try {
      removeLeftover(path, temp, owner)
    } catch (error) {
      // It is in use: a dump that takes long.
      if (!(error instanceof LockLostError)) throw error
    }
  }
}

/**
 * Removes what a writer of ours has left behind when it died: a regular file with one name, of this user or of the owner
 * of the data (root's writes give it to that).
 * @returns whether it is gone; false where it is none of ours
 * @throws LockLostError where another process is writing it
 */
function removeLeftover(path: string, temp: string, owner: number | undefined): boolean {
  const { O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants
  let fd: number
  try {
    if (!isLeftover(lstatSync(temp, { throwIfNoEntry: false }), owner)) return false
    fd = openFile(temp, O_RDWR | O_NOFOLLOW | O_NONBLOCK)
  } catch (error) {
    const code = errnoOf(error) ?? ''
    if (code === 'ENOENT') return true
    if (['EACCES', 'EPERM', 'ELOOP', 'ENXIO'].includes(code)) return false
    throw error
  }
  try {
    const found = fstatSync(fd)
    if (found.nlink === 0) return true
    if (!isLeftover(found, owner)) return false
    lockTemp(fd, path, temp)
    const named = lstatSync(temp, { throwIfNoEntry: false })
    if (named?.ino === found.ino && named.dev === found.dev) unlinkSync(temp)
    return true
  } finally {
    closeLocked(fd, temp)
  }
}

function isLeftover(found: Stats | undefined, owner: number | undefined): boolean {
  if (!found?.isFile() || found.nlink !== 1) return false
  return found.uid === process.geteuid?.() || found.uid === owner
}

/** What has this name itself: a link to somewhere else is not followed, for it is the link that is replaced. */
function present(path: string): Stats | undefined {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false })
    return found?.isSymbolicLink() ? undefined : found
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
function putInPlace(path: string, temp: string, { overwrite = true }: Replacement): void {
  if (!overwrite) {
    try {
      linkSync(temp, path)
      unlinkSync(temp)
      return
    } catch (error) {
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error
      // A file system without links: the next best is to look first.
      if (lstatSync(path, { throwIfNoEntry: false })) throw systemError('EEXIST', path)
    }
  }
  renameSync(temp, path)
}

/** Gives a new file the owner and the permission bits of the one that it replaces, or belongs to. */
export function keepOwner(fd: number, old: Stats, mode: number): void {
  // Each of the two calls is a change of the inode, and costs as much as three looks at it.
  const made = fstatSync(fd)
  try {
    if (made.uid !== old.uid || made.gid !== old.gid) fchownSync(fd, old.uid, old.gid)
    else if ((made.mode & 0o7777) === mode) return
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
    // It is removed by the next replacement.
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
  return systemError('EACCES', `${path} is marked read-only`, 'open')
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
  ENXIO: 'it is a socket, or a device that is not there (ENXIO).',
  ELOOP: 'a symbolic link stands in its place, or too many of them on the way (ELOOP).',
  ENOENT: 'its folder does not exist (ENOENT). Create it first.',
  ENAMETOOLONG:
    'its name, or one that is needed beside it, is longer than the file system allows (ENAMETOOLONG). Choose a shorter one.',
  ENOTDIR: 'a part of the path is not a folder (ENOTDIR).',
  EMFILE: 'too many open files (EMFILE). Raise the limit (ulimit -n) or close some stores.',
}

/**
 * Why something was kept: cut off after a crash; unreadable lines that a rewrite left out; what `repair` took out; the
 * content before a restore; the journal of a file that was replaced without it.
 */
export const ASIDE = ['torn', 'corrupt', 'removed', 'before-restore', 'journal'] as const

type Aside = (typeof ASIDE)[number]

/** Keeps bytes that are about to leave a file in `<file>.<kind>-<n>`: evidence is never erased. @returns the name */
export function keepAside(path: string, kind: Exclude<Aside, 'before-restore'>, bytes: Buffer): string {
  const { name, fd } = createAside(path, kind)
  try {
    writeFileSync(fd, bytes, { flush: true })
  } finally {
    closeQuietly(fd)
  }
  runBlocking(syncNames(name, BLOCKING))
  return name
}

/** Keeps a copy of the whole file, synced, in `<file>.before-restore-<n>`; its mode is the file's. @returns the name */
export async function keepCopyAside(path: string): Promise<string> {
  // Where there is no descriptor left, this makes room for what copyFile opens.
  closeQuietly(openFile(path, 'r'))
  const { name, fd } = createAside(path, 'before-restore')
  try {
    await copyFile(path, name, constants.COPYFILE_FICLONE)
    await sync(fd)
  } finally {
    closeQuietly(fd)
  }
  await runSteps(syncNames(name, WAITING))
  return name
}

function createAside(path: string, kind: Aside): { name: string; fd: number } {
  const mode = (statSync(path, { throwIfNoEntry: false })?.mode ?? 0o600) & 0o666
  for (let n = 1; ; n++) {
    const name = `${path}.${kind}-${n}`
    try {
      return { name, fd: openFile(name, 'wx', mode) }
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || n > 9999) throw error
    }
  }
}

/**
 * Makes the name of a file survive power loss: its creation, replacement, or removal. So do the names of the folders above
 * it, each once: one that is new would take everything in it along.
 */
export function* syncNames(path: string, calls: FileCalls): Steps<void> {
  yield* syncFolder(dirname(path), calls)
  for (const { folder, parent } of newFoldersOf(path)) {
    try {
      yield* syncFolder(parent, calls)
    } catch (error) {
      // Where we may not even look somebody else has made the folders, and long ago.
      if (errnoOf(error) !== 'EACCES' || (error as NodeJS.ErrnoException).syscall !== 'open') throw error
    }
    inFolders.add(folder)
  }
}

/** Folders whose own names are known to be on the disk. */
const inFolders = new Set<string>()

/** The folders above a path, from below, up to one that is known, or a mount point. */
function newFoldersOf(path: string): { folder: string; parent: string }[] {
  const found: { folder: string; parent: string }[] = []
  let at = dirname(path)
  let here = statSync(at, { bigint: true })
  for (;;) {
    const parent = dirname(at)
    // An inode number may come back, but not with the same time of birth.
    const folder = `${here.dev}:${here.ino}:${here.birthtimeNs}`
    const above = statSync(parent, { bigint: true })
    if (inFolders.has(folder) || parent === at || above.dev !== here.dev) return found
    found.push({ folder, parent })
    at = parent
    here = above
  }
}

/** Makes names in a folder durable (creation, rename). File systems that cannot sync folders are skipped. */
function* syncFolder(path: string, calls: FileCalls): Steps<void> {
  const fd = openFile(path, 'r')
  try {
    yield calls.sync(fd)
  } catch (error) {
    if (!['EINVAL', 'EPERM', 'EISDIR', 'ENOTSUP', 'EBADF'].includes(errnoOf(error) ?? '')) throw error
  } finally {
    closeQuietly(fd)
  }
}
