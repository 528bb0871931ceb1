import { statSync } from 'node:fs'
import { harmless, type LockHolder } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { isServerUrl } from '../base/server-url.ts'
import { table } from '../base/table.ts'
import { age, cut, cutFront } from '../base/terminal-text.ts'

/** Who holds the lock of a file, or a name on a server, and who waits for it. */
export interface Status {
  readonly lock: string
  /** Whether what was asked about exists; it need not, to be locked. */
  readonly exists: boolean
  readonly held: boolean
  /** Of which library the store on the server is. */
  readonly store?: string | undefined
  readonly holders: readonly Holder[]
}

/** On a server also where it is, and whether it has the lock of the store of this name or the PgLock. */
type Holder = LockHolder & { readonly of?: 'store' | 'lock'; readonly host?: string | undefined }

/**
 * Looks without locking, and without creating a lock file where there is none.
 * @throws the system's error where it may not look: that is not "free"
 */
export async function status(file: string, lockPath?: string): Promise<Status> {
  const lock = new PsLock(file, { lockPath })
  try {
    const holders = isThere(lock.path) ? lock.holders() : []
    const held = holders.some(({ state }) => state === 'holding')
    return { lock: lock.path, exists: isThere(file), held, holders }
  } finally {
    await lock.close()
  }
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

const HEADER = ['PID', 'COMMAND', 'MODE', 'STATE', 'SINCE']
const HEADER_ON_SERVER = ['PID', 'COMMAND', 'HOST', 'OF', ...HEADER.slice(2)]
const COMMAND = 1
/** A command is not cut below this, however narrow the terminal. */
const LEAST_COMMAND_COLUMNS = 8

/**
 * For people.
 * @param columns of the terminal: longer commands are cut, so that each holder keeps to its line
 */
export function statusText(
  { lock, exists, held, holders }: Status,
  columns: number = Number.POSITIVE_INFINITY,
): string {
  const isOnServer = isServerUrl(lock)
  const verdict = `: ${held ? 'held' : 'free'}${exists ? '' : ` (no such ${isOnServer ? 'store or lock' : 'file'})`}`
  const head = cutFront(harmless(lock), columns - verdict.length) + verdict
  if (holders.length === 0) return head
  const rows = isOnServer ? [HEADER_ON_SERVER, ...holders.map(rowOnServer)] : [HEADER, ...holders.map(row)]
  const others = table(rows.map((cells) => cells.with(COMMAND, '-'.padEnd(LEAST_COMMAND_COLUMNS))))
  const room = columns - Math.max(...others.split('\n').map((line) => line.length)) + LEAST_COMMAND_COLUMNS
  const fitting = rows.map((cells) =>
    cells.with(COMMAND, cut(cells[COMMAND] ?? '', Math.max(room, LEAST_COMMAND_COLUMNS))),
  )
  return `${head}\n${table(fitting, { right: [0] })}`
}

/** What is unknown is "-". */
function row({ pid, command, mode, state, stopped, sinceMs }: LockHolder): string[] {
  return [
    pid === undefined ? '-' : String(pid),
    command === undefined ? '-' : harmless(command),
    mode,
    stopped ? `${state}, stopped` : state,
    sinceMs === undefined ? '-' : age(sinceMs),
  ]
}

function rowOnServer(holder: Holder): string[] {
  return row(holder).toSpliced(COMMAND + 1, 0, harmless(holder.host ?? '-'), holder.of ?? '-')
}
