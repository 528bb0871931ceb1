import { LockIoError, type LockMode, LockUnsupportedError, systemError } from '../errors.ts'
import { libc } from './modules.ts'

/**
 * Open file description locks on byte ranges, fcntl(2) F_OFD_SETLK: like flock(2) they belong to one opening of a file,
 * so two descriptors exclude each other inside one process too, and the kernel drops them when the last copy of the
 * descriptor is closed, however its process ends. Linux keeps them apart from flock(2): neither sees the other.
 *
 * Only the non-blocking call is used (see flock.ts for why). Ranges may lie far behind the end of the file.
 */

/** Bytes of a file to lock; numbers up to 2^53. */
export interface Range {
  readonly start: number
  readonly length: number
}

/** linux/fcntl.h, the same numbers on all architectures. */
const F_OFD_GETLK = 36
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

/** struct flock where pointers have 64 bits: l_type and l_whence (16 bits each), l_start, l_len, l_pid. */
const STRUCT_BYTES = 32
const TYPE_AT = 0
const START_AT = 8
const LENGTH_AT = 16

/** errno of a range that is locked through another descriptor (the first two are two names of one number). */
const BUSY = new Set(['EAGAIN', 'EWOULDBLOCK', 'EACCES'])
/** errno of a kernel or file system without these locks. */
const UNSUPPORTED = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'ENOLCK'])

let fcntl: ((fd: number, command: number, lock: Buffer) => number) | undefined

/** One for all calls: none of them is asynchronous, and the kernel keeps no reference to it. */
const lock = Buffer.alloc(STRUCT_BYTES)

/** Whether this platform has such locks for us: the layout above is that of these architectures. */
export const hasRangeLocks: boolean =
  process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64')

/**
 * For a look before anything is created.
 * @throws LockUnsupportedError
 */
export function requireRangeLocks(path: string): void {
  if (fcntl) return
  if (!hasRangeLocks) {
    throw new LockUnsupportedError(
      `cannot lock ranges of ${path}: open file description locks are used on Linux x64 and arm64 only, this is ` +
        `${process.platform}-${process.arch}. Use a PsLock, which locks the whole.`,
      { path },
    )
  }
  try {
    fcntl = libc().func('int fcntl(int fd, int command, void *lock)')
  } catch (cause) {
    throw new LockUnsupportedError(
      `cannot lock ranges of ${path}: the binding to fcntl(2) could not be loaded. Run "npm install koffi" (prebuilt).`,
      { path, cause },
    )
  }
}

/** True when done; false when another descriptor's lock is in the way. */
function call(fd: number, command: number, type: number, range: Range, path: string): boolean {
  requireRangeLocks(path)
  for (;;) {
    lock.fill(0)
    lock.writeInt16LE(type, TYPE_AT)
    lock.writeBigInt64LE(BigInt(range.start), START_AT)
    lock.writeBigInt64LE(BigInt(range.length), LENGTH_AT)
    if (fcntl?.(fd, command, lock) === 0) return true
    const errno = libc().errnoName()
    if (errno === 'EINTR') continue
    if (BUSY.has(errno)) return false
    throw failure(errno, path)
  }
}

function failure(errno: string, path: string): Error {
  const cause = systemError(errno, `fcntl ${path}`, 'fcntl')
  if (UNSUPPORTED.has(errno)) {
    return new LockUnsupportedError(
      `cannot lock ranges of ${path}: its file system does not support open file description locks (${errno}). ` +
        'Put it on a local disk.',
      { path, cause },
    )
  }
  const advice = errno === 'EBADF' ? '. This process needs permission to write to it' : ''
  return new LockIoError(`cannot lock ranges of ${path}: fcntl failed with ${errno}${advice}.`, {
    path,
    cause,
  })
}

/**
 * Locks a range if no other descriptor's lock is in the way. Converts what this descriptor already has of it, in one
 * step: where it fails, it has what it had before.
 * @throws LockUnsupportedError, LockIoError
 */
export function tryLockRange(fd: number, mode: LockMode, range: Range, path: string): boolean {
  return call(fd, F_OFD_SETLK, mode === 'exclusive' ? F_WRLCK : F_RDLCK, range, path)
}

/** Gives a range back, also a part of what was locked in one call. */
export function unlockRange(fd: number, range: Range, path: string): void {
  call(fd, F_OFD_SETLK, F_UNLCK, range, path)
}

/** Whether another descriptor's lock stands in the way of this one; takes nothing. */
export function isRangeBlocked(fd: number, mode: LockMode, range: Range, path: string): boolean {
  call(fd, F_OFD_GETLK, mode === 'exclusive' ? F_WRLCK : F_RDLCK, range, path)
  return lock.readInt16LE(TYPE_AT) !== F_UNLCK
}
