import { statSync, writeFileSync } from 'node:fs'
import { constants, copyFile } from 'node:fs/promises'
import { errnoOf } from '../errors.ts'
import { sync, syncNames, syncNamesSync } from './data-io.ts'
import { closeQuietly } from './descriptor.ts'
import { openFile } from './open-files.ts'

/**
 * Why something was kept: cut off after a crash; unreadable lines that a rewrite left out; what `repair` took out; the
 * content before a restore; the journal of a file that was replaced without it.
 */
export const ASIDE = ['torn', 'corrupt', 'removed', 'before-restore', 'journal'] as const

type Aside = (typeof ASIDE)[number]

/** Keeps bytes that are about to leave a file in `<file>.<kind>-<n>`: evidence is never erased. @returns the name */
export function keepAside(path: string, kind: Exclude<Aside, 'before-restore'>, bytes: Buffer): string {
  const mode = (statSync(path, { throwIfNoEntry: false })?.mode ?? 0o600) & 0o666
  for (let n = 1; ; n++) {
    const name = `${path}.${kind}-${n}`
    let fd: number
    try {
      fd = openFile(name, 'wx', mode)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || n > 9999) throw error
      continue
    }
    try {
      writeFileSync(fd, bytes, { flush: true })
    } finally {
      closeQuietly(fd)
    }
    syncNamesSync(name)
    return name
  }
}

/** Keeps a copy of the whole file, synced, in `<file>.before-restore-<n>`; its mode is the file's. @returns the name */
export async function keepCopyAside(path: string): Promise<string> {
  // Where there is no descriptor left, this makes room for what copyFile opens.
  closeQuietly(openFile(path, 'r'))
  for (let n = 1; ; n++) {
    const name = `${path}.before-restore-${n}`
    try {
      await copyFile(path, name, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || n > 9999) throw error
      continue
    }
    const copy = openFile(name, 'r')
    await sync(copy).finally(() => closeQuietly(copy))
    await syncNames(name)
    return name
  }
}
