import { closeSync, constants, openSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import { errnoOf, harmless, type LockHolder, orUndefined } from '../errors.ts'

/** What the system tells about a process. Only Linux has /proc; elsewhere most of it is undefined. */

/** This much of a command line is read, in bytes: it may be megabytes long, and is shown to people. */
const COMMAND_BYTES = 4096

/** The beginning of its command line, harmless to show; undefined where it has ended or may not be seen. */
export function commandOf(pid: number): string | undefined {
  const fd = orUndefined(() => openSync(`/proc/${pid}/cmdline`, constants.O_RDONLY))
  const bytes = Buffer.alloc(COMMAND_BYTES)
  const length = fd === undefined ? undefined : orUndefined(() => readSync(fd, bytes))
  if (fd !== undefined) closeSync(fd)
  if (length === undefined) return pid === process.pid ? ownCommand() : undefined
  return shown(bytes.toString('utf8', 0, length).split('\0').join(' ')) || undefined
}

/** As node was started, harmless to show. */
export function ownCommand(): string {
  return shown([process.argv0, ...process.argv.slice(1)].join(' ').slice(0, COMMAND_BYTES))
}

function shown(line: string): string {
  return harmless(line).trimEnd()
}

/** Its start in clock ticks since boot (/proc/<pid>/stat, field 22): with it a reused pid is not mistaken. */
export function startOf(pid: number): string | undefined {
  return statOf(pid)?.[19]
}

/** Whether it is stopped, by a signal or a debugger (proc_pid_stat(5), states T and t). False where that cannot be told. */
function isStopped(pid: number): boolean {
  return /^t$/i.test(statOf(pid)?.[0] ?? '')
}

/** What `holders()` says of a process, as far as it can be seen from here. */
export function describeProcess(
  pid: number | undefined,
): Pick<LockHolder, 'pid' | 'command'> & { stopped?: true } {
  if (pid === undefined) return { pid, command: undefined }
  return { pid, command: commandOf(pid), ...(isStopped(pid) ? { stopped: true } : {}) }
}

/** The fields of /proc/<pid>/stat from the third on, its state. */
function statOf(pid: number): string[] | undefined {
  const stat = orUndefined(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  // The second field is the name in parentheses and may hold anything, so count from its end.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/**
 * Whether a process is a child of another, or a child's child, and so on. One whose parent has ended belongs to init (or
 * to the nearest subreaper) and descends from nobody else. False also where the system does not tell.
 */
export function descends(pid: number, ancestor: number): boolean {
  const seen = new Set<number>()
  for (let current = pid; !seen.has(current); ) {
    seen.add(current)
    const stat = statOf(current)
    const parent = Number(stat?.[1])
    // A parent is older than its child: else its pid was given to another while we looked.
    if (!stat || !parent || Number(startOf(parent)) > Number(stat[19])) return false
    if (parent === ancestor) return true
    current = parent
  }
  return false
}

/** Whether this very process lives: the pid, and where it can be told the start too. */
export function isAlive(pid: number, start: string | undefined): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') return false
  }
  return start === undefined || startOf(pid) === start
}

/** What tells a process from all others of this machine, now and later. */
export interface ProcessId {
  readonly pid: number
  /** See `startOf`: with it a reused pid is not mistaken. */
  readonly start: string | undefined
  /** Where its pid means something, see `pidSpace`. */
  readonly space: string | undefined
}

export function ownId(): ProcessId {
  return { pid: process.pid, start: startOf(process.pid), space: pidSpace() }
}

/** Whether it lives, and can be seen from here. */
export function isAliveHere({ pid, start, space }: ProcessId): boolean {
  return space === pidSpace() && isAlive(pid, start)
}

let own: string | undefined

/** Where pids mean the same: this boot and this pid namespace (a container has its own). Empty where it is not told. */
export function pidSpace(): string {
  if (own === undefined) {
    const boot = orUndefined(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8))
    const space = orUndefined(() => readlinkSync('/proc/self/ns/pid').replace(/\D+/g, ''))
    own = `${boot ?? ''}/${space ?? ''}`
  }
  return own
}

/** What differs from boot to boot. Empty where it is not told. */
export function bootId(): string {
  return pidSpace().slice(0, pidSpace().indexOf('/'))
}

/** Milliseconds on the clock that all processes of a machine share and that nobody can set, from one boot to the next. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
