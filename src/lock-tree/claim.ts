import { LockIoError } from '../errors.ts'
import { requireRangeLocks, tryLockRange, unlockRange } from '../os/ofd.ts'
import { RecordFile } from '../os/record-file.ts'
import { NameTable, writeNote } from './name-table.ts'
import { makeNote, type Note } from './note.ts'
import { NodeRanges, notedness } from './ranges.ts'

/** The lock file of a tree: where it is, and what is known of it. */
export interface TreeFile {
  readonly path: string
  /** The data file whose mode and group a new lock file takes over. */
  readonly guards: string | undefined
  table: NameTable | undefined
}

/**
 * What the kernel knows one hold, or one waiter, by: an opening of the lock file of its own (two holds on one descriptor
 * would be granted each other's locks) and a note that is bound to it. Closing it ends everything at once.
 */
export class Claim {
  readonly file: RecordFile
  readonly slot: number
  readonly ranges: NodeRanges
  readonly #table: NameTable

  /**
   * @param blockingMs how long to stay with it, blocking, while another process appends
   * @returns undefined when the file changed under our hands, or another process was appending to it all the while
   * @throws LockIoError, LockUnsupportedError, LockLostError
   */
  static open(tree: TreeFile, blockingMs: number): Claim | undefined {
    requireRangeLocks(tree.path)
    const file = RecordFile.open(tree.path, tree.guards)
    let claim: Claim | undefined
    try {
      const table = NameTable.of(file, tree.table, blockingMs)
      tree.table = table
      const slot = table?.takeSlot(file, blockingMs)
      // The slot may be of a file that was emptied just before. From here on it cannot be refilled under us.
      if (table && slot !== undefined && table.isOf(file)) claim = new Claim(file, table, slot)
    } finally {
      if (!claim) file.close()
    }
    return claim
  }

  private constructor(file: RecordFile, table: NameTable, slot: number) {
    this.file = file
    this.#table = table
    this.slot = slot
    this.ranges = new NodeRanges(file, slot)
  }

  /** The record of a name; undefined when another process was appending all the while. */
  indexOf(name: string, blockingMs: number): number | undefined {
    return this.#table.indexOf(this.file, name, blockingMs)
  }

  /** Says who this is, to `holders()` of all processes. */
  leaveNote(note: Pick<Note, 'state' | 'mode' | 'node' | 'reason'>): void {
    this.#withdrawNote()
    try {
      writeNote(this.file, this.slot, makeNote(note))
    } catch (error) {
      // Full disk: the lock itself does not depend on it.
      if (error instanceof LockIoError) return
      throw error
    }
    tryLockRange(this.file.fd, 'exclusive', notedness(this.slot), this.file.path)
  }

  close(): void {
    this.#withdrawNote()
    this.file.close()
  }

  /** Before a note is changed, and before its place may become another's. */
  #withdrawNote(): void {
    unlockRange(this.file.fd, notedness(this.slot), this.file.path)
  }
}
