import assert from 'node:assert/strict'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { StoreIoError } from '../../src/errors.ts'
import { throttle } from '../../src/features/hooks/throttle.ts'
import { pslock } from '../cli/run-pslock.ts'
import { useFolder } from '../fixtures/folder.ts'
import { remount, useSmallDisk } from '../fixtures/small-disk.ts'

interface Options {
  readonly lockPath?: string
}

interface Opened {
  /** Everything in the store, as it is read. */
  read(): unknown
  readonly writes: Readonly<Record<string, () => unknown>>
  close(): Promise<void>
}

interface Counts {
  n: number
}

const lowWrites = (db: LockedLow<Counts>) => ({
  update: () => db.update((data) => void data.n++),
  transaction: () =>
    db.transaction((tx) => {
      tx.data.n++
    }),
  'a transaction that does not hold the lock': () =>
    db.transaction(
      (tx) => {
        tx.data.n++
      },
      { retry: 3 },
    ),
})

/** Each file holds 1, whatever the store. */
const stores: Record<string, (path: string, options: Options) => Opened> = {
  NeDB(filename, options) {
    const db = new LockedNedb<Counts>({ filename, autoload: true, ...options })
    return {
      read: async () => (await db.findAsync({}))[0]?.n,
      writes: {
        insert: () => db.insertAsync({ n: 2 }),
        update: () => db.updateAsync({}, { $inc: { n: 1 } }),
        remove: () => db.removeAsync({ n: 1 }, {}),
        ensureIndex: () => db.ensureIndexAsync({ fieldName: 'n' }),
        compaction: () => db.compactDatafileAsync(),
        transaction: () => db.transaction((tx) => tx.insertAsync({ n: 2 })),
        'a transaction that does not hold the lock': () =>
          db.transaction((tx) => tx.insertAsync({ n: 2 }), { retry: 3 }),
        drop: () => db.dropDatabaseAsync(),
      },
      close: () => db.close(),
    }
  },
  lowdb(path, options) {
    const db = new LockedLow<Counts>(path, { n: 1 }, options)
    return {
      async read() {
        await db.read()
        return db.data.n
      },
      writes: {
        ...lowWrites(db),
        write() {
          db.data.n = 5
          return db.write()
        },
      },
      close: () => db.close(),
    }
  },
  'lowdb with a journal'(path, options) {
    const db = new LockedLow<Counts>(path, { n: 1 }, { journal: true, ...options })
    return {
      async read() {
        await db.read()
        return db.data.n
      },
      writes: lowWrites(db),
      close: () => db.close(),
    }
  },
  'blocking lowdb'(path, options) {
    const db = new LockedLowSync<Counts>(path, { n: 1 }, options)
    return {
      read() {
        db.read()
        return db.data.n
      },
      writes: {
        write() {
          db.data.n = 5
          db.write()
        },
        update: () => db.update((data) => void data.n++),
        transaction: () => db.transaction((tx) => void tx.data.n++),
      },
      close: () => db.close(),
    }
  },
}

/** Where the data cannot be written, no other place for the lock helps: that is said, and whoever reads goes on. */
describe('a store where nothing can be written', () => {
  const at = useFolder()
  describe('since the file system is read-only', () => {
    const disk = useSmallDisk(at)

    function readOnly(file: string, content: string): string {
      writeFileSync(disk(file), content)
      for (const name of readdirSync(disk())) if (name !== file) rmSync(disk(name))
      remount(disk(), 'ro')
      return disk(file)
    }

    for (const [name, open] of Object.entries(stores)) {
      const content = name === 'NeDB' ? '{"n":1,"_id":"a"}\n' : '{"n":1}'

      it(`${name}: every write says so, and does not advise another lockPath; reading works`, async () => {
        const path = readOnly('data', content)
        const db = open(path, {})
        for (const [call, write] of Object.entries(db.writes)) {
          assert.equal(await db.read(), 1, call)
          await assert.rejects(
            async () => write(),
            (error) =>
              error instanceof StoreIoError &&
              error.path === path &&
              error.message.includes('read-only (EROFS)') &&
              !error.message.includes('lockPath') &&
              (error.cause as NodeJS.ErrnoException).code === 'EROFS',
            call,
          )
        }
        await db.close()
      })

      it(`${name}, with its lock elsewhere: the same, and what only reads may hold it`, async () => {
        const path = readOnly('data', content)
        const db = open(path, { lockPath: at('elsewhere.lock') })
        for (const [call, write] of Object.entries(db.writes)) {
          await assert.rejects(async () => write(), { code: 'PSLOCK_STORE_IO', message: /\(EROFS\)/ }, call)
          assert.equal(await db.read(), 1, call)
        }
        await db.close()
      })

      it(`${name}, where only the lock is on it: lockPath is what helps`, async () => {
        readOnly('other', '')
        writeFileSync(at('data'), content)
        const db = open(at('data'), { lockPath: disk('lock') })
        assert.equal(await db.read(), 1)
        for (const [call, write] of Object.entries(db.writes)) {
          await assert.rejects(async () => write(), { code: 'PSLOCK_IO', message: /EROFS.*lockPath/s }, call)
        }
        await db.close()
      })
    }

    it('a NeDB file with a torn end is read, with its lock there or elsewhere', async () => {
      const path = readOnly('data', '{"n":1,"_id":"a"}\n{"n":2,"_i')
      for (const options of [{}, { lockPath: at('elsewhere.lock') }]) {
        const db = new LockedNedb<Counts>({ filename: path, autoload: true, ...options })
        assert.equal((await db.findAsync({})).length, 1)
        await db.close()
      }
    })

    it('a transaction that only reads runs with its lock elsewhere', async () => {
      const path = readOnly('data', '{"n":1,"_id":"a"}\n')
      const db = new LockedNedb<Counts>({
        filename: path,
        autoload: true,
        lockPath: at('elsewhere.lock'),
      })
      assert.equal(await db.transaction((tx) => tx.countAsync({})), 1)
      await db.close()
    })

    it('so do the throttle of all processes and what changes the schema of a table', async () => {
      const path = readOnly('data', '{"n":1,"_id":"a"}\n')
      const refused = { code: 'PSLOCK_STORE_IO', message: /^(?!.*lockPath).*\(EROFS\)/ }
      const db = new LockedNedb<Counts>({ filename: path, autoload: true })
      const notes = db.table<{ text: string }>('notes')
      await assert.rejects(() => notes.create({ text: 'string' }), refused)
      db.use(throttle({ writesPerSecond: 1000, per: 'store' }))
      await assert.rejects(() => db.insertAsync({ n: 2 }), refused)
      assert.equal((await db.findAsync({})).length, 1)
      await db.close()
      const sync = new LockedLowSync<Counts>(path, { n: 1 })
      sync.use(throttle({ writesPerSecond: 1000, per: 'store' }))
      assert.throws(() => sync.update((data) => void data.n++), refused)
      await sync.close()
    })

    it('pslock repair and restore say it, too', async () => {
      const path = readOnly('data.json', '{"n":1')
      writeFileSync(at('dump'), '{"n":2}')
      for (const args of [
        ['repair', path],
        ['restore', path, at('dump')],
      ]) {
        const { code, stderr } = await pslock(...args)
        assert.equal(code, 125, stderr)
        assert.match(stderr, /read-only \(EROFS\)/)
        assert.doesNotMatch(stderr, /lockPath/)
      }
    })
  })
})
