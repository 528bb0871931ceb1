import { constants, fchmodSync, fsyncSync, statSync } from 'node:fs'
import { closeQuietly } from '../../../os/flock.ts'
import { openFile } from '../../../os/open-files.ts'

/**
 * A data file that has a journal is marked: without its journal it is not whole, and nothing in it says so. The mark is the
 * sticky bit (S_ISVTX), which Linux does not look at in files, which leaves the content as it is, and which neither git nor a
 * plain `cp` takes along. It is set when the first unit of the journal is on the disk, name included, and is not on the file
 * that replaces this one; so whoever finds it, and no journal, knows that somebody has taken that away.
 */
const MARK = 0o1000

export function isMarked({ mode }: { readonly mode: number }): boolean {
  return (mode & MARK) !== 0
}

/**
 * Marks an open file. Only its owner and root may do so, and not every file system has the bit: then, as after any failure,
 * nothing tells later that a journal is missing, to processes that have not seen it. No operation fails of that.
 * @param mode of the file
 */
export function mark(fd: number, mode: number): void {
  try {
    fchmodSync(fd, (mode & 0o7777) | MARK)
  } catch {
    // As said above.
  }
}

/**
 * The journal counts no more.
 * @throws what the system says; EPERM to who is neither the owner nor root
 */
export function unmark(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found || !isMarked(found)) return
  const fd = openFile(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    fchmodSync(fd, found.mode & 0o6777)
    // With the mark back after power loss a journal would be missed that was put aside.
    fsyncSync(fd)
  } finally {
    closeQuietly(fd)
  }
}
