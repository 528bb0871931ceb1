import assert from 'node:assert/strict'
import { createHook } from 'node:async_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { JSONFile, JSONFileSync, LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { LockedDatastore } from '../../adapters/nedb-promises.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { LockedDb } from '../../src/locked-db.ts'
import { useFolder } from '../fixtures/folder.ts'
import { openNames } from '../fixtures/open-names.ts'

interface Closing {
  close(): Promise<void>
}

const low =
  (options: { journal?: boolean }) =>
  async (path: string): Promise<Closing> => {
    const db = new LockedLow(new JSONFile<{ n: number }>(path), { n: 0 }, options)
    await db.update((data) => data.n++)
    await db.update((data) => data.n++)
    return db
  }

/** Each used a little. */
const KINDS: Record<string, (path: string) => Promise<Closing>> = {
  PsLock: async (path) => {
    const lock = new PsLock(path)
    await lock.exclusive(() => {})
    lock.sharedSync(() => {})
    return lock
  },
  LockTree: async (path) => {
    const tree = new LockTree(path)
    await tree.exclusive('app/orders', () => {})
    return tree
  },
  nedb: async (path) => {
    const db = new LockedNedb({ filename: path, autoload: true })
    await db.insertAsync({})
    await db.findAsync({})
    return db
  },
  "nedb with durability 'disk'": async (path) => {
    const db = new LockedNedb({ filename: path, durability: 'disk' })
    await db.loadDatabaseAsync()
    await db.transaction(() => db.insertAsync({}))
    return db
  },
  'nedb-promises': async (path) => {
    const db = LockedDatastore.create(path)
    await db.insert({})
    await db.view(() => db.find({}))
    return db
  },
  lowdb: low({}),
  'lowdb with a journal': low({ journal: true }),
  'lowdb, blocking': async (path) => {
    const db = new LockedLowSync(new JSONFileSync<{ n: number }>(path), { n: 0 })
    db.update((data) => data.n++)
    return db
  },
  LockedDb: async (path) => {
    const store = { text: '', set: (text: string) => (store.text = text) }
    const db = new LockedDb(store, {
      adapter: {
        family: 'image',
        name: 'text',
        methods: {},
        load: (to, text = '') => {
          to.text = text
        },
        save: (from) => from.text,
      },
      path,
    })
    await db.set('one')
    return db
  },
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

describe('after close()', () => {
  const at = useFolder()

  for (const [name, make] of Object.entries(KINDS)) {
    it(`${name}: no timer, no descriptor and no memory is left`, async () => {
      // Then the timer of mocha is there.
      await new Promise(setImmediate)
      const timers = new Set<number>()
      const hook = createHook({
        init: (id, type) => {
          if (type === 'Timeout') timers.add(id)
        },
        destroy: (id) => timers.delete(id),
      })
      hook.enable()
      const closed = await useAndClose(15, make)
      assert.deepEqual(openNames(at()), [])
      const left = () => closed.filter((store) => store.deref()).length
      // The last one may still be on the stack.
      for (let i = 0; i < 10 && left() > 1; i++) {
        // Who is asked for in the same turn of the event loop stays.
        await new Promise(setImmediate)
        collect()
        await new Promise(setImmediate)
      }
      // What was cleared is told of later.
      for (let i = 0; i < 5; i++) await new Promise(setImmediate)
      hook.disable()
      assert.ok(left() <= 1, `${left()} of ${closed.length} are still in memory`)
      assert.deepEqual([...timers], [])
    })
  }

  async function useAndClose(
    count: number,
    make: (path: string) => Promise<Closing>,
  ): Promise<WeakRef<Closing>[]> {
    const closed: WeakRef<Closing>[] = []
    for (let i = 0; i < count; i++) {
      const store = await make(at(`data${i}`))
      await store.close()
      closed.push(new WeakRef(store))
    }
    return closed
  }
})
