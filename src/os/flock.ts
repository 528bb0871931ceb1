import { closeSync, openSync } from 'node:fs'
import { constants } from 'node:os'
import {
  errnoOf as codeOf,
  LockIoError,
  type LockMode,
  LockUnsupportedError,
  orUndefined,
  systemError,
} from '../errors.ts'
import { NamedFile } from './file-stat.ts'
import { isMainThread, libc, requireLate } from './modules.ts'
import { describeMount, mountOf } from './mounts.ts'
import { native } from './native.ts'
import { add, freed, type OpenFile, openFiles, remove } from './open-files.ts'

/**
 * flock(2), the one call that everything stands on.
 *
 * Only the *non-blocking* form is used. fs-ext's asynchronous form parks a libuv pool thread per waiter (four
 * waiters freeze all of `fs`), makes `process.exit` hang, cannot be cancelled and aborts in worker threads; a
 * blocking call on the main thread freezes the event loop. So we ask, and ask again later (`Arbiter` in
 * lock/local-queue.ts).
 *
 * Several bindings reach the same system call, hence the same lock: `fs-ext` where it is installed and compiled (main
 * thread only), else `koffi`, whose binary is prebuilt, else a program of the system's. Processes with different installs
 * exclude each other, and so do `flock(1)` and Python's `fcntl.flock`. Never add OFD or POSIX locks here: Linux keeps them in a separate space.
 */

/** sys/file.h, the same numbers on Linux, macOS and the BSDs. */
const LOCK_SH = 1
const LOCK_EX = 2
const LOCK_NB = 4
const LOCK_UN = 8

/** errno of a lock that is held elsewhere: EWOULDBLOCK = EAGAIN on all these systems. */
const BUSY = new Set(['EAGAIN', 'EWOULDBLOCK'])
/** errno of a file system that has no flock. */
const UNSUPPORTED = new Set(['ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'ENOLCK', 'EINVAL'])

/** The way out where there is no flock; stores have none, for they lock their data file too. */
const LOCKFILE_ADVICE =
  "A PsLock of your own can take the best effort of { backend: 'lockfile' }: docs/locking.md in the repository of pslock " +
  'says what it does not promise.'

/** Returns undefined on success, else the name of the errno. */
type Flock = (fd: number, operation: number) => string | undefined

interface Binding {
  readonly name: string
  readonly flock: Flock
}

function bindNative(): Flock {
  const addon = native()
  if (!addon) throw new Error('@pslock/native is not installed')
  return (fd, operation) => {
    const errno = addon.flock(fd, operation)
    return errno === 0 ? undefined : nameOf(errno)
  }
}

function nameOf(errno: number): string {
  if (errno === constants.errno.EAGAIN) return 'EAGAIN'
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? 'EIO'
}

interface FsExt {
  flockSync(fd: number, operation: number): unknown
}

function bindFsExt(): Flock {
  const { flockSync } = requireLate()('fs-ext') as FsExt
  return (fd, operation) => {
    // "Busy" comes as an exception here; without its stack it costs a tenth (0.5 instead of 4.5 us).
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    try {
      flockSync(fd, operation)
      return undefined
    } catch (error) {
      return codeOf(error) ?? 'EIO'
    } finally {
      Error.stackTraceLimit = limit
    }
  }
}

function bindKoffi(): Flock {
  const { func, errnoName } = libc()
  const flock = func<(fd: number, operation: number) => number>('int flock(int fd, int operation)')
  return (fd, operation) => (flock(fd, operation) === 0 ? undefined : errnoName())
}

/**
 * Programs that lock the opening of a file which they get as their descriptor 3, and leave it locked: flock(1) of
 * util-linux and busybox, and perl, which macOS brings along. The exit code is 0, or an errno; flock(1) has 1 for "busy".
 */
const PROGRAMS = [
  {
    program: 'flock',
    args: (operation: number) => [
      operation & LOCK_UN ? '-u' : operation & LOCK_EX ? '-x' : '-s',
      ...(operation & LOCK_UN ? [] : ['-n']),
      '3',
    ],
    errnoOf: (code: number) => (code === 1 ? 'EWOULDBLOCK' : 'EIO'),
  },
  {
    program: 'perl',
    args: (operation: number) => ['-e', 'open(F, "<&=3"); exit(flock(F, shift) ? 0 : $!)', String(operation)],
    errnoOf: nameOf,
  },
] as const

function bindProgram(): Flock {
  const { spawnSync } = process.getBuiltinModule('node:child_process')
  for (const { program, args, errnoOf } of PROGRAMS) {
    const flock = (fd: number, operation: number): string | undefined => {
      const stdio = ['ignore', 'ignore', 'ignore', fd] as const
      const { status, error } = spawnSync(program, args(operation), { stdio: [...stdio] })
      if (status === 0) return undefined
      return error || status === null ? (codeOf(error) ?? 'EIO') : errnoOf(status)
    }
    const nothing = openSync('/dev/null', 'r')
    const failure = flock(nothing, LOCK_SH | LOCK_NB)
    closeSync(nothing)
    if (failure !== undefined) continue
    process.emitWarning(
      `no binding to flock(2) is installed, so locks are taken through the program "${program}", some milliseconds each. ` +
        'Install pslock without --omit=optional, or "npm install koffi".',
      { type: 'PsLockWarning', code: 'PSLOCK_BINDING' },
    )
    return flock
  }
  throw new Error('neither flock(1) nor perl is there')
}

let bound: Binding | undefined

function binding(path: string): Binding {
  if (bound) return bound
  if (process.platform === 'win32') {
    const message = `cannot lock ${path}: Windows has no flock(2). ${LOCKFILE_ADVICE}`
    throw new LockUnsupportedError(message, { path })
  }
  const wanted = process.env.PSLOCK_BINDING
  const causes: unknown[] = []
  // fs-ext keeps a handle in a static variable: loaded by a second thread it aborts the whole process.
  for (const [name, bind] of Object.entries({
    native: bindNative,
    'fs-ext': bindFsExt,
    koffi: bindKoffi,
    program: bindProgram,
  })) {
    if (name === 'fs-ext' && !isMainThread()) continue
    if (wanted && wanted !== name && isMainThread()) continue
    try {
      bound = { name, flock: bind() }
      return bound
    } catch (error) {
      causes.push(error)
    }
  }
  const cause = new AggregateError(causes, 'fs-ext and koffi failed to load, and there is no program either')
  throw new LockUnsupportedError(
    `cannot lock ${path}: no binding to flock(2) could be loaded on ${process.platform}-${process.arch}. ` +
      'Run "npm install koffi" (prebuilt), or "npm install fs-ext" (needs a compiler).',
    { path, cause },
  )
}

/** Which binding this process uses: `native`, `fs-ext`, `koffi` or `program`. Set PSLOCK_BINDING to insist on one. */
export function bindingName(): string {
  return binding('(any)').name
}

/** @throws LockUnsupportedError where there is no flock(2) on this system, or no binding to it is installed */
export function requireFlock(path: string): void {
  if (!bound) binding(path)
}

function where(path: string): string {
  const mount = mountOf(path)
  return mount ? describeMount(mount) : 'of unknown kind'
}

function unsupported(path: string, errno: string, cause: Error): LockUnsupportedError {
  return new LockUnsupportedError(
    `cannot lock ${path}: its file system (${where(path)}) does not support flock(2) (${errno}). Put the file on a local ` +
      'disk, or place the lock on one with the lockPath option if only one machine uses the data. ' +
      `${LOCKFILE_ADVICE} Remove ${path} first.`,
    { path, cause },
  )
}

function call(fd: number, operation: number, path: string): boolean {
  const { flock } = bound ?? binding(path)
  for (;;) {
    const errno = flock(fd, operation)
    if (errno === undefined) return true
    if (errno === 'EINTR') continue
    if (BUSY.has(errno)) return false
    const cause = systemError(errno, `flock ${path}`, 'flock')
    if (UNSUPPORTED.has(errno)) throw unsupported(path, errno, cause)
    if (errno === 'EBADF' && operation & LOCK_EX) {
      throw new LockIoError(
        `cannot lock ${path}: flock failed with EBADF. On this file system (${where(path)}) an exclusive lock needs a ` +
          'lock file that this user may write (NFS and SMB do so): give it the permission.',
        { path, cause },
      )
    }
    throw new LockIoError(`cannot lock ${path}: flock failed with ${errno}`, { path, cause })
  }
}

/**
 * Takes the lock on an open file if nobody else has it; false when it is busy. Converts an existing hold of the same
 * descriptor, but not atomically (Linux drops the old one first): never used to upgrade.
 * @throws LockUnsupportedError, LockIoError
 */
export function tryFlock(fd: number, mode: LockMode, path: string): boolean {
  return call(fd, (mode === 'exclusive' ? LOCK_EX : LOCK_SH) | LOCK_NB, path)
}

/** Drops the lock of this open file. The kernel does the same when the process ends, however it ends. */
export function unflock(fd: number, path: string): void {
  call(fd, LOCK_UN, path)
}

/**
 * Closes a descriptor through which nothing was written, or nothing that is not synced or given up. Whatever close(2) says
 * then concerns nobody, and the number is free in any case.
 */
export function closeQuietly(fd: number): void {
  orUndefined(() => closeSync(fd))
}

/**
 * As `closeQuietly`, of a descriptor that may be locked (flock): it is unlocked first. To close it is not enough: a child
 * process that another thread has just forked has a copy of it until it execs, and the lock is as old as the last copy.
 */
export function closeLocked(fd: number, path: string): void {
  // A network file system may refuse. It is closed next, which drops the lock as well.
  orUndefined(() => unflock(fd, path))
  closeQuietly(fd)
}

/** Does something with a descriptor that was just opened; where that fails nobody else will close it. */
export function orClose<T>(fd: number, run: () => T): T {
  try {
    return run()
  } catch (error) {
    closeQuietly(fd)
    throw error
  }
}

let openings = 0

/** Whom a descriptor belongs to. */
export interface Owner {
  /** Asked before it is closed because nobody uses it. */
  mayClose(): boolean
  /** Told right before that. */
  closing?(): void
  /** The system has failed to close it. */
  closeFailed?(error: unknown): void
}

/**
 * A numeric descriptor that belongs to an object, and the flock on it. Not a FileHandle: one of those may be collected,
 * and closed, while its number is still in use and locked. It is never closed locked, see `closeLocked`.
 *
 * It may be closed at any time while it is not in use, see open-files.ts: not while it is locked, or kept open, or its
 * owner objects.
 */
export class Descriptor implements OpenFile {
  readonly #owner: Owner
  /** Open, where it is. Nobody else assigns to it. */
  fd: number | undefined
  /** Says of which opening `fd` is: numbers come back. */
  serial = 0
  /** The file that is locked (flock) through it. */
  #locked: string | undefined
  #users = 0
  usedAt = 0

  constructor(owner: Owner) {
    this.#owner = owner
  }

  get isLocked(): boolean {
    return this.#locked !== undefined
  }

  /** It is used now, and would be one of the last to be closed. */
  used(): void {
    this.usedAt = ++openFiles.clock
  }

  /** It stays open, unless it is closed by `close` or `replace`, until what this returns is called. */
  keepOpen(): () => void {
    this.#users++
    return () => {
      this.#users--
    }
  }

  closeIfIdle(): boolean {
    if (this.fd === undefined) return true
    if (this.#locked !== undefined || this.#users > 0 || !this.#owner.mayClose()) return false
    try {
      this.#owner.closing?.()
      this.close()
    } catch (error) {
      this.#owner.closeFailed?.(error)
    }
    return true
  }

  /** Locks the file that is open, if nobody else has it locked. @throws what `tryFlock` throws */
  tryFlock(mode: LockMode, path: string): boolean {
    if (!tryFlock(this.fd as number, mode, path)) return false
    this.#locked = path
    return true
  }

  /** Where the system refuses, the file is closed, which drops the lock as well. */
  unlock(): void {
    const locked = this.#locked
    this.#locked = undefined
    try {
      if (this.fd !== undefined && locked !== undefined) unflock(this.fd, locked)
    } catch {
      this.close()
    }
    if (openFiles.waiting.length > 0) freed()
  }

  /**
   * Takes another one and gives the old one back; what the system says to that concerns nobody any more.
   * @param locked the file that is locked through the new one already
   */
  replace(fd: number, locked?: string): void {
    const [oldFd, oldLocked] = [this.fd, this.#locked]
    this.fd = fd
    this.serial = ++openings
    this.#locked = locked
    if (oldFd === undefined) add(this)
    else if (oldLocked === undefined) closeQuietly(oldFd)
    else closeLocked(oldFd, oldLocked)
  }

  /** It will not be unlocked: what is locked on it stays so as long as other processes have copies of it. */
  protected leaveToCopies(): void {
    this.#locked = undefined
  }

  /** Closes it, and drops what is locked on it. */
  close(): void {
    const [fd, locked] = [this.fd, this.#locked]
    this.fd = undefined
    this.#locked = undefined
    if (fd === undefined) return
    remove(this)
    if (locked !== undefined) orUndefined(() => unflock(fd, locked))
    closeSync(fd)
  }
}

export function replacedAgainAndAgain(path: string): LockIoError {
  return new LockIoError(`cannot lock ${path}: the lock file is being replaced again and again`, { path })
}

/**
 * The flock on the file that a path names. Others may delete or replace that file, so after each grant the path must still
 * name what is locked: otherwise two processes hold "the" lock on two files.
 */
export abstract class PathLock extends Descriptor {
  readonly path: string
  protected readonly named: NamedFile
  /** Other processes may have copies of the locked descriptor. */
  #isPassedOn = false
  /**
   * What is written to the file as soon as it is locked. Not before: the lock may be another's, who writes something of its
   * own (the throttle of a store does), and a process that was slow would write over it.
   */
  protected whenLocked: ((fd: number) => void) | undefined

  constructor(path: string, owner: Owner) {
    super(owner)
    this.path = path
    this.named = new NamedFile(path)
  }

  /** Opens the file, or makes it, and hands it to `replace`. */
  protected abstract open(): void

  /**
   * Takes the lock if it is free: true, and the path names what is locked; or false, and nothing is held.
   * @param thorough also look, when it is busy, whether the path still names what is locked
   * @throws LockIoError, LockUnsupportedError
   */
  tryLock(mode: LockMode, thorough = true): boolean {
    this.used()
    // Each round trip means that somebody replaced the file in that very moment; a hundred means a hostile loop.
    for (let attempt = 0; attempt < 100; attempt++) {
      if (this.fd === undefined) this.open()
      const isLocked = this.tryFlock(mode, this.path)
      // Busy: held by the lock's owner, or by a ghost on a file that the path has left.
      if (!isLocked && !thorough) return false
      if (this.isCurrent) {
        if (isLocked && this.whenLocked) this.#lockedFirst()
        return isLocked
      }
      this.close()
    }
    throw replacedAgainAndAgain(this.path)
  }

  #lockedFirst(): void {
    this.whenLocked?.(this.fd as number)
    this.whenLocked = undefined
  }

  /** Whether the path still names the file that is open here; undefined where that cannot be looked up. */
  get isCurrent(): boolean | undefined {
    return this.named.isCurrent
  }

  /** See `KernelLock.passOn`. */
  passOn(): readonly number[] {
    this.#isPassedOn = true
    return this.fd === undefined ? [] : [this.fd]
  }

  override unlock(): void {
    if (this.#isPassedOn) this.close()
    else super.unlock()
  }

  /** Closes the descriptor and with it drops whatever it holds. It is opened again at the next tryLock. */
  override close(): void {
    if (this.#isPassedOn) this.leaveToCopies()
    this.#isPassedOn = false
    // Nothing relies on what was written to a lock file.
    orUndefined(() => super.close())
  }
}
