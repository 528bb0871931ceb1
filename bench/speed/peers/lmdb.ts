import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { COUNTERS, counterId, type Peer, recordId, TEXT } from '../store.ts'
import { installed } from './installed.ts'

interface Database {
  get(key: string): unknown
  put(key: string, value: unknown): unknown
  transactionSync<T>(run: () => T): T
  resetReadTxn(): void
  getRange(): Iterable<{ readonly value: unknown }>
  close(): Promise<void>
}

interface Lmdb {
  open(options: {
    readonly path: string
    readonly noSync: boolean
    readonly overlappingSync: boolean
    readonly mapSize: number
  }): Database
}

/** Virtual only. A map that has to grow while 50 processes have it open would be measured too. */
const MAP_BYTES = 2 ** 32

/** lmdb with its synchronous transactions. @param isDurable whether a commit is synced before it returns, or never */
export function lmdb(isDurable: boolean): Peer {
  const { open } = installed('lmdb') as Lmdb
  const connect = (path: string) =>
    open({ path, noSync: !isDurable, overlappingSync: false, mapSize: MAP_BYTES })
  return {
    async prepare(path, records) {
      const database = connect(path)
      database.transactionSync(() => {
        for (let i = 0; i < records; i++) database.put(recordId(i), { text: TEXT })
        for (let i = 0; i < COUNTERS; i++) database.put(counterId(i), 0)
      })
      await database.close()
      // The list of who has it open: the copies are made without it.
      rmSync(`${path}-lock`, { force: true })
    },

    open(path) {
      const database = connect(path)
      const put = (id = randomBytes(12).toString('base64url')) => database.put(id, { text: TEXT })
      return {
        // A callback that returns the promise of `put` would be waited for, and this process would hold on to all of them.
        insert(id) {
          database.transactionSync(() => {
            put(id)
          })
        },
        find(record) {
          // Otherwise it reads the same old state until the event loop turns.
          database.resetReadTxn()
          if (database.get(recordId(record)) === undefined)
            throw new Error(`${recordId(record)} is not there`)
        },
        increment(counter) {
          const id = counterId(counter)
          database.transactionSync(() => {
            database.put(id, (database.get(id) as number) + 1)
          })
        },
        transaction: (records) =>
          database.transactionSync(() => {
            for (let i = 0; i < records; i++) put()
          }),
        close: () => database.close(),
      }
    },

    async contents(path) {
      const database = connect(path)
      let [records, increments] = [0, 0]
      for (const { value } of database.getRange()) {
        if (typeof value === 'number') increments += value
        else records++
      }
      await database.close()
      return { records, increments }
    },
  }
}
