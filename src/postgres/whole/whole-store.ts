import {
  CorruptStoreError,
  errnoOf,
  type LockTimeoutError,
  StoreIoError,
  StoreUnavailableError,
} from '../../errors.ts'
import { storeHolders, timeoutError } from '../lock/pg-holders.ts'
import { Connection, failure, type Row } from '../server/connection.ts'
import { FLUSH, LONG_MS, STORE_LOCKS } from '../server/schema.ts'
import type { Address } from '../server/url.ts'
import { NOTE } from '../store/rows.ts'
import { DONE, LOCK_NOT_AVAILABLE, statusOf } from '../store/store-session.ts'
import { requireStorable } from '../store/units.ts'
import { newClient } from '../store/writer.ts'

/** A store on a server as a whole, for whoever does not open it: found, read at one moment, replaced in one transaction, removed. */

/** So many records are read, or written, at once. */
const AT_ONCE = 5000

/** The longest wait that the server knows. */
const LONGEST_MS = 2 ** 31 - 1

export interface FoundStore {
  readonly id: number
  /** `log`, `tree` or `image`. */
  readonly kind: string
  readonly isEmpty: boolean
  readonly records: number
}

const OWN = `not gone and not starts_with(key, '${NOTE}')`

/** @returns undefined where there is no store of this name; nothing is made */
export async function findStore(connection: Connection, name: string): Promise<FoundStore | undefined> {
  if (!connection.hasTables) return undefined
  const text = `select id::text, kind, (select count(*) from pslock.doc where store = s.id and ${OWN})::text,
      exists (select from pslock.image where store = s.id)::text
    from pslock.store s where name = $1`
  const [row] = await connection.query({ text, values: [name] })
  if (!row) return undefined
  const [id, kind, records, hasText] = row
  const isEmpty = records === '0' && hasText !== 'true'
  return { id: Number(id), kind: String(kind), isEmpty, records: Number(records) }
}

/** A record: its key, and its line. */
export type KeyedLine = readonly [key: string, line: string]

/**
 * Reads all records of a log store as they are at one moment, by key, some thousands at a time. What was read survives a crash of
 * the server then.
 */
export function readLines(
  connection: Connection,
  id: number,
  take: (lines: readonly KeyedLine[]) => void,
): Promise<void> {
  const select = `select key, line from pslock.doc where store = ${id} and ${OWN} order by key`
  return inOneMoment(connection, async () => {
    await connection.query({ text: `declare pslock_lines no scroll cursor for ${select}` })
    for (;;) {
      const rows = await connection.query({ text: `fetch ${AT_ONCE} from pslock_lines` })
      if (rows.length === 0) return
      take(rows as unknown as KeyedLine[])
    }
  })
}

/**
 * The text of a store and what was changed of it since, as JSON; undefined where there is none.
 * @throws CorruptStoreError
 */
export async function readText(
  connection: Connection,
  id: number,
): Promise<{ readonly text: string; readonly changes: readonly string[] } | undefined> {
  const text = `select m.seq, m.text, (select seq from pslock.store where id = m.store)::text from pslock.image m where store = ${id}`
  const after = `select u.seq, u.changes from pslock.unit u join pslock.image m on m.store = u.store and u.seq > m.seq
    where u.store = ${id} order by u.seq`
  const [[image], units] = await inOneMoment(connection, () =>
    Promise.all([connection.query({ text }), connection.query({ text: after })]),
  )
  if (!image) return undefined
  const [at, content, last] = image
  const isWhole = units.every(([seq], index) => Number(seq) === Number(at) + 1 + index)
  if (!isWhole || Number(last) !== Number(at) + units.length) {
    const { shown } = connection.address
    throw new CorruptStoreError(
      `${shown} is damaged: rows of it were removed from pslock.unit by something else. Restore a dump.`,
      { path: shown },
    )
  }
  return { text: content as string, changes: units.map(([, unit]) => unit as string) }
}

/** In a transaction to which nothing changes. @throws StoreUnavailableError, StoreIoError */
async function inOneMoment<T>(connection: Connection, read: () => Promise<T>): Promise<T> {
  try {
    await connection.query({ text: 'begin isolation level repeatable read read only' })
    const found = await read()
    await connection.query({ text: 'commit' })
    await connection.query(FLUSH)
    return found
  } catch (error) {
    if (connection.isOpen) await connection.query({ text: 'rollback' }).catch(() => {})
    throw failure(connection.address, 'read', error)
  }
}

export interface Replacing {
  readonly address: Address
  readonly kind: string
  /** Whether a store that has content may be replaced. */
  readonly overwrite: boolean
  /** How long to wait for the lock, and for the server. */
  readonly timeoutMs: number
}

/** What a store is replaced by. */
export type NewContent =
  | { readonly lines: Iterable<KeyedLine>; readonly progress?: (written: number) => void }
  | { readonly text: string }

/**
 * Replaces all of a store, which is made where there is none, in one transaction: whatever happens, it is replaced entirely or not
 * at all. Everybody who has it open sees it at the next call.
 * @throws StoreIoError where it has content and must not be replaced; LockTimeoutError, StoreUnavailableError
 */
export async function replaceStore(how: Replacing, content: NewContent): Promise<void> {
  const { address, timeoutMs } = how
  if ('text' in content) requireStorable(address.shown, content.text)
  const connection = await Connection.open(address, timeoutMs)
  try {
    // By itself: everybody would wait for a transaction that does it.
    const values = [address.name]
    await connection.query({
      text: 'select pslock.open(name, kind) from pslock.store where name = $1',
      values,
    })
    await connection.query({ text: 'select pslock.incarnate()' }, LONG_MS)
    await replaced(connection, how, content)
  } catch (error) {
    if (connection.isOpen) await connection.query({ text: 'rollback' }).catch(() => {})
    throw failure(address, 'write', error)
  } finally {
    await connection.end()
  }
}

async function replaced(connection: Connection, how: Replacing, content: NewContent): Promise<void> {
  const { address } = how
  const id = await entered(connection, how)
  const client = newClient()
  if ('text' in content) {
    const values = [id, content.text, client]
    const text = `select p.o_status, p.o_seq from pslock.store s, pslock.incarnation i,
      pslock.put_text(s.id, i.id, s.seq, null, $2, true, null, null, $3, 1) p where s.id = $1`
    requireDone(address, await connection.query({ text, values }))
  } else {
    await connection.query({ text: 'select pslock.clear($1)', values: [id] }, LONG_MS)
    let written = 0
    let batch: KeyedLine[] = []
    const write = async () => {
      if (batch.length === 0) return
      const values = [
        id,
        batch.map(([key]) => key),
        batch.map(() => false),
        batch.map(([, line]) => line),
        client,
      ]
      const text = `select p.o_status, p.o_seq from pslock.store s, pslock.incarnation i,
        pslock.put(s.id, i.id, s.fence, null, null, $2, $3, $4, true, $5, 1) p where s.id = $1`
      requireDone(address, await connection.query({ text, values }).catch((error) => [statusOf(error)]))
      written += batch.length
      content.progress?.(written)
      batch = []
    }
    for (const line of content.lines) {
      batch.push(line)
      if (batch.length === AT_ONCE) await write()
    }
    await write()
  }
  await connection.query({ text: 'delete from pslock.client where id = $1', values: [client] })
  try {
    await Promise.all([connection.query({ text: 'commit' }), connection.query(FLUSH)])
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error
    throw new StoreUnavailableError(
      `${error.message} Whether the store was replaced before that is unknown.`,
      {
        path: address.shown,
        cause: error,
        isOutcomeUnknown: true,
      },
    )
  }
}

function requireDone({ shown }: Address, [row]: Row[]): void {
  if (row?.[0] === DONE) return
  throw new StoreUnavailableError(
    `the server of ${shown} has restarted meanwhile. Nothing was changed; try again.`,
    {
      path: shown,
    },
  )
}

/** Begins the transaction, and takes the lock of the store in it. */
async function entered(
  connection: Connection,
  { address, kind, overwrite, timeoutMs }: Replacing,
): Promise<number> {
  const since = performance.now()
  const refuse = (why: string): never => {
    throw new StoreIoError(`${address.shown} ${why}. Nothing was changed.`, { path: address.shown })
  }
  try {
    await connection.query({ text: `begin; ${lockTimeout(timeoutMs)}` })
    const open = {
      text: 'select o_id, o_kind from pslock.open($1, $2)',
      values: [address.name, kind],
    }
    const [[id, found] = []] = await connection.query(open, timeoutMs)
    if (found !== kind) refuse(`is a store of another kind: ${found}, not ${kind}`)
    await connection.query({ text: `select pg_advisory_xact_lock(${STORE_LOCKS}, ${id})` }, timeoutMs)
    if (!overwrite && !(await findStore(connection, address.name))?.isEmpty)
      refuse('has content already. To replace it: --overwrite')
    return Number(id)
  } catch (error) {
    if (errnoOf(error) !== LOCK_NOT_AVAILABLE) throw error
    throw await timeUp(address, performance.now() - since)
  }
}

async function timeUp(address: Address, waitedMs: number): Promise<LockTimeoutError> {
  const holders = async () => {
    const connection = await Connection.visit(address, 0)
    const found = await storeHolders(address, connection).finally(() => connection.end())
    return found.filter(({ state }) => state === 'holding')
  }
  return timeoutError(address, 'exclusive', waitedMs, holders())
}

/** For the server 0 is for ever. */
function lockTimeout(timeoutMs: number): string {
  return `set local lock_timeout = ${timeoutMs > LONGEST_MS ? 0 : Math.max(1, Math.ceil(timeoutMs))}`
}

/** Removes a store with all that it has. Whoever has it open is told so at the next call. @throws as `replaceStore` */
export async function removeStore(address: Address, timeoutMs: number): Promise<void> {
  const connection = await Connection.visit(address, timeoutMs)
  try {
    const found = await findStore(connection, address.name)
    if (!found) return
    const tables = ['doc', 'unit', 'image', 'pace'].map(
      (name) => `delete from pslock.${name} where store = ${found.id};`,
    )
    const lock = `select pg_advisory_xact_lock(${STORE_LOCKS}, ${found.id});`
    const text = `begin; ${lockTimeout(timeoutMs)}; ${lock} ${tables.join(' ')} delete from pslock.store where id = ${found.id}; commit`
    await connection.query({ text }, timeoutMs + LONG_MS)
  } catch (error) {
    throw failure(address, 'remove', error)
  } finally {
    await connection.end()
  }
}
