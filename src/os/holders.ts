import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs'
import type { LockHolder, LockMode } from '../errors.ts'

/**
 * Who has a lock file locked. On Linux the kernel's own table is the truth (/proc/locks): no ghosts after kill -9,
 * no pid reuse. Elsewhere only the note that long holders leave in the lock file is known, and a note whose process
 * is gone is dropped. A note says pid, start and since when; never the command line, which may hold secrets.
 */
interface Note {
  readonly pid: number
  /** Start time of the process in clock ticks since boot (/proc/pid/stat field 22): pid reuse is not fooled. */
  readonly start: string | undefined
  readonly since: number
  readonly mode: LockMode
}

/** A note fits one sector and is padded with spaces, so a shorter one never leaves a longer one's tail. */
const NOTE_BYTES = 160

/** Leaves a note in the lock file: who holds it and since when. A hint for `holders()`, nothing relies on it. */
export function leaveNote(fd: number, mode: LockMode, since: number): void {
  const note: Note = { pid: process.pid, start: processStart(process.pid), since: Math.round(since), mode }
  write(fd, JSON.stringify(note))
}

/** The mode that somebody has written at that place of a file, as a word. */
export function modeAt(path: string, position: number): LockMode | undefined {
  try {
    const text = readFileSync(path).toString('utf8', position)
    return text.startsWith('exclusive') ? 'exclusive' : text.startsWith('shared') ? 'shared' : undefined
  } catch {
    return undefined
  }
}

/** Takes back the note of this process, if it is still the one there. */
export function eraseNote(fd: number): void {
  if (parseNote(head(fd))?.pid === process.pid) write(fd, '')
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
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer, 0, NOTE_BYTES, 0))
  } catch {
    return ''
  }
}

function readNote(path: string): Note | undefined {
  try {
    const fd = openSync(path, 'r')
    try {
      return parseNote(head(fd))
    } finally {
      closeSync(fd)
    }
  } catch {
    return undefined
  }
}

function parseNote(text: string): Note | undefined {
  try {
    const note = JSON.parse(text) as Partial<Note> | null
    if (typeof note?.pid !== 'number' || typeof note.since !== 'number') return undefined
    return {
      pid: note.pid,
      start: note.start,
      since: note.since,
      mode: note.mode === 'shared' ? 'shared' : 'exclusive',
    }
  } catch {
    return undefined
  }
}

/** The processes that hold (or, for the turn file, wait for) the lock on the file of this name. */
export function kernelHolders(path: string, state: LockHolder['state']): LockHolder[] {
  const note = state === 'holding' ? readNote(path) : undefined
  const found = process.platform === 'linux' ? linuxHolders(path) : undefined
  if (found) return found.map(({ pid, mode }) => describe(pid, mode, state, note))
  return note && isAlive(note) ? [describe(note.pid, note.mode, state, note)] : []
}

function describe(
  pid: number | undefined,
  mode: LockMode,
  state: LockHolder['state'],
  note?: Note,
): LockHolder {
  const noted = note && note.pid === pid && isAlive(note) ? Math.max(0, Date.now() - note.since) : undefined
  return { pid, command: pid === undefined ? undefined : commandOf(pid), mode, sinceMs: noted, state }
}

function linuxHolders(path: string): { pid: number | undefined; mode: LockMode }[] | undefined {
  let table: string
  try {
    table = readFileSync('/proc/locks', 'utf8')
  } catch {
    return undefined
  }
  // Not by a descriptor of our own: the file that it has open may have been deleted or replaced since.
  const file = statSync(path, { bigint: true, throwIfNoEntry: false })
  if (!file) return []
  const holders: { pid: number | undefined; mode: LockMode }[] = []
  for (const line of table.split('\n')) {
    // "2: FLOCK  ADVISORY  WRITE 4711 fe:00:131074 0 EOF"; a "->" after the number marks a waiter.
    const match = /^\d+: FLOCK\s+\S+\s+(READ|WRITE)\s+(-?\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\s/.exec(line)
    if (!match || match[3] !== String(file.ino)) continue
    const pid = Number(match[2])
    // The table's device numbers differ from stat's on overlayfs and btrfs, so the inode is matched first and the
    // holder then asked which file it has open. A pid of 0 or -1 lives in a namespace that cannot be seen from here.
    if (pid > 0 && opensFile(pid, path, file.ino) === false) continue
    holders.push({ pid: pid > 0 ? pid : undefined, mode: match[1] === 'READ' ? 'shared' : 'exclusive' })
  }
  return holders
}

/** Whether that process has this very file open; undefined where it may not be asked (another user's). */
function opensFile(pid: number, path: string, ino: bigint): boolean | undefined {
  try {
    const fds = `/proc/${pid}/fd`
    for (const fd of readdirSync(fds)) {
      try {
        if (statSync(`${fds}/${fd}`, { bigint: true }).ino !== ino) continue
        if (readlinkSync(`${fds}/${fd}`).replace(/ \(deleted\)$/, '') === path) return true
        const here = statSync(path, { bigint: true, throwIfNoEntry: false })
        if (here && here.dev === statSync(`${fds}/${fd}`, { bigint: true }).dev) return true
      } catch {
        // The descriptor was closed while we looked.
      }
    }
    return false
  } catch {
    return undefined
  }
}

function commandOf(pid: number): string | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '').replaceAll('\0', ' ')
    return line === '' ? undefined : line
  } catch {
    return pid === process.pid ? process.argv.join(' ') : undefined
  }
}

function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name in parentheses and may hold anything, so count from its end.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function isAlive(note: Note): boolean {
  try {
    process.kill(note.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  return note.start === undefined || processStart(note.pid) === note.start
}
