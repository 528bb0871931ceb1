import type { TreeLockHolder, TreeLockMode } from '../errors.ts'
import { monotonicMs } from '../os/clock.ts'
import { commandOf, stoppedness } from '../os/live-process.ts'
import { isRangeBlocked } from '../os/ofd.ts'
import { RecordFile } from '../os/record-file.ts'
import { areCompatible, intention } from './mode.ts'
import { pathOf } from './name.ts'
import { nameAt, readNote, slotsOf } from './name-table.ts'
import { type Note, parseNote, pidOf } from './note.ts'
import { notedness } from './ranges.ts'
import { treeHolds } from './tree-hold.ts'

/** A holder, and the place of its note. */
export interface Noted extends TreeLockHolder {
  readonly slot: number
}

/** Everybody who holds or waits in a tree, the oldest first. Looks only: locks nothing and creates nothing. */
export function notedHolders(tree: string): Noted[] {
  const file = RecordFile.openToLook(tree)
  if (!file) return []
  try {
    return slotsOf(file)
      .flatMap((slot) => {
        const note = liveNote(file, slot)
        const name = note && nameAt(file, note.node)
        return note && name !== undefined ? [{ slot, note, name }] : []
      })
      .sort((one, other) => one.note.since - other.note.since)
      .map(({ slot, note, name }) => describe(tree, slot, name, note))
  } finally {
    file.close()
  }
}

/** A note counts while the kernel says that its owner has it; asked before and after, for it may change hands. */
function liveNote(file: RecordFile, slot: number): Note | undefined {
  const isNoted = () => isRangeBlocked(file.fd, 'exclusive', notedness(slot), file.path)
  if (!isNoted()) return undefined
  const note = parseNote(readNote(file, slot))
  return isNoted() ? note : undefined
}

function describe(tree: string, slot: number, name: string, note: Note): Noted {
  const pid = pidOf(note)
  const own =
    pid === process.pid ? [...treeHolds].find((hold) => hold.tree === tree && hold.slot === slot) : undefined
  return {
    slot,
    name,
    mode: note.mode,
    reason: note.reason,
    state: note.state,
    pid,
    command: pid === undefined ? undefined : commandOf(pid),
    sinceMs: Math.max(0, Math.round(monotonicMs() - note.since)),
    ...stoppedness(pid),
    ...(own?.acquiredAt ? { acquiredAt: own.acquiredAt.stack?.split('\n').slice(2).join('\n') } : {}),
  }
}

/** Whether a holder and a request exclude each other, at the node of one of them or at one above both. */
export function isInTheWay(
  holder: Pick<TreeLockHolder, 'name' | 'mode'>,
  nodes: readonly string[],
  mode: TreeLockMode,
): boolean {
  const theirs = pathOf(holder.name)
  return nodes.some((node, i) => {
    const own = i === nodes.length - 1 ? mode : intention(mode)
    const at = theirs.indexOf(node)
    if (at === -1) return false
    return !areCompatible(own, at === theirs.length - 1 ? holder.mode : intention(holder.mode))
  })
}
