import { type LockMode, LockTimeoutError, type PgLockHolder } from '../../errors.ts'
import { acquisitionOf } from '../../lock/registry.ts'
import type { Connection, Row } from '../server/connection.ts'
import { NAMED_LOCKS, STORE_LOCKS } from '../server/schema.ts'
import { type Address, applicationName, readApplicationName } from '../server/url.ts'
import { type LocalLock, localLocks } from './local-lock.ts'
import type { Session } from './sessions.ts'

/** The comment that the statement of a grant has in it. A heartbeat says for how long the lock was held before. */
export const GRANT_MARK = 'pslock: a grant'
export const heldFor = (ms: number): string => `pslock: held for ${Math.round(ms)} ms`

const HOLDERS = `
  select l.pid::text, l.granted::text, l.mode, a.application_name,
    case when not l.granted then extract(epoch from clock_timestamp() - l.waitstart) * 1000
      when a.query like '%${GRANT_MARK}%' and a.state = 'idle'
        then extract(epoch from clock_timestamp() - a.state_change) * 1000
      when a.query ~ '${heldFor(0).replace('0', '\\d+')}'
        then substring(a.query from '\\d+')::numeric + extract(epoch from clock_timestamp() - a.query_start) * 1000
    end::text
  from pslock.lock n
    join pg_locks l on l.locktype = 'advisory' and l.classid = ${NAMED_LOCKS} and l.objid = n.id and l.objsubid = 2
      and l.database = (select oid from pg_database where datname = current_database())
    left join pg_stat_activity a on a.pid = l.pid
  where n.name = $1
  order by l.granted desc, l.waitstart, l.pid`

/** The same for the lock of a store, which lasts as long as a transaction. */
const STORE_HOLDERS = `
  select l.pid::text, l.granted::text, l.mode, a.application_name,
    (extract(epoch from clock_timestamp() - case when l.granted then a.xact_start else l.waitstart end) * 1000)::text
  from pslock.store s
    join pg_locks l on l.locktype = 'advisory' and l.classid = ${STORE_LOCKS} and l.objid = s.id and l.objsubid = 2
      and l.database = (select oid from pg_database where datname = current_database())
    left join pg_stat_activity a on a.pid = l.pid
  where s.name = $1
  order by l.granted desc, l.waitstart, l.pid`

/**
 * Everybody who holds the lock of a store or waits for it.
 * @throws StoreUnavailableError; what the server says is thrown as it is
 */
export async function storeHolders({ name }: Address, connection: Connection): Promise<PgLockHolder[]> {
  const rows = await connection.query({ text: STORE_HOLDERS, values: [name], name: 'pslock.holders' })
  return rows.map((row) => describe(row))
}

/**
 * Everybody who holds or waits, as the server knows them, and who waits in this thread behind others of it.
 * @throws StoreUnavailableError; what the server says is thrown as it is
 */
export async function holdersOf(address: Address, session: Session): Promise<PgLockHolder[]> {
  const rows = await session.ask({ text: HOLDERS, values: [address.name], name: 'pslock-holders' })
  const local = localLocks.get(address.key)
  const now = performance.now()
  const behind = (local?.queue.waiting ?? []).map(
    ({ mode, since }): PgLockHolder => ({
      ...ownPlace(),
      mode,
      sinceMs: Math.round(now - since),
      state: 'waiting',
    }),
  )
  return [...rows.map((row) => describe(row, local)), ...behind]
}

/** Not the whole command line: there may be a password in it. */
function ownPlace(): Pick<PgLockHolder, 'host' | 'pid' | 'command'> {
  return placeOf(applicationName())
}

function placeOf(application: string | null | undefined): Pick<PgLockHolder, 'host' | 'pid' | 'command'> {
  const { host, pid, command } = readApplicationName(application ?? '') ?? {}
  return { host, pid, command: command || undefined }
}

function describe([backend, granted, mode, application, since]: Row, local?: LocalLock): PgLockHolder {
  const facts = {
    mode: (mode === 'ShareLock' ? 'shared' : 'exclusive') as LockMode,
    state: granted === 'true' ? ('holding' as const) : ('waiting' as const),
  }
  const own = granted === 'true' ? local?.holds.get(Number(backend)) : undefined
  if (own) {
    const sinceMs = Math.round(performance.now() - own.since)
    return { ...ownPlace(), ...facts, sinceMs, ...acquisitionOf(own) }
  }
  const sinceMs = since === null || since === undefined ? undefined : Math.max(0, Math.round(Number(since)))
  return { ...placeOf(application), ...facts, sinceMs }
}

/** The error names the lock, the mode, how long it waited, and who holds it. */
export async function timeoutError(
  address: Address,
  mode: LockMode,
  waitedMs: number,
  look: Promise<PgLockHolder[]>,
): Promise<LockTimeoutError> {
  let holders: PgLockHolder[] = []
  let cause: unknown
  try {
    holders = await look
  } catch (error) {
    // That the time is up is what the caller must know.
    cause = error
  }
  const holding = holders.filter(({ state }) => state === 'holding')
  const who =
    holding.length === 0
      ? 'Whoever held it let go just now.'
      : `Held by ${holding.map(describeHolder).join(' and by ')}.`
  const isOwn = holding.some((holder) => isHere(holder))
  const advice = isOwn
    ? 'Give it more time with timeoutMs. If that hold waits for this very call, no time is enough: make the call in the ' +
      'context of the hold, or do not await it there.'
    : 'Give it more time with timeoutMs, or see who it is with holders().'
  return new LockTimeoutError(
    `no ${mode} lock of ${address.shown} within ${Math.round(waitedMs)} ms. ${cause === undefined ? who : 'Who holds it could not be asked.'} ${advice}`,
    { path: address.shown, mode, waitedMs, holders, ...(cause === undefined ? {} : { cause }) },
  )
}

function isHere({ host, pid }: PgLockHolder): boolean {
  const own = ownPlace()
  return pid === own.pid && host === own.host
}

/** "4711 on db-worker-3 (worker.js, exclusive) for 3.2 s" */
function describeHolder(holder: PgLockHolder): string {
  const { pid, host, command, mode, sinceMs } = holder
  const since = sinceMs === undefined ? '' : ` for ${(sinceMs / 1000).toFixed(1)} s`
  if (pid === undefined) return `a client that is none of pslock (${mode})${since}`
  return `${isHere(holder) ? 'this very process, ' : ''}${pid} on ${host} (${command ?? 'unknown command'}, ${mode})${since}`
}
