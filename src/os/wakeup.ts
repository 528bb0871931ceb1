import { closeSync, constants, fstatSync, openSync, readlinkSync, writeSync } from 'node:fs'
import type { Socket, SocketConstructorOpts } from 'node:net'
import { errnoOf } from '../errors.ts'
import { isMainThread, libc, net } from './modules.ts'
import { nobody } from './open-files.ts'

/**
 * How one process wakes another, at once and without a thread on either side. A waker is an anonymous pipe whose reading
 * end is in the event loop. Another process opens it through `/proc/<pid>/fd/<n>` and writes one byte (about 30 µs; the
 * other process's code runs 0.1 ms later). It needs no name on disk, and ends with its process.
 *
 * Which pipe it is comes from a file that others may have written. So that nobody can have a byte written into some other
 * pipe, the process also holds an empty memfd (memfd_create(2)) that is named after the pipe. Only a process itself can
 * name its memfds, and the name is read before the byte is written.
 *
 * A wake-up is a hint and nothing relies on it. It works on Linux, between the main threads of processes of one user and
 * one pid namespace. Everybody else finds out by asking again.
 */
export interface Waker {
  readonly pid: number
  readonly fd: number
  /** The inode of the pipe, so that a descriptor number which means something else by now is left alone. */
  readonly ino: number
  /** The descriptor of the memfd that says that this pipe is a waker. */
  readonly mark: number
}

/** O_CLOEXEC of asm-generic/fcntl.h (x86, arm, riscv): child processes must not keep the pipe. */
const O_CLOEXEC = 0o2000000
/** MFD_CLOEXEC and MFD_NOEXEC_SEAL of linux/memfd.h. Kernels before 6.3 do not know the second, some later ones insist on it. */
const MFD_CLOEXEC = 1
const MFD_NOEXEC_SEAL = 8

const listeners = new Set<() => void>()
let own: { readonly waker: Waker; readonly ends: readonly Socket[] } | undefined
let impossible = process.platform !== 'linux'

/**
 * The waker of this process; undefined if it cannot have one, and in worker threads.
 * @param make whether to make one, which takes some milliseconds, if there is none yet
 */
export function ownWaker(make: boolean): Waker | undefined {
  if (own || impossible || !make) return own?.waker
  // A thread that is terminated while it makes its pipe would leave a descriptor open for the life of the process.
  if (!isMainThread()) return undefined
  try {
    own = nobody.runInAsyncScope(install)
  } catch {
    // No koffi for this platform, or no descriptors left: waiters ask more often then.
    impossible = true
  }
  return own?.waker
}

/** Calls it at every wake, until `stopListening`, in the context of nobody. */
export function listen(listener: () => void): void {
  listeners.add(listener)
}

export function stopListening(listener: () => void): void {
  listeners.delete(listener)
}

/**
 * Wakes a process. `gone`: it has ended, or never had this waker. `unreachable`: it may be there, but we cannot reach it
 * (another user, another container).
 */
export function wake({ pid, fd, ino, mark }: Waker): 'woken' | 'gone' | 'unreachable' {
  const path = `/proc/${pid}/fd/${fd}`
  let pipe: number | undefined
  try {
    if (readlinkSync(`/proc/${pid}/fd/${mark}`) !== markOf(ino)) return 'gone'
    // Before it is opened: to open something else, a device or a terminal, might do something.
    if (readlinkSync(path) !== `pipe:[${ino}]`) return 'gone'
    pipe = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
    const found = fstatSync(pipe)
    if (!found.isFIFO() || found.ino !== ino) return 'gone'
    writeSync(pipe, '!')
    return 'woken'
  } catch (error) {
    const code = errnoOf(error)
    // It has been woken 65536 times without reading: it is busy or stopped.
    if (code === 'EAGAIN') return 'woken'
    return code === 'ENOENT' || code === 'ENXIO' || code === 'ESRCH' ? 'gone' : 'unreachable'
  } finally {
    if (pipe !== undefined) closeSync(pipe)
  }
}

/** What /proc says of the memfd that marks this pipe as a waker. */
function markOf(ino: number): string {
  return `/memfd:${markName(ino)} (deleted)`
}

function markName(ino: number): string {
  return `pslock-bell:${ino}`
}

/** @returns a descriptor that is open for as long as the process lives @throws where it cannot be had, or be read by others */
function makeMark(ino: number): number {
  const create = libc().func<(name: string, flags: number) => number>(
    'int memfd_create(const char *name, unsigned int flags)',
  )
  let mark = create(markName(ino), MFD_CLOEXEC | MFD_NOEXEC_SEAL)
  if (mark < 0) mark = create(markName(ino), MFD_CLOEXEC)
  if (mark < 0) throw new Error(libc().errnoName())
  if (readlinkSync(`/proc/self/fd/${mark}`) === markOf(ino)) return mark
  closeSync(mark)
  throw new Error('the name of a memfd is not shown')
}

function install(): NonNullable<typeof own> {
  const fds: [number, number] = [-1, -1]
  const pipe2 = libc().func<(fds: [number, number], flags: number) => number>(
    'int pipe2(_Out_ int *fds, int flags)',
  )
  if (pipe2(fds, constants.O_NONBLOCK | O_CLOEXEC) !== 0) throw new Error(libc().errnoName())
  const [readFd, writeFd] = fds
  const { ino } = fstatSync(readFd)
  let mark: number
  try {
    mark = makeMark(ino)
  } catch (error) {
    for (const fd of fds) closeSync(fd)
    throw error
  }
  const onWake = () => {
    for (const listener of [...listeners]) listener()
    return true
  }
  // A buffer of its own: without one each wake-up would leave one of 64 KB.
  const reading = new (net().Socket)({
    fd: readFd,
    readable: true,
    writable: false,
    onread: { buffer: Buffer.alloc(64), callback: onWake },
  } as SocketConstructorOpts)
  reading.on('error', () => {})
  // Held open so that the reading end never sees its end.
  const writing = new (net().Socket)({ fd: writeFd, readable: false, writable: true })
  for (const end of [reading, writing]) end.unref()
  return { waker: { pid: process.pid, fd: writeFd, ino, mark }, ends: [reading, writing] }
}
