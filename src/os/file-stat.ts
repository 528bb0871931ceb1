import { type BigIntStats, constants, fstatSync, lstatSync, statSync } from 'node:fs'
import { orUndefined } from '../errors.ts'
import { isLibcLoaded, libc } from './modules.ts'

/** What is known of the file that a path names, from one look. */
export interface PathStat {
  /** Whether it is the file that is open here. */
  readonly isOpenHere: boolean
  readonly size: number
  /** Its type and permission bits. */
  readonly mode: number
  /**
   * When its content or its attributes changed last, in microseconds since 1970; exact to a quarter of one. May be
   * undefined where it was not asked for.
   */
  readonly changedUs: number | undefined
}

/**
 * The file that a path names, beside the one that is open here: before and after everything is asked whether they are
 * the same. "The same" is said of an *open* file: as long as it is open its inode number cannot be given to another (bare
 * numbers came back in 10 of 20 replacements).
 *
 * Of one that was closed (`closing`) and is opened again the number is not enough. It is the same one
 *
 *  - if it was made at the same moment (birth time, where the file system has one), which was over when it was closed: what
 *    takes over its number is made later;
 *  - or if its last change (ctime) is the same, which was over when it was closed: what is made or changed later has a later
 *    one, which no program can set.
 */
export class NamedFile {
  readonly path: string
  #fd: number | undefined
  /** What fstat(2) says of the open file; asked for where statx(2) cannot tell. */
  #opened: BigIntStats | undefined
  #closed: Closed | undefined
  #since: Since = 'another'
  readonly #name: Buffer
  readonly #words = new Uint32Array(64)
  /** What statx(2) tells the open file from all others by; undefined where it was not asked yet. */
  #identity: Uint32Array | undefined
  readonly #named = { isOpenHere: false, size: 0, mode: 0, changedUs: undefined as number | undefined }

  constructor(path: string) {
    this.path = path
    this.#name = nameFor(path)
  }

  /** This is open here from now on. @throws what fstat(2) says */
  opened(fd: number): PathStat {
    const quick = this.#closed ? undefined : this.#openedQuickly(fd)
    if (quick) return quick
    const found = fstatSync(fd, { bigint: true })
    this.#since = this.#closed ? since(this.#closed, found) : 'another'
    this.#closed = undefined
    this.#fd = fd
    this.#opened = found
    this.#identity = undefined
    return describe(found, true)
  }

  /** With all that the next look asks for. */
  #openedQuickly(fd: number): PathStat | undefined {
    const statx = quickly()
    const words = this.#words
    if (statx?.(fd, NO_NAME, AT_EMPTY_PATH, MODE_INO_SIZE_CTIME, words) !== 0) return undefined
    this.#since = 'another'
    this.#fd = fd
    this.#opened = undefined
    this.#identity = identityIn(words)
    return this.#describe(words, true)
  }

  /** It is about to be closed, and may be opened again. @throws what fstat(2) says */
  closing(fd: number): void {
    this.#closed = { found: fstatSync(fd, { bigint: true }), atMs: Date.now() }
    this.#fd = undefined
  }

  /** Whether a file that was open here is closed, and may be opened again. */
  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  /** It is closed, and what is opened next is another one. */
  forget(): void {
    this.#closed = undefined
    this.#fd = undefined
  }

  /** What the file that was opened last is to the one that was closed before. */
  get since(): Since {
    return this.#since
  }

  /** Whether the path still names what is open here; undefined where it cannot be looked up: opening it says why. */
  get isCurrent(): boolean | undefined {
    try {
      return this.stat(false)?.isOpenHere ?? false
    } catch {
      return undefined
    }
  }

  /**
   * @param withTime whether to ask when it was changed: then the kernel (6.13 and later) gives the next write a time of
   * its own, which costs that one as much as a look (1.6 us)
   * @returns undefined where the path names nothing; else what is good until the next look
   * @throws what stat(2) says
   */
  stat(withTime = true): PathStat | undefined {
    const quick = this.#statQuickly(withTime)
    if (quick) return quick
    const found = statSync(this.path, { bigint: true, throwIfNoEntry: false })
    if (!found) return undefined
    return describe(found, this.#isOpenHere(found))
  }

  #isOpenHere({ ino, dev }: BigIntStats): boolean {
    if (this.#fd === undefined) return false
    this.#opened ??= fstatSync(this.#fd, { bigint: true })
    return ino === this.#opened.ino && dev === this.#opened.dev
  }

  /** @returns undefined where the long way is to tell, or to say what is wrong */
  #statQuickly(withTime: boolean): PathStat | undefined {
    const statx = this.#fd === undefined ? undefined : quickly()
    const identity = statx && (this.#identity ?? this.#identify(statx))
    if (!statx || !identity) return undefined
    const words = this.#words
    if (statx(AT_FDCWD, this.#name, 0, withTime ? MODE_INO_SIZE_CTIME : MODE_INO_SIZE, words) !== 0)
      return undefined
    const isSameInode = words[INO] === identity[0] && words[INO + 1] === identity[1]
    return this.#describe(
      words,
      withTime,
      isSameInode && words[DEV] === identity[2] && words[DEV + 1] === identity[3],
    )
  }

  #describe(words: Uint32Array, withTime: boolean, isOpenHere = true): PathStat {
    const named = this.#named
    named.isOpenHere = isOpenHere
    named.mode = at(words, MODE) & 0xffff
    named.size = long(words, SIZE)
    named.changedUs = withTime ? microseconds(long(words, CTIME_SECONDS), at(words, CTIME_NS)) : undefined
    return named
  }

  #identify(statx: Statx): Uint32Array | undefined {
    const words = this.#words
    if (statx(this.#fd as number, NO_NAME, AT_EMPTY_PATH, MODE_INO_SIZE, words) !== 0) return undefined
    this.#identity = identityIn(words)
    return this.#identity
  }
}

/** What a file was when it was closed here. */
interface Closed {
  readonly found: BigIntStats
  readonly atMs: number
}

/** The same as it was; the same, but longer; or another one, for all that can be told. */
export type Since = 'unchanged' | 'longer' | 'another'

function since({ found, atMs }: Closed, now: BigIntStats): Since {
  if (found.dev !== now.dev || found.ino !== now.ino) return 'another'
  const isOfSameBirth =
    found.birthtimeNs > 0n && found.birthtimeNs === now.birthtimeNs && isOver(found.birthtimeNs, atMs)
  if (found.ctimeNs === now.ctimeNs && found.size === now.size)
    return isOfSameBirth || isOver(found.ctimeNs, atMs) ? 'unchanged' : 'another'
  return isOfSameBirth && now.size > found.size ? 'longer' : 'another'
}

/**
 * Whether what happens after `atMs` has a later time. Kernels before 6.13 count file times in steps of up to 10 ms, some
 * file systems in seconds, FAT in two.
 */
function isOver(timeNs: bigint, atMs: number): boolean {
  const stepMs = timeNs % 1_000_000_000n === 0n ? 2_000 : 20
  return Number(timeNs / 1_000_000n) + stepMs < atMs
}

/** What a name is by itself, links not followed. */
export interface Name {
  readonly isLink: boolean
  readonly isFile: boolean
  /** How many names the file has. */
  readonly links: number
}

/** Looks at a name again and again. */
export class NameStat {
  readonly #path: string
  readonly #name: Buffer
  readonly #words = new Uint32Array(64)

  constructor(path: string) {
    this.#path = path
    this.#name = nameFor(path)
  }

  /** @returns undefined where there is nothing of this name. @throws what lstat(2) says */
  stat(): Name | undefined {
    const statx = quickly()
    if (statx?.(AT_FDCWD, this.#name, AT_SYMLINK_NOFOLLOW, MODE_NLINK, this.#words) === 0) {
      const kind = at(this.#words, MODE) & constants.S_IFMT
      const links = at(this.#words, NLINK)
      return { isLink: kind === constants.S_IFLNK, isFile: kind === constants.S_IFREG, links }
    }
    if (statx && errno?.() === ENOENT) return undefined
    const found = lstatSync(this.#path, { throwIfNoEntry: false })
    return found && { isLink: found.isSymbolicLink(), isFile: found.isFile(), links: found.nlink }
  }
}

function describe({ size, mode, ctimeNs }: BigIntStats, isOpenHere: boolean): PathStat {
  return {
    isOpenHere,
    size: Number(size),
    mode: Number(mode),
    changedUs: microseconds(Number(ctimeNs / 1_000_000_000n), Number(ctimeNs % 1_000_000_000n)),
  }
}

function identityIn(words: Uint32Array): Uint32Array {
  return Uint32Array.of(at(words, INO), at(words, INO + 1), at(words, DEV), at(words, DEV + 1))
}

function microseconds(seconds: number, nanoseconds: number): number {
  return seconds * 1e6 + nanoseconds / 1e3
}

/** asm-generic/errno-base.h. */
const ENOENT = 2

/** linux/stat.h and fcntl.h. `struct statx` is laid out alike on every architecture; these are its 32-bit words. */
const AT_FDCWD = -100
const AT_EMPTY_PATH = 0x1000
const AT_SYMLINK_NOFOLLOW = 0x100
const MODE_NLINK = 0x7
const MODE_INO_SIZE = 0x302
const MODE_INO_SIZE_CTIME = 0x382
const NLINK = 4
const MODE = 7
const INO = 8
const SIZE = 10
const CTIME_SECONDS = 24
const CTIME_NS = 26
const DEV = 34

/** A process that has looked so often pays the ten milliseconds that koffi takes to load. */
const OFTEN = 200

type Statx = (folder: number, path: Buffer, flags: number, mask: number, words: Uint32Array) => number

/** Numbers of the kernel's are little-endian on all machines that Node has builds for but one (s390x). */
const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

let looks = 0
let statx: Statx | undefined
let errno: (() => number) | undefined

/** @returns undefined where it is not there: no Linux, no koffi, an old C library; or where fs-ext is insisted on */
function bindStatx(): Statx | undefined {
  if (process.platform !== 'linux' || !isLittleEndian || process.env.PSLOCK_BINDING === 'fs-ext')
    return undefined
  const prototype = 'int statx(int folder, const void *path, int flags, unsigned int mask, void *words)'
  return orUndefined(() => libc().func<Statx>(prototype))
}

/**
 * statx(2) through koffi: 1.1 us where `fs.statSync` takes 1.9, and no garbage where that leaves two dozen bigints (50
 * processes that find: a third of their time).
 * @returns it where it is there, in a process that looks often, or has koffi in any case
 */
function quickly(): Statx | undefined {
  if (looks < OFTEN && (++looks === OFTEN || isLibcLoaded)) {
    looks = OFTEN
    statx = bindStatx()
    if (statx) errno = libc().errno
  }
  return statx
}

function nameFor(path: string): Buffer {
  return Buffer.from(`${path}\0`)
}

const NO_NAME: Buffer = nameFor('')

function at(words: Uint32Array, index: number): number {
  return words[index] as number
}

function long(words: Uint32Array, index: number): number {
  return at(words, index) + at(words, index + 1) * 2 ** 32
}
