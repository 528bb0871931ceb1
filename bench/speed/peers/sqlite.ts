import { randomBytes } from 'node:crypto'
import { COUNTERS, counterId, type Peer, recordId, TEXT } from '../store.ts'
import { installed } from './installed.ts'

interface Statement {
  run(...values: unknown[]): { changes: number }
  get(...values: unknown[]): Record<string, unknown> | undefined
}

interface Database {
  pragma(text: string): unknown
  exec(text: string): void
  prepare(text: string): Statement
  transaction(run: (count: number) => void): { immediate(count: number): void }
  close(): void
}

const BUSY_TIMEOUT_MS = 60_000

/** better-sqlite3 in WAL mode; `synchronous` FULL syncs before a commit returns, NORMAL does not. */
export function sqlite(synchronous: 'NORMAL' | 'FULL'): Peer {
  const Sqlite = installed('better-sqlite3') as new (path: string, options: { timeout: number }) => Database
  const connect = (path: string) => {
    const database = new Sqlite(path, { timeout: BUSY_TIMEOUT_MS })
    database.pragma('journal_mode = WAL')
    database.pragma(`synchronous = ${synchronous}`)
    return database
  }
  return {
    prepare(path, records) {
      const database = connect(path)
      database.exec('create table records (id text primary key, json text)')
      database.exec('create table counters (id text primary key, n integer)')
      const record = database.prepare('insert into records values (?, ?)')
      const counter = database.prepare('insert into counters values (?, 0)')
      const all = database.transaction(() => {
        for (let i = 0; i < records; i++) record.run(recordId(i), JSON.stringify({ text: TEXT }))
        for (let i = 0; i < COUNTERS; i++) counter.run(counterId(i))
      })
      all.immediate(0)
      database.pragma('wal_checkpoint(TRUNCATE)')
      database.close()
    },

    open(path) {
      const database = connect(path)
      const record = database.prepare('insert into records values (?, ?)')
      const find = database.prepare('select json from records where id = ?')
      const increment = database.prepare('update counters set n = n + 1 where id = ?')
      const insert = (id = randomBytes(12).toString('base64url')) =>
        record.run(id, JSON.stringify({ text: TEXT }))
      const many = database.transaction((count) => {
        for (let i = 0; i < count; i++) insert()
      })
      return {
        insert,
        find: (number) => JSON.parse(find.get(recordId(number))!.json as string),
        increment(number) {
          if (increment.run(counterId(number)).changes !== 1) throw new Error(`no ${counterId(number)}`)
        },
        transaction: (count) => many.immediate(count),
        close: () => database.close(),
      }
    },

    contents(path) {
      const database = connect(path)
      const records = database.prepare('select count(*) as value from records').get()!.value as number
      const increments = database.prepare('select sum(n) as value from counters').get()!.value as number
      database.close()
      return { records, increments }
    },
  }
}
