import { copyFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { vanilla } from '../stress/stores/vanilla.ts'
import type { Knobs, Way } from './knobs.ts'
import { sqlite } from './sqlite.ts'

/** A store that records are inserted into. */
export interface Records {
  /**
   * Inserts one, and keeps the lock for `sleepMs`.
   * @param onHeld is called when it has the lock, if it keeps it
   */
  insert(record: Readonly<Record<string, unknown>>, onHeld: () => void): Promise<void>
  /** What a program does now and then to a file that only grows. */
  compact(): Promise<void>
  close(): Promise<void>
}

export type RecordsOptions = Pick<Knobs, 'way' | 'sleepMs' | 'timeoutMs' | 'wal'>

export function openRecords(file: string, options: RecordsOptions): Promise<Records> {
  return OPENERS[options.way](file, options)
}

/** How many records are in a file, counted by the library without pslock, in a copy: opening a file rewrites it. */
export async function countRecords(file: string, way: Way): Promise<number> {
  if (way === 'sqlite') {
    const database = new (sqlite())(file, { readonly: true })
    return database.prepare('SELECT count(*) AS found FROM records').get().found
  }
  const copy = `${file}.copy`
  await using lock = new PsLock(file)
  await lock.shared(() => copyFileSync(file, copy))
  const db = new (vanilla())({ filename: copy })
  await db.loadDatabaseAsync()
  return db.countAsync({})
}

const OPENERS: Record<Way, (file: string, options: RecordsOptions) => Promise<Records>> = {
  async pslock(filename, { sleepMs, timeoutMs }) {
    const db = new LockedNedb({ filename, autoload: true, timeoutMs })
    await db.autoloadPromise
    return {
      async insert(record, onHeld) {
        if (sleepMs === 0) {
          await db.insertAsync(record)
          return
        }
        await db.transaction(async (tx) => {
          onHeld()
          await tx.insertAsync(record)
          await pause(sleepMs)
        })
      },
      compact: () => db.compactDatafileAsync(),
      close: () => db.close(),
    }
  },

  async none(filename, { sleepMs }) {
    const db = new (vanilla())({ filename })
    await db.loadDatabaseAsync()
    return {
      async insert(record) {
        await db.insertAsync(record)
        if (sleepMs > 0) await pause(sleepMs)
      },
      compact: () => db.compactDatafileAsync(),
      close: async () => {},
    }
  },

  async sqlite(file, { sleepMs, timeoutMs, wal }) {
    const database = new (sqlite())(file, { timeout: timeoutMs })
    if (wal) database.pragma('journal_mode = WAL')
    // As with pslock by default: a record survives its process, and not a power failure.
    database.pragma('synchronous = OFF')
    database.exec('CREATE TABLE IF NOT EXISTS records (record TEXT)')
    const insertion = database.prepare('INSERT INTO records VALUES (?)')
    return {
      async insert(record, onHeld) {
        if (sleepMs === 0) {
          insertion.run(JSON.stringify(record))
          return
        }
        database.exec('BEGIN IMMEDIATE')
        onHeld()
        insertion.run(JSON.stringify(record))
        await pause(sleepMs)
        database.exec('COMMIT')
      },
      // It uses the room again that is left in its file.
      compact: async () => {},
      close: async () => database.close(),
    }
  },
}
