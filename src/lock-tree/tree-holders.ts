import { LockTimeoutError, LockUpgradeError, type TreeLockHolder, type TreeLockMode } from '../errors.ts'
import { acquisitionOf, STOPPED } from '../lock/registry.ts'
import { describeProcess, isAliveHere, monotonicMs } from '../os/processes.ts'
import { areCompatible, intention, nameOf, pathOf, type TreeRequest } from './request.ts'
import { type Note, nameAt, notedness, RecordFile, readNote, slotsOf } from './tree-file.ts'
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
      .map(({ slot, note, name }) => asHolder(tree, slot, name, note))
  } finally {
    file.close()
  }
}

/** A note counts while the kernel says that its owner has it; asked before and after, for it may change hands. */
function liveNote(file: RecordFile, slot: number): Note | undefined {
  const isNoted = () => file.isBlocked(notedness(slot))
  if (!isNoted()) return undefined
  const note = readNote(file, slot)
  return isNoted() ? note : undefined
}

function asHolder(tree: string, slot: number, name: string, note: Note): Noted {
  const pid = isAliveHere(note) ? note.pid : undefined
  const own =
    pid === process.pid ? [...treeHolds].find((hold) => hold.tree === tree && hold.slot === slot) : undefined
  return {
    slot,
    name,
    mode: note.mode,
    reason: note.reason,
    state: note.state,
    ...describeProcess(pid),
    sinceMs: Math.max(0, Math.round(monotonicMs() - note.since)),
    ...acquisitionOf(own),
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

/** Longest part of a command line that a message shows. */
const COMMAND_LENGTH = 80

/**
 * Why a request was not granted, in words that can be shown to a user:
 * "app/orders is locked: 'nightly snapshot' by pid 4711 (node backup.js) since 2.1 s"
 */
export function timeoutError(
  request: TreeRequest,
  slot: number | undefined,
  waitedMs: number,
): LockTimeoutError {
  const { tree, mode } = request
  const holders = culprits(request, slot)
  const waited = waitedMs < 1 ? '' : ` (no ${mode} lock of it in ${tree.path} within ${seconds(waitedMs)})`
  return new LockTimeoutError(
    `${nameOf(request)} is locked${describeAll(holders)}${waited}${describeDeadlock(holders)}`,
    { path: tree.path, mode, waitedMs, holders: holders.map(({ slot: _, ...holder }) => holder) },
  )
}

/** For a hold inside of one that would have to be made stronger first, when somebody else is in the way of that. */
export function upgradeError(request: TreeRequest, slot: number): LockUpgradeError {
  const { tree, mode } = request
  return new LockUpgradeError(
    `${nameOf(request)} cannot be locked (${mode}) inside one's own weaker hold now: the outer hold is locked against ` +
      `being made stronger${describeAll(culprits(request, slot))}. That is never waited for, since two such tasks ` +
      "would wait for each other for ever: take 'shared-intent-exclusive' or 'exclusive' in the outer hold.",
    { path: tree.path },
  )
}

/**
 * Those who hold what is in the way; where nobody does, those who wait in front.
 * @param slot the note of the request itself
 */
function culprits({ tree, nodes, mode, enclosing }: TreeRequest, slot: number | undefined): Noted[] {
  const own = [slot, ...enclosing.map(({ claim }) => claim.slot)]
  const all = notedHolders(tree.path).filter(
    (holder) => !own.includes(holder.slot) && isInTheWay(holder, nodes, mode),
  )
  const holding = all.filter(({ state }) => state === 'holding')
  return holding.length > 0 ? holding : all
}

function describeAll(holders: readonly Noted[]): string {
  if (holders.length === 0) return ' by a process that has just taken it or is about to'
  // A task that holds a name and others below it would else be named for each of them.
  const texts = new Map<string, string>()
  for (const holder of holders) {
    const key = `${holder.pid} ${holder.reason}`
    if (!texts.has(key)) texts.set(key, describe(holder))
  }
  return `${holders[0]?.reason === undefined ? ' ' : ': '}${[...texts.values()].join(', and ')}`
}

function describe({ reason, pid, command, sinceMs = 0, state, stopped, name }: TreeLockHolder): string {
  const what = reason === undefined ? '' : `'${reason}' `
  const who =
    pid === undefined
      ? 'a process that cannot be seen from here'
      : `pid ${pid}${pid === process.pid ? ', this very process' : ''}`
  const how = command === undefined ? '' : ` (${shorten(command)})`
  const waits = state === 'waiting' ? `, waiting for ${name}` : ''
  return `${what}by ${who}${how}${waits} since ${seconds(sinceMs)}${stopped ? `, ${STOPPED}` : ''}`
}

/** Whether somebody in the way waits, in whichever tree, for what this very process holds. */
function describeDeadlock(holders: readonly Noted[]): string {
  for (const tree of new Set([...treeHolds].map((hold) => hold.tree))) {
    const waiting = notedHolders(tree).filter(({ state }) => state === 'waiting')
    for (const waiter of waiting.filter(({ pid }) => holders.some((holder) => holder.pid === pid))) {
      const held = [...treeHolds].find(
        (hold) => hold.tree === tree && isInTheWay(waiter, hold.nodes, hold.mode),
      )
      if (held && waiter.pid !== undefined) {
        return (
          `. Meanwhile pid ${waiter.pid} waits for ${waiter.name} in ${tree}, where this process (pid ${process.pid}) ` +
          `holds ${held.name}: they may wait for each other. Take what is needed together in the same order everywhere.`
        )
      }
    }
  }
  return ''
}

function shorten(command: string): string {
  const line = command.replaceAll(/\s+/g, ' ')
  return line.length > COMMAND_LENGTH ? `${line.slice(0, COMMAND_LENGTH)}...` : line
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
