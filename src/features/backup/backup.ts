import {
  constants,
  existsSync,
  lstatSync,
  readdirSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { type OptionNames, optionNames, requireBoolean, requirePath, show } from '../../arguments.ts'
import { CorruptStoreError, errnoOf, orUndefined } from '../../errors.ts'
import { PsLock } from '../../lock/lock.ts'
import { canonicalPath, isReadOnlyFolder } from '../../lock/lock-file.ts'
import { removeLockFile } from '../../lock/lock-removal.ts'
import { DEFAULTS } from '../../lock/options.ts'
import { closeLocked, tryFlock } from '../../os/flock.ts'
import { openFile } from '../../os/open-files.ts'
import { ASIDE, keepAside, keepCopyAside, replaceFile, secretTemp, storeFailure } from '../../os/replace.ts'
import { DataFile, exclusiveToWrite, isNotPermitted, untilUnsplit } from '../../store/data-file.ts'
import {
  allOf,
  fileSource,
  piecesOf,
  readSnapshot,
  type Snapshot,
  type Source,
  Spliced,
} from '../../store/snapshot.ts'
import {
  type FileFormat,
  type Finding,
  type FindingKind,
  finding,
  findingText,
  isDamage,
  OF_A_CRASH,
  READABLE,
  type Settled,
} from './format.ts'

/** Dump, restore, check and repair of data files of any format. */

/** What is dumped: a store, in a file or elsewhere, and what its file looks like. */
export interface StoreContent {
  /** The real path of the data file, or what is shown of another place. */
  readonly path: string
  readonly format: FileFormat
  /** Reads it, a file under the shared lock. @throws StoreIoError where there is none */
  read(): Promise<Snapshot>
  /** Called before a restore with the new content. @throws where the store could not load it */
  tryOn?(content: Source): Promise<void>
}

/** A data file, its lock, and what it must look like. */
export interface StoreFile extends StoreContent {
  readonly lock: PsLock
  readonly timeoutMs: number
}

/** A store that is in no file. */
export interface StoreElsewhere extends StoreContent {
  /** Replaces all of it by the content of a file. Whatever happens, it is replaced entirely or not at all. */
  replace(content: Source): Promise<void>
}

export interface DumpOptions {
  /**
   * Whether a file that is there already may be replaced.
   * @default false
   */
  readonly overwrite?: boolean | undefined
}

export const DUMP_NAMES: OptionNames = optionNames<DumpOptions>({ overwrite: true })

/**
 * Writes a consistent copy of a data file. The lock is held, shared, only while the file is read; the copy appears
 * under its name when it is whole and on the disk, or not at all. A symbolic link of that name is not followed.
 * @throws TypeError for the file itself, CorruptStoreError for one that is damaged, StoreIoError
 */
export async function dump(
  file: StoreContent & { readonly lock?: PsLock },
  to: string,
  { overwrite = false }: DumpOptions = {},
): Promise<void> {
  requireBoolean(overwrite, 'overwrite')
  await writeTo(anotherFile(file, to, 'dump to', unfollowed), file, overwrite ? 'anything' : 'nothing')
}

/**
 * As `dump`, but for a data file to go on with: nothing marks it as a dump.
 * @param overwrite whether a file that is there already may be replaced; an empty one may be in any case
 * @throws as `dump`
 */
export async function copyToFile(
  from: StoreContent & { readonly lock?: PsLock },
  to: string,
  overwrite: boolean,
): Promise<void> {
  const { seal: _, ...format } = from.format
  const target = anotherFile(from, to, 'copy to', unfollowed)
  await writeTo(target, { ...from, format }, overwrite ? 'anything' : 'nothing but an empty file')
}

/** What may be there already, to be replaced. */
type Replaceable = 'nothing' | 'nothing but an empty file' | 'anything'

async function writeTo(target: string, file: StoreContent, replaceable: Replaceable): Promise<void> {
  // What counts is decided when the copy gets its name. This look only saves the wait.
  requireReplaceable(target, lookAt(target, lstatSync), replaceable)
  using read = await file.read()
  const content = await wholeContent(file.path, 'dumped', file.format, read.source, OF_A_CRASH)
  const sealed = (await file.format.seal?.(content)) ?? content
  const how = { temp: secretTemp(target), newMode: read.mode, durable: true }
  await underItsLock(target, async () => {
    requireReplaceable(target, lookAt(target, lstatSync), replaceable)
    await file.format.settle?.(target)
    const old = new DataFile(target, false)
    try {
      // Locked until it is replaced: whoever writes to it has another lock file than ours.
      const isThere = await untilUnsplit(DEFAULTS.timeoutMs, () => lookToReplace(old))
      requireReplaceable(target, lookAt(target, lstatSync), replaceable)
      const overwrite = isThere || replaceable === 'anything'
      closeLocked(await replaceFile(target, piecesOf(sealed), { ...how, overwrite }), target)
    } finally {
      old.close()
    }
  })
}

/** @throws StoreIoError */
function requireReplaceable(target: string, there: Stats | undefined, replaceable: Replaceable): void {
  if (there === undefined) return
  if (there.isDirectory()) throw storeFailure(target, 'write', errno('EISDIR'))
  const isLeft = replaceable === 'nothing' || (replaceable !== 'anything' && there.size > 0)
  if (isLeft) throw storeFailure(target, 'write', errno('EEXIST'))
  if (there.isSymbolicLink()) throw storeFailure(target, 'write', errno('ELOOP'))
  if (!there.isFile()) throw storeFailure(target, 'write', new Error('it is not a regular file'))
}

/** What may not be read may be replaced all the same: a rename asks the folder. @returns whether there is a file */
function lookToReplace(old: DataFile): boolean {
  try {
    return old.look('exclusive') !== undefined
  } catch (error) {
    if (isNotPermitted(error)) return true
    throw error
  }
}

/**
 * Replaces the content of a data file by that of a dump, which is looked at first. The old content stays in
 * `<file>.before-restore-<n>` until the new one is on the disk.
 * @throws TypeError for the file itself, CorruptStoreError for a dump that is damaged, StoreIoError
 */
export async function restore(file: StoreFile | StoreElsewhere, from: string): Promise<void> {
  const source = anotherFile(file, from, 'restore from')
  using read = await underItsOwnLock(source, () => readStore(source, file.format))
  const content = await wholeContent(source, 'restored', file.format, read.source, UNTERMINATED)
  file.format.requireRestorable?.(file.path)
  await file.tryOn?.(content)
  // Awaited, for what is read is closed when this returns.
  if ('replace' in file) return await file.replace(content)
  let aside: string | undefined
  let inode: number | undefined
  try {
    await replaceContent(file, read.mode, async (old) => {
      if (!old) return content
      inode = lookAt(file.path)?.ino
      aside = await keepCopyAside(file.path)
      return content
    })
  } catch (error) {
    const failure = storeFailure(file.path, 'restore', error)
    if (aside !== undefined) removeIfUnneeded(aside, file.path, inode)
    throw failure
  }
  try {
    if (aside !== undefined) unlinkSync(aside)
  } catch (error) {
    throw storeFailure(aside ?? file.path, 'remove (the restore itself is done)', error)
  }
}

/**
 * Replaces a store that is in no file by what another one has.
 * @throws CorruptStoreError where that is damaged, and whatever `from.read` and `to.replace` throw
 */
export async function copy(from: StoreContent, to: StoreElsewhere): Promise<void> {
  using read = await from.read()
  await to.replace(await wholeContent(from.path, 'copied', from.format, read.source, OF_A_CRASH))
}

/** The copy of the old content is needed unless that is still in place. */
function removeIfUnneeded(aside: string, path: string, inode: number | undefined): void {
  try {
    if (statSync(path).ino === inode) unlinkSync(aside)
  } catch {
    // Where that cannot be told, or done, the copy stays: the failure that led here is the one to be told of.
  }
}

function lookAt(path: string, look = statSync): Stats | undefined {
  try {
    return look(path, { throwIfNoEntry: false })
  } catch (error) {
    throw storeFailure(path, 'look at', error)
  }
}

/** The real path of a file that will be made; a link in its own place is not followed, for somebody may have put it there. */
function unfollowed(path: string): string {
  const absolute = resolve(path)
  return join(canonicalPath(dirname(absolute)), basename(absolute))
}

function anotherFile(
  { path, lock }: StoreContent & { readonly lock?: PsLock },
  other: string,
  what: string,
  absolute: (path: string) => string = canonicalPath,
): string {
  const target = absolute(requirePath(other, 'path'))
  const [own, its] = [lookAt(path), lookAt(target)]
  const isSame = own !== undefined && own.ino === its?.ino && own.dev === its.dev
  if (isSame || target === path || target === lock?.path) {
    throw new TypeError(`cannot ${what} the store's own file: path must name another one, got ${show(other)}`)
  }
  return target
}

const UNTERMINATED: ReadonlySet<FindingKind> = new Set(['unterminated'])

/** @param except what may be found besides what is readable. @throws CorruptStoreError where there is more */
async function wholeContent(
  path: string,
  what: string,
  format: FileFormat,
  source: Source,
  except: ReadonlySet<FindingKind>,
): Promise<Source> {
  const { findings, content } = await format.inspect(source)
  const damage = findings.filter((found) => !except.has(found.what) && !READABLE.has(found.what))
  const [first] = damage
  if (content && !first) return content
  const more = damage.length > 1 ? ` (and ${damage.length - 1} more)` : ''
  const why = first ? `${findingText(first)}${more}` : 'it is not whole'
  throw new CorruptStoreError(
    `${path} cannot be ${what}: it is not a whole ${format.name} file: ${why}. Nothing was changed. \`pslock check\` says more.`,
    { path },
  )
}

function errno(code: string): Error {
  return Object.assign(new Error(code), { code })
}

/** What mending took off the file: it may show damage that the first one hid. */
const ROUNDS = 5

/** Looks whether a data file is whole, and what lies beside it; changes nothing. @throws StoreIoError */
export async function check({ path, lock, format }: StoreFile): Promise<Finding[]> {
  const [read, beside] = await shared(lock, async () => {
    const content = await readSnapshot(path, format.endOf)
    return [content, [...((await format.beside?.(path)) ?? []), ...leftoversOf(path)]] as const
  })
  using content = read
  const { findings } = await format.inspect(content.source)
  return [...findings, ...beside]
}

/** What a repair has done. */
export interface Repair {
  /** What was wrong. */
  readonly mended: readonly Finding[]
  /** Where that is kept now which was taken out or put aside. */
  readonly kept: readonly string[]
}

/**
 * Makes a data file whole again by taking out what keeps it from that, all of which is kept in `<file>.removed-<n>`.
 * @throws CorruptStoreError where that cannot be done, and nothing was changed; StoreIoError
 */
export async function repair(file: StoreFile): Promise<Repair> {
  const { path, format } = file
  let mended: Finding[] = []
  const kept: string[] = []
  await replaceContent(file, 0o666, async (old, beside) => {
    // Says that there is no file, in the words of the system.
    const source = old ?? (await readSnapshot(path)).source
    const { findings, content, removed } = await mend(path, format, source)
    const leftovers = leftoversOf(path).filter(isDamage)
    mended = [...findings, ...beside.findings, ...leftovers]
    kept.push(...beside.kept)
    if (removed.length > 0) kept.push(keepAside(path, 'removed', await allOf(removed)))
    for (const { file: leftover } of leftovers) if (leftover) kept.push(putAside(path, leftover))
    return findings.length > 0 ? content : undefined
  })
  return { mended, kept }
}

async function mend(
  path: string,
  format: FileFormat,
  source: Source,
): Promise<{ findings: Finding[]; content: Source; removed: Source }> {
  let all: Finding[] = []
  const removed = new Spliced()
  for (let content = source, round = 1; ; round++) {
    const found = await format.inspect(content)
    const [first] = found.findings
    if (!first) return { findings: all, content, removed }
    if (!found.content || round > ROUNDS) {
      throw new CorruptStoreError(
        `${path} cannot be made a whole ${format.name} file again: ${findingText(first)}. ${first.mend} Nothing was changed.`,
        { path },
      )
    }
    all = [...all, ...found.findings]
    removed.add(found.removed)
    content = found.content
  }
}

/** The name stands for it before the leftover is moved there: nothing of that name is replaced. */
function putAside(path: string, leftover: string): string {
  const name = keepAside(path, 'removed', Buffer.alloc(0))
  renameSync(leftover, name)
  return name
}

/**
 * What others have left beside a data file: temp files of writers that died, and what was kept aside. Called under the
 * file's lock, when nobody writes it; the temp file of a dump, which is made without that lock, is locked itself.
 * @param path the real one
 */
function leftoversOf(path: string): Finding[] {
  const folder = dirname(path)
  const name = basename(path)
  const findings: Finding[] = []
  for (const other of readdirSync(folder).sort()) {
    const file = join(folder, other)
    if (isTemp(name, other) && !isInUse(file)) {
      const mend = '`pslock repair` puts it aside. Without the data file NeDB would take a `~` file for it.'
      findings.push(finding('leftover', 'the temp file of a writer that did not finish', mend, { file }))
    } else if (isAside(name, other)) {
      const message = 'evidence that was kept when the file was mended or restored'
      const mend = 'Look whether you miss something that is in it, then remove it.'
      findings.push(finding('kept-aside', message, mend, { file }))
    }
  }
  return findings
}

/** NeDB's name, lowdb's, and ours: of a replacement, and of a dump. */
function isTemp(name: string, other: string): boolean {
  if (other === `${name}~` || other === `.${name}.tmp`) return true
  return other.startsWith(`.${name}.`) && /^([0-9a-f]{8}\.)?pslock\.tmp$/.test(other.slice(name.length + 2))
}

function isAside(name: string, other: string): boolean {
  const rest = other.startsWith(`${name}.`) ? other.slice(name.length + 1) : ''
  // Of its journal, too.
  const [, kind] = /^(?:journal\.)?(.+)-\d+$/.exec(rest) ?? []
  return ASIDE.some((each) => each === kind)
}

function isInUse(file: string): boolean {
  try {
    const fd = openFile(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
    try {
      return !tryFlock(fd, 'shared', file)
    } finally {
      closeLocked(fd, file)
    }
  } catch (error) {
    // It is gone: somebody finished.
    if (errnoOf(error) === 'ENOENT') return true
    // A link, a socket, or another user's: no writer of ours has it.
    if (['ELOOP', 'ENXIO', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return false
    throw error
  }
}

/** A data file that no store object of this process has open. @param path the real one */
export function closedFile(path: string, lock: PsLock, timeoutMs: number, format: FileFormat): StoreFile {
  return { path, lock, timeoutMs, format, read: () => shared(lock, () => readStore(path, format)) }
}

/** Under the shared lock; without it where no lock file can be made: units and renames are whole. */
async function shared<T>(lock: PsLock, run: () => Promise<T>): Promise<T> {
  try {
    return await lock.shared(run)
  } catch (error) {
    if (!isReadOnlyFolder(error)) throw error
    return run()
  }
}

/** The store in a file. Called under its lock. @throws StoreIoError */
export function readStore(path: string, format: FileFormat): Promise<Snapshot> {
  return format.read ? format.read(path) : readSnapshot(path, format.endOf)
}

/**
 * Replaces the content of a data file under its exclusive lock: temp file, fsync, rename, fsync of the folder. Every
 * process sees it at its next call.
 * @param change of the old content (undefined: there is no file) makes the new one; undefined leaves it as it is
 * @throws the errors of `PsLock#exclusive`, LockLostError, StoreIoError, LockUnsupportedError
 */
async function replaceContent(
  { path, lock, timeoutMs, format }: StoreFile,
  newMode: number,
  change: (old: Source | undefined, settled: Settled) => Promise<Source | undefined>,
): Promise<void> {
  await exclusiveToWrite(path, lock, async () => {
    const settled = (await format.settle?.(path)) ?? { findings: [], kept: [] }
    const data = new DataFile(path, false)
    try {
      const found = await untilUnsplit(timeoutMs, () => data.look('exclusive'))
      data.requireWritable()
      const content = await change(found && fileSource(data.fd, found.size), settled)
      if (!content) return
      const how = { temp: format.temp(path), newMode, durable: true }
      data.adopt(await replaceFile(path, piecesOf(content), how), true)
    } finally {
      data.close()
    }
  })
}

/** To read a file that may be somebody's store: where it has a lock file, under that lock. */
async function underItsOwnLock<T>(path: string, run: () => Promise<T>): Promise<T> {
  const lock = new PsLock(path)
  if (!existsSync(lock.path)) return run()
  try {
    return await shared(lock, run)
  } finally {
    await lock.close()
  }
}

/** To replace a file that may be, or become, somebody's store. A lock file that is made for that does not stay. */
async function underItsLock(path: string, run: () => Promise<void>): Promise<void> {
  const lock = new PsLock(path)
  const isNew = !existsSync(lock.path)
  try {
    await exclusiveToWrite(path, lock, run)
  } finally {
    await lock.close()
    // On a full disk it is empty. Where it stays, it does no harm.
    if (isNew) orUndefined(() => removeLockFile(lock.path, { empty: true }))
  }
}
