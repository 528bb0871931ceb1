import { AsyncResource } from 'node:async_hooks'
import { constants, openSync, readFileSync } from 'node:fs'
import { errnoOf, orUndefined } from '../errors.ts'
import { isMainThread } from './modules.ts'

/**
 * The files that are held open from one operation to the next, for speed only: each can be closed at any time while it
 * is in no operation, and is opened again by the next one. Those that were used least recently are closed
 *
 *  - when there are many, well below what the process may have open (see `mostOpen`),
 *  - when the system has no descriptor left, for ours or in the whole (EMFILE, ENFILE): all that are idle, once,
 *  - after some seconds, so that nobody's file system is kept from being unmounted.
 *
 * One for each thread: who has the descriptor must close it. Two copies of the package share it.
 */
interface OpenFiles {
  readonly files: Set<OpenFile>
  /** Counts uses. */
  clock: number
  /** More than this are not held open, unless they are in use; 0 until it matters. */
  most: number
  /** With so many it is looked again whether some can be closed. */
  lookAt: number
  timer: NodeJS.Timeout | undefined
  /** The count of uses when the timer ran last. */
  clockBefore: number
  /** Those who wait for a descriptor, first come, first served. */
  readonly waiting: (() => void)[]
}

/** A file that is held open. */
export interface OpenFile {
  /** The count of uses when it was used last. */
  usedAt: number
  /** Closes it, unless it is in use. Must not throw. @returns whether it is closed */
  closeIfIdle(): boolean
}

/** A file that was not used for so long is closed, at the latest after twice that. Opening it again takes 10 us. */
const IDLE_MS = 1500

/** So many may be held open anywhere. Short programs need no more, and do not look what the limit is. */
const FEWEST = 8

/** Where the system does not tell: as macOS has it. */
const USUAL_LIMIT = 256

const KEY = Symbol.for('pslock/1/open-files')

const globals = globalThis as typeof globalThis & { [KEY]?: OpenFiles }

globals[KEY] ??= {
  files: new Set(),
  clock: 0,
  most: 0,
  lookAt: 0,
  timer: undefined,
  clockBefore: 0,
  waiting: [],
}

/** Of all copies of the package in this thread. */
export const openFiles: OpenFiles = globals[KEY]

/** What lasts longer than the call that begins it runs here: it would keep what that knows (AsyncLocalStorage) in memory. */
export const nobody: AsyncResource = new AsyncResource('PSLOCK')

/** It has been opened: it will be closed when it is idle, unless `remove` comes first. */
export function add(file: OpenFile): void {
  if (openFiles.files.size >= FEWEST && openFiles.files.size >= Math.max(mostOpen(), openFiles.lookAt))
    makeRoom()
  file.usedAt = ++openFiles.clock
  openFiles.files.add(file)
  if (!openFiles.timer) nobody.runInAsyncScope(startTimer)
}

/** It has been closed. */
export function remove(file: OpenFile): void {
  openFiles.files.delete(file)
  freed()
  if (openFiles.files.size > 0) return
  clearTimeout(openFiles.timer)
  openFiles.timer = undefined
}

/**
 * As `fs.openSync`, with idle files closed where there is no descriptor left.
 * @throws what open(2) says
 */
export function openFile(path: string, flags: string | number, mode?: number): number {
  try {
    return openSync(path, flags, mode)
  } catch (error) {
    if (!isShortage(error) || closeIdleFiles() === 0) throw error
    return openSync(path, flags, mode)
  }
}

/** As `openFile`, for reading. A link is not followed, and a FIFO is not waited for. */
export function openToLook(path: string): number {
  return openFile(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
}

/** Closes all that are idle. @returns how many */
export function closeIdleFiles(): number {
  return closeIdle(openFiles.files.size)
}

/** Whether something failed for want of a descriptor, and there will be one: ours are in use now, and not for ever. */
export function willPass(error: unknown): boolean {
  return (isShortage(error) || isShortage((error as Error | undefined)?.cause)) && openFiles.files.size > 0
}

/** Calls it as soon as one of our files has been closed, or may be. First come, first served. */
export function whenFreed(ask: () => void): void {
  openFiles.waiting.push(ask)
}

/** One of our files has been closed, or may be. */
export function freed(): void {
  const ask = openFiles.waiting.shift()
  if (ask) nobody.runInAsyncScope(setImmediate, undefined, ask)
}

/**
 * Whether one more operation, beside those that run, cannot run out of descriptors together with them, where each needs
 * up to four, besides what is held open.
 */
export function fitsAtOnce(running: number): boolean {
  return running < FEWEST / 4 || running < Math.floor(mostOpen() / 4)
}

/** Whether there was no descriptor left. */
function isShortage(error: unknown): boolean {
  const code = errnoOf(error)
  return (code === 'EMFILE' || code === 'ENFILE') && (error as NodeJS.ErrnoException).syscall === 'open'
}

/**
 * How many are held open: a quarter of what the process may have open at all, for the rest of it needs some, too; a
 * worker thread, of which there may be many, a sixteenth. No more than 1024, which are some ten megabytes in the kernel.
 */
function mostOpen(): number {
  openFiles.most ||= Math.max(
    FEWEST,
    Math.min(1024, Math.floor(openFilesLimit() / (isMainThread() ? 4 : 16))),
  )
  return openFiles.most
}

/** The soft limit of the process (RLIMIT_NOFILE), see proc(5). */
function openFilesLimit(): number {
  const limits = orUndefined(() => readFileSync('/proc/self/limits', 'utf8')) ?? ''
  const [, soft] = /^Max open files +(\S+)/m.exec(limits) ?? []
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft) || USUAL_LIMIT
}

/** Some at once, so that not every new file has to look through all of them. */
function makeRoom(): void {
  const most = mostOpen()
  const step = Math.ceil(most / 4)
  closeIdle(openFiles.files.size - most + step)
  // Where most of them are in use, not at each new one.
  openFiles.lookAt = openFiles.files.size + step
}

/** Closes so many that are idle, the least recently used ones. @returns how many */
function closeIdle(count: number): number {
  let closed = 0
  for (const file of [...openFiles.files].sort((one, other) => one.usedAt - other.usedAt)) {
    if (closed >= count) break
    if (file.closeIfIdle()) closed++
  }
  return closed
}

function startTimer(): void {
  openFiles.timer = setTimeout(() => {
    openFiles.timer = undefined
    for (const file of [...openFiles.files]) if (file.usedAt <= openFiles.clockBefore) file.closeIfIdle()
    openFiles.clockBefore = openFiles.clock
    openFiles.lookAt = 0
    if (openFiles.files.size > 0) startTimer()
  }, IDLE_MS)
  openFiles.timer.unref()
}
