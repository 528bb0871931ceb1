import { fstatSync, readdirSync, readFileSync, readlinkSync, readSync, statSync, writeSync } from 'node:fs'
import { type LockHolder, type LockMode, orUndefined } from '../errors.ts'
import { closeLocked, closeQuietly, tryFlock } from './flock.ts'
import { openToLook } from './open-files.ts'
import {
  describeProcess,
  isAlive,
  isAliveHere,
  monotonicMs,
  ownId,
  type ProcessId,
  pidSpace,
} from './processes.ts'

/**
 * Who has a lock file locked. On Linux the kernel's own table is the truth (/proc/locks): no ghosts after kill -9,
 * no pid reuse. Elsewhere only the note that long holders leave in the lock file is known, and a note whose process
 * is gone is dropped. A note says pid, start and since when; never the command line, which may hold secrets.
 */
interface Note extends ProcessId {
  /** On the monotonic clock, which nobody sets. */
  readonly since: number
  readonly mode: LockMode
}

/** A note fits one sector and is padded with spaces, so a shorter one never leaves a longer one's tail. */
const NOTE_BYTES = 160

/** Leaves a note in the lock file: who holds it and since when. A hint for `holders()`, nothing relies on it. */
export function leaveNote(fd: number, mode: LockMode, since: number): void {
  const note: Note = { ...ownId(), since: Math.round(since), mode }
  write(fd, JSON.stringify(note))
}

/** Takes back the note of this process, if it is still the one there. */
export function eraseNote(fd: number): void {
  if (parseNote(head(fd))?.pid === process.pid) markAsOurs(fd)
}

/** A note of nobody: what a new lock file says, so that it is known later on whose it is. */
const MARK = '{"pid":0,"by":"pslock"}'

/** Says in a new, empty lock file that it is pslock's. Where that fails, nobody removes it but by hand. */
export function markAsOurs(fd: number): void {
  write(fd, MARK)
}

/**
 * Whose a lock file is, by its content: ours is one that we have marked, or that has a note of ours or the blanks which
 * earlier versions left behind one. An empty one may be anybody's: earlier versions of ours, git's, a mail program's.
 */
export function ownerOf(fd: number): 'ours' | 'nobody' | 'others' {
  const { size } = fstatSync(fd)
  if (size === 0) return 'nobody'
  const text = head(fd)
  const isNote = size === NOTE_BYTES && text.endsWith('\n') && !text.slice(0, -1).includes('\n')
  return isNote && (/^ +\n$/.test(text) || text.startsWith(MARK) || parseNote(text)) ? 'ours' : 'others'
}

/** Only over nothing or a note: what others have written there (a pid, a package manager's own lock) stays. */
function write(fd: number, text: string): void {
  try {
    const { size } = fstatSync(fd)
    if (size !== 0 && (size !== NOTE_BYTES || !/^(\{"pid":|\s*$)/.test(head(fd)))) return
    writeSync(fd, `${text.padEnd(NOTE_BYTES - 1)}\n`, 0)
  } catch {
    // Read-only lock file or full disk: the lock itself does not depend on it.
  }
}

function head(fd: number): string {
  const buffer = Buffer.alloc(NOTE_BYTES)
  return orUndefined(() => buffer.toString('utf8', 0, readSync(fd, buffer, 0, NOTE_BYTES, 0))) ?? ''
}

function readNote(path: string): Note | undefined {
  const fd = orUndefined(() => openToLook(path))
  if (fd === undefined) return undefined
  const note = orUndefined(() => (fstatSync(fd).isFile() ? parseNote(head(fd)) : undefined))
  closeQuietly(fd)
  return note
}

function parseNote(text: string): Note | undefined {
  const note = orUndefined(() => JSON.parse(text) as Partial<Note> | null)
  if (typeof note?.pid !== 'number' || typeof note.since !== 'number') return undefined
  const { pid, start, space, since } = note
  return { pid, start, space, since, mode: note.mode === 'shared' ? 'shared' : 'exclusive' }
}

/**
 * The processes that hold the lock on the file of this name, and those that wait for it inside the kernel (`flock(1)`,
 * Python; pslock's own waiters do not wait there).
 */
export function kernelHolders(path: string): LockHolder[] {
  const note = readNote(path)
  const isOurs = note !== undefined && isAliveHere(note)
  const found = process.platform === 'linux' ? linuxHolders(path) : undefined
  if (!found) {
    const mode = note?.mode ?? 'exclusive'
    return isOurs ? [describe({ pid: note.pid, mode, state: 'holding' }, note)] : []
  }
  if (found.length === 0 && mayHideHolders(note)) {
    const mode = modeOfLock(path)
    const sinceMs = note && note.mode === mode && !isOurs ? ageOf(note) : undefined
    return mode ? [{ pid: undefined, command: undefined, mode, sinceMs, state: 'holding' }] : []
  }
  return found.map((holder) => describe(holder, isOurs ? note : undefined))
}

/** Undefined where the note is of another boot, whose clock was another. */
function ageOf({ since, space }: Note): number | undefined {
  const ageMs = Math.round(monotonicMs() - since)
  return ageMs >= 0 && bootOf(space) === bootOf(pidSpace()) ? ageMs : undefined
}

function bootOf(space: string | undefined): string | undefined {
  return space?.split('/')[0]
}

/** linux/proc_ns.h, PROC_PID_INIT_INO: the pid namespace that all others are inside of. */
const OUTERMOST = '/4026531836'

/** The kernel does not show a container who holds a lock outside of it; a note tells that there may be somebody. */
function mayHideHolders(note: Note | undefined): boolean {
  return (note !== undefined && note.space !== pidSpace()) || !pidSpace().endsWith(OUTERMOST)
}

/** How it is held, by whomever. Asks the kernel, which means to have the lock for a microsecond where it is free. */
function modeOfLock(path: string): LockMode | undefined {
  const fd = orUndefined(() => openToLook(path))
  if (fd === undefined) return undefined
  const isFree = (mode: LockMode) => tryFlock(fd, mode, path)
  const mode = orUndefined(() =>
    !isFree('shared') ? 'exclusive' : isFree('exclusive') ? undefined : 'shared',
  )
  closeLocked(fd, path)
  return mode
}

type Found = Pick<LockHolder, 'pid' | 'mode' | 'state'>

function describe({ pid, mode, state }: Found, note: Note | undefined): LockHolder {
  const isNoted = note !== undefined && note.pid === pid && state === 'holding'
  return { ...describeProcess(pid), mode, sinceMs: isNoted ? ageOf(note) : undefined, state }
}

function linuxHolders(path: string): Found[] | undefined {
  const table = orUndefined(() => readFileSync('/proc/locks', 'utf8'))
  if (table === undefined) return undefined
  // Not by a descriptor of our own: the file that it has open may have been deleted or replaced since.
  const file = orUndefined(() => statSync(path, { bigint: true }))
  if (!file) return []
  // By who, and how: the table is read in pieces, and what is locked and unlocked in between can make a line come twice.
  const holders = new Map<string, Found>()
  for (const line of table.split('\n')) {
    // "2: FLOCK  ADVISORY  WRITE 4711 fe:00:131074 0 EOF"; a "->" after the number marks a waiter.
    const match = /^\d+: (-> )?FLOCK\s+\S+\s+(READ|WRITE)\s+(-?\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\s/.exec(line)
    if (!match || match[4] !== String(file.ino)) continue
    const pid = Number(match[3])
    // The table's device numbers differ from stat's on overlayfs and btrfs, so the inode is matched first and the
    // holder then asked which file it has open. A pid of 0 or -1 lives in a namespace that cannot be seen from here.
    const isThere = pid > 0 ? opensFile(pid, path, file.ino) : undefined
    // Whoever has locked it may have ended and left the descriptor to others: `pslock run --no-close`, flock(1).
    const hasEnded = pid > 0 && isThere === undefined && !isAlive(pid, undefined)
    const pids: (number | undefined)[] =
      isThere === false || hasEnded ? heirs(path, file.ino) : [pid > 0 ? pid : undefined]
    if (hasEnded && pids.length === 0 && modeOfLock(path)) pids.push(undefined)
    const mode = match[2] === 'READ' ? 'shared' : 'exclusive'
    const state = match[1] ? 'waiting' : 'holding'
    for (const pid of pids) holders.set(`${pid} ${mode} ${state}`, { pid, mode, state })
  }
  return [...holders.values()]
}

/** The processes that have inherited a locked descriptor of this file, as far as one may look. */
function heirs(path: string, ino: bigint): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return pids.filter((pid) => opensFile(pid, path, ino, isLockedThrough))
}

/** Of the locks on a file the kernel lists here only those that were taken through this opening of it. */
function isLockedThrough(pid: number, fd: string): boolean {
  return /^lock:\s.*\bFLOCK\b/m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))
}

/** Whether that process has this very file open; undefined where it may not be asked (another user's). */
function opensFile(
  pid: number,
  path: string,
  ino: bigint,
  isMeant: (pid: number, fd: string) => boolean = () => true,
): boolean | undefined {
  const isIt = (fd: string) => {
    const link = `/proc/${pid}/fd/${fd}`
    const found = statSync(link, { bigint: true })
    if (found.ino !== ino || !isMeant(pid, fd)) return false
    if (readlinkSync(link).replace(/ \(deleted\)$/, '') === path) return true
    return statSync(path, { bigint: true, throwIfNoEntry: false })?.dev === found.dev
  }
  // One may be closed while we look.
  const fds = orUndefined(() => readdirSync(`/proc/${pid}/fd`))
  return fds?.some((fd) => orUndefined(() => isIt(fd)) ?? false)
}
