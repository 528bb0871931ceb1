import { lstatSync, type Stats, statSync, unlinkSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { type OptionNames, optionNames, requireBoolean, requirePath, show } from '../../arguments.ts'
import { CorruptStoreError } from '../../errors.ts'
import { canonicalPath } from '../../lock/lock-file.ts'
import { closeLocked } from '../../os/flock.ts'
import { keepCopyAside, replaceFile, secretTemp, storeFailure } from '../../os/replace.ts'
import { piecesOf, type Source } from '../../store/snapshot.ts'
import {
  type FileFormat,
  type FindingKind,
  findingText,
  OF_A_CRASH,
  READABLE,
  readStore,
  replaceContent,
  type StoreFile,
  underItsLock,
} from './format.ts'

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
  file: StoreFile,
  to: string,
  { overwrite = false }: DumpOptions = {},
): Promise<void> {
  requireBoolean(overwrite, 'overwrite')
  const target = anotherFile(file, to, 'dump to', unfollowed)
  // What counts is decided when the copy gets its name. This look only saves the wait.
  const there = lookAt(target, lstatSync)
  if (there?.isDirectory()) throw storeFailure(target, 'write', errno('EISDIR'))
  if (!overwrite && there) throw storeFailure(target, 'write', errno('EEXIST'))
  if (there?.isSymbolicLink()) throw storeFailure(target, 'write', errno('ELOOP'))
  if (there && !there.isFile()) throw storeFailure(target, 'write', new Error('it is not a regular file'))
  using read = await file.read()
  const content = await wholeContent(file.path, 'dumped', file.format, read.source, OF_A_CRASH)
  const sealed = (await file.format.seal?.(content)) ?? content
  const temp = secretTemp(target)
  await underItsLock(target, 'exclusive', async () => {
    if (overwrite) await file.format.settle?.(target)
    const how = { temp, newMode: read.mode, durable: true, overwrite }
    closeLocked(await replaceFile(target, piecesOf(sealed), how), target)
  })
}

/**
 * Replaces the content of a data file by that of a dump, which is looked at first. The old content stays in
 * `<file>.before-restore-<n>` until the new one is on the disk.
 * @throws TypeError for the file itself, CorruptStoreError for a dump that is damaged, StoreIoError
 */
export async function restore(file: StoreFile, from: string): Promise<void> {
  const source = anotherFile(file, from, 'restore from')
  using read = await underItsLock(source, 'shared', () => readStore(source, file.format))
  const content = await wholeContent(source, 'restored', file.format, read.source, UNTERMINATED)
  file.format.requireRestorable?.(file.path)
  await file.tryOn?.(content)
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
  { path, lock }: StoreFile,
  other: string,
  what: string,
  absolute: (path: string) => string = canonicalPath,
): string {
  const target = absolute(requirePath(other, 'path'))
  const [own, its] = [lookAt(path), lookAt(target)]
  const isSame = own !== undefined && own.ino === its?.ino && own.dev === its.dev
  if (isSame || target === path || target === lock.path) {
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
