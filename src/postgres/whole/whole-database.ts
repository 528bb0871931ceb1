import { Connection, failure, type Row } from '../server/connection.ts'
import type { Address } from '../server/url.ts'

/** What must not go back when all tables of pslock are replaced by those of a dump. */
export interface KeptNumbers {
  /** Sequences with what they have given last: of stores, locks and fencing tokens. */
  readonly sequences: readonly Row[]
  /** The locks with their ids, by which they are held. */
  readonly locks: readonly Row[]
}

async function visited<T>(
  address: Address,
  timeoutMs: number,
  run: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await Connection.visit(address, timeoutMs)
  try {
    return await run(connection)
  } catch (error) {
    throw failure(address, 'use', error)
  } finally {
    await connection.end()
  }
}

/** The number before the point, such as 15. */
export function serverVersion(address: Address, timeoutMs: number): Promise<number> {
  return visited(address, timeoutMs, async ({ version }) => Math.floor(version / 10_000))
}

/** @returns undefined where pslock has no tables */
export function keptNumbers(address: Address, timeoutMs: number): Promise<KeptNumbers | undefined> {
  return visited(address, timeoutMs, async (connection) => {
    if (!connection.hasTables) return undefined
    const text = `select sequencename, last_value::text from pg_sequences where schemaname = 'pslock' and last_value is not null`
    const sequences = await connection.query({ text })
    return { sequences, locks: await connection.query({ text: 'select id::text, name from pslock.lock' }) }
  })
}

/**
 * After the tables were replaced. Every process that has a store open reads it anew, since the incarnation is another one. No
 * number is given a second time: else whoever has a store open could take another one for it, a lock could be held
 * twice, and fencing tokens would go back.
 */
export function renewNumbers(
  address: Address,
  timeoutMs: number,
  { sequences, locks }: KeptNumbers,
): Promise<void> {
  return visited(address, timeoutMs, async (connection) => {
    const renew = sequences.map(([name, last]) => {
      const sequence = `pslock.${name}`
      return `select setval('${sequence}', greatest(${last}, (select last_value from ${sequence})));`
    })
    const [ids, names] = [locks.map(([id]) => id), locks.map(([, name]) => name)]
    await connection.query({ text: `begin; truncate pslock.incarnation; ${renew.join(' ')}` })
    const kept = 'unnest($1::int[], $2::text[]) k(id, name)'
    const text = `with old as (delete from pslock.lock returning name), known as (select * from ${kept})
      select name from old where name not in (select name from known)`
    const others = await connection.query({ text, values: [ids, names] })
    const insert = `insert into pslock.lock (id, name) overriding system value select id, name from ${kept}`
    await connection.query({ text: insert, values: [ids, names] })
    const add = 'insert into pslock.lock (name) select unnest($1::text[])'
    await connection.query({ text: add, values: [others.map(([name]) => name)] })
    await connection.query({ text: 'commit' })
  })
}
