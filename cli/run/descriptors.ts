import { fstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs'
import { InvalidArgumentError } from 'commander'

/** A parser for a list of descriptors: "3", "3,4". */
export function descriptorList(text: string): number[] {
  const fds = text.split(',').map(Number)
  if (/^\d+(,\d+)*$/.test(text) && fds.every((fd) => fd >= 3 && fd < 1024)) return fds
  throw new InvalidArgumentError('It must be numbers of descriptors from 3 up, such as 3 or 3,4.')
}

/**
 * Of these descriptors the one that we have not been started with. Node has some of its own, which may have any of these
 * numbers: they must not get into other hands.
 */
export function notInherited(fds: readonly number[]): number | undefined {
  return fds.find((fd) => !isInherited(fd))
}

/**
 * Those by which make(1) shares its job slots: "--jobserver-auth=3,4" in MAKEFLAGS (older ones: --jobserver-fds). A
 * jobserver that is a named pipe, "fifo:...", needs none. Where make has not passed them on, as it does for recipes
 * with "+" or $(MAKE) in them only, there are none either.
 */
export function jobserver(makeFlags: string = process.env.MAKEFLAGS ?? ''): number[] {
  const last = [...makeFlags.matchAll(/--jobserver-(?:auth|fds)=(\d+),(\d+)/g)].at(-1)
  const fds = [Number(last?.[1]), Number(last?.[2])]
  return fds.every((fd) => fd >= 3 && statOf(fd)?.isFIFO() && isInherited(fd)) ? fds : []
}

function statOf(fd: number): Stats | undefined {
  try {
    return fstatSync(fd)
  } catch {
    return undefined
  }
}

function isInherited(fd: number): boolean {
  const found = statOf(fd)
  if (!found || process.platform !== 'linux') return found !== undefined
  const target = targetOf('self', String(fd))
  // Event queues and the like: all of them are Node's.
  if (target === undefined || target.startsWith('anon_inode:')) return false
  if (!found.isFIFO() || !target.startsWith('pipe:')) return true
  // Both ends of a pipe that our parent does not have either: Node has made it.
  return isOpenIn(String(process.ppid), target) || !hasBothEnds(target)
}

function hasBothEnds(target: string): boolean {
  const modes = new Set<number>()
  for (const fd of readdirSync('/proc/self/fd')) {
    if (targetOf('self', fd) === target) modes.add(accessMode(fd))
  }
  return modes.size > 1
}

/** O_RDONLY, O_WRONLY or O_RDWR. */
function accessMode(fd: string): number {
  const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))
  return Number.parseInt(flags?.[1] ?? '0', 8) & 3
}

function isOpenIn(pid: string, target: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => targetOf(pid, fd) === target)
  } catch {
    // Another user's: it may not be asked.
    return false
  }
}

function targetOf(pid: string, fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`)
  } catch {
    return undefined
  }
}
