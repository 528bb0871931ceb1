import { statSync } from 'node:fs'
import { harmless } from '../../src/errors.ts'
import {
  check as checkFile,
  closedFile,
  copyToFile,
  dump as dumpFile,
  repair as repairFile,
  restore as restoreFile,
  type StoreFile,
} from '../../src/features/backup/backup.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { canonicalPath } from '../../src/lock/lock-file.ts'
import { readingFailed } from '../../src/store/snapshot.ts'
import type { FileFlags } from './commands.ts'
import { formatOf, requireSameKind } from './kind.ts'
import { checkReport, type Report, repairReport } from './report.ts'

/** Here, and not with the commands: what does without these modules starts sooner. */

export async function dump(
  file: string,
  to: string,
  flags: FileFlags & { overwrite?: true },
): Promise<Report> {
  await locked(file, file, flags, (store) => dumpFile(store, to, { overwrite: flags.overwrite ?? false }))
  const bytes = statSync(to).size
  return { text: harmless(`${to}: ${bytes} bytes`), found: false, file: to, bytes }
}

export async function restore(file: string, from: string, flags: FileFlags): Promise<Report> {
  requireThere(from)
  requireSameKind(file, from, flags.store)
  // The store may be damaged beyond recognition, or gone: the dump says what kind it is.
  await locked(file, from, flags, (store) => restoreFile(store, from))
  const bytes = statSync(file).size
  return { text: harmless(`${file}: restored, ${bytes} bytes`), found: false, file, bytes }
}

export async function check(file: string, flags: FileFlags): Promise<Report> {
  return checkReport(file, await locked(file, file, flags, checkFile))
}

export async function repair(file: string, flags: FileFlags): Promise<Report> {
  const { mended, kept } = await locked(file, file, flags, repairFile)
  return repairReport(file, mended, kept)
}

/** A file's content, under its name; whatever is there already must be empty, or is replaced. */
export async function copy(
  from: string,
  to: string,
  flags: FileFlags & { overwrite?: true },
): Promise<Report> {
  await locked(from, from, flags, (store) => copyToFile(store, to, flags.overwrite ?? false))
  const bytes = statSync(to).size
  return { text: harmless(`${to}: ${bytes} bytes`), found: false, from, file: to, bytes }
}

/** @param like the file whose content tells the kind; it must be there, so that no lock file is made for a typing error */
export async function locked<T>(
  file: string,
  like: string,
  { store, timeout, lockPath }: FileFlags,
  run: (store: StoreFile) => Promise<T>,
): Promise<T> {
  requireThere(like)
  const path = canonicalPath(file)
  const format = formatOf(like, store)
  const lock = new PsLock(path, { timeoutMs: timeout, lockPath })
  try {
    return await run(closedFile(path, lock, timeout, format))
  } finally {
    await lock.close()
  }
}

/** @throws StoreIoError */
export function requireThere(path: string): void {
  try {
    statSync(path)
  } catch (error) {
    throw readingFailed(path, error)
  }
}
