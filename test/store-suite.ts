import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClosedError, type HookEvent, type HookOutcome } from '../src/index.ts'
import { useFolder } from './fixtures/folder.ts'
import { failing } from './fixtures/lowdb-tools.ts'
import type { NumberStore, StoreDefinition } from './fixtures/stores.ts'
import type { TransactionCommands } from './fixtures/transaction-worker.ts'
import { usePeer } from './harness/peer.ts'

/** Names of the form batch:number:size, as the worker's `batches` inserts them. @returns batches that are there in part */
function parts(names: readonly string[]): string[] {
  const found = new Map<string, number>()
  for (const name of names) {
    const [batch, , size] = name.split(':')
    found.set(`${batch}:${size}`, (found.get(`${batch}:${size}`) ?? 0) + 1)
  }
  return [...found].flatMap(([batch, count]) => (count === Number(batch.split(':')[1]) ? [] : [batch]))
}

/**
 * What pslock promises of any store, on one kind of it. A new adapter is tested by one definition and one call; what is
 * peculiar to a store has tests of its own.
 */
export function testStore(definition: StoreDefinition): void {
  const { name, kind = name, vanilla } = definition

  describe(`every store: ${name}`, () => {
    const inFolder = useFolder()
    const server = definition.server?.()
    const at = server ? server.path : inFolder
    const path = () => at('store')
    const bytes = async () => {
      if (server) return server.content(path())
      return existsSync(path()) ? readFileSync(path(), 'latin1') : undefined
    }
    /** What is kept is the same afterwards, whatever is run; so is its absence. */
    const untouched = async <T>(run: () => T): Promise<Awaited<T>> => {
      const before = await bytes()
      const result = await run()
      assert.deepEqual(await bytes(), before)
      return result
    }
    const process = usePeer<TransactionCommands>('transaction-worker')
    const opened: NumberStore[] = []
    const open = async (file = path()) => {
      const store = await definition.open(file)
      opened.push(store)
      return store
    }
    afterEach(() => Promise.all(opened.splice(0).map((store) => store.close())))

    /** The numbers, in the order of their names. */
    const all = async (store: NumberStore) =>
      Object.fromEntries(
        await Promise.all((await store.names()).map(async (name) => [name, await store.get(name)])),
      )

    describe('exclusion', () => {
      it('processes and instances that count together lose nothing', async () => {
        const [one, other] = [await open(), await open()]
        await one.insert('n', 0)
        await one.insert('twice', 0)
        const peers = await Promise.all([process([kind, path()]), process([kind, path()])])
        const count = async (store: NumberStore) => {
          for (let i = 0; i < 10; i++) {
            await store.transaction(async (tx) => {
              const n = (await tx.get('n')) as number
              await new Promise(setImmediate)
              await tx.set('n', n + 1)
              await tx.set('twice', 2 * n + 2)
            })
          }
        }
        await Promise.all([
          count(one),
          count(other),
          ...peers.map((peer, i) => peer.call('countUp', 10, i + 1)),
        ])
        for (const store of [one, other]) assert.deepEqual(await all(store), { n: 40, twice: 80 })
      })

      it('nobody gets in while a transaction is under way', async () => {
        const store = await open()
        const peer = await process([kind, path()])
        await store.transaction(async (tx) => {
          await tx.insert('a', 1)
          await assert.rejects(peer.call('tryTransaction'), { code: 'PSLOCK_TIMEOUT' })
        })
        assert.equal(await peer.call('tryTransaction'), true)
      })
    })

    describe('freshness', () => {
      it('the next call sees what another process, or instance, was told is done', async () => {
        const [one, other] = [await open(), await open()]
        const peer = await process([kind, path()])
        await one.insert('a', 1)
        assert.equal(await peer.call('get', 'a'), 1)
        await peer.call('set', 'a', 2)
        assert.deepEqual([await one.get('a'), await other.get('a')], [2, 2])
        await other.set('a', 3)
        assert.equal(await peer.call('get', 'a'), 3)
      })
    })

    describe('an operation that fails', () => {
      it('changes neither the file nor memory', async () => {
        const store = await open()
        await store.insert('a', 1)
        await untouched(() => failing(() => store.insert('a', 2)))
        assert.deepEqual([await all(store), store.memory()], [{ a: 1 }, ['a']])
        await store.insert('b', 2)
        assert.deepEqual(await all(await open()), { a: 1, b: 2 })
      })
    })

    describe('transactions', () => {
      it('are there with all that is in them, and not before', async () => {
        const [store, other] = [await open(), await open()]
        await store.insert('old', 1)
        const before = await bytes()
        const value = await store.transaction(async (tx) => {
          await tx.insert('a', 1)
          await tx.set('old', 2)
          assert.deepEqual(await tx.names(), ['a', 'old'])
          assert.deepEqual(await bytes(), before)
          return 'done'
        })
        assert.equal(value, 'done')
        assert.deepEqual(await all(other), { a: 1, old: 2 })
      })

      it('that throw leave everything as it was, also inside one that goes on', async () => {
        const store = await open()
        await store.insert('old', 1)
        const mine = new RangeError('mine')
        const undone = async (tx: Pick<NumberStore, 'insert' | 'set'>) => {
          await tx.insert('a', 1)
          await tx.set('old', 2)
          throw mine
        }
        assert.equal(await untouched(() => failing(() => store.transaction(undone))), mine)
        assert.deepEqual([await all(store), store.memory()], [{ old: 1 }, ['old']])
        await store.transaction(async (tx) => {
          await tx.insert('outer', 1)
          assert.equal(await failing(() => store.transaction(undone)), mine)
        })
        assert.deepEqual(await all(await open()), { old: 1, outer: 1 })
      })

      it('rollbackAfter undoes whatever was done', async () => {
        const store = await open()
        await store.insert('old', 1)
        await untouched(() => store.rollbackAfter((tx) => tx.set('old', 2)))
        assert.equal(await store.get('old'), 1)
      })
    })

    describe('views', () => {
      it('see one state while others write, and write nothing', async () => {
        const store = await open()
        const peer = await process([kind, path()])
        await store.insert('a', 1)
        await store.view(async (tx) => {
          assert.equal(await tx.get('a'), 1)
          await peer.call('set', 'a', 2)
          assert.equal(await tx.get('a'), 1)
          await failing(() => tx.set('a', 3))
        })
        assert.equal(await store.get('a'), 2)
      })
    })

    describe('hooks', () => {
      it('are called for an operation, and can refuse it', async () => {
        const store = await open()
        await store.insert('a', 1)
        const told: (readonly [string, HookEvent['mode'], boolean?])[] = []
        const stop = store.db.use({
          before: ({ mode }) => void told.push(['before', mode]),
          after: ({ mode, changed }: HookOutcome) => void told.push(['after', mode, changed]),
        })
        await store.set('a', 2)
        assert.deepEqual(told, [
          ['before', 'exclusive'],
          ['after', 'exclusive', true],
        ])
        stop()
        const refusal = new Error('not today')
        store.db.use({
          before: ({ mode }) => {
            if (mode === 'exclusive') throw refusal
          },
        })
        assert.equal(await untouched(() => failing(() => store.set('a', 3))), refusal)
        assert.equal(await store.get('a'), 2)
      })
    })

    describe('copies of the file', () => {
      it('a restore gives back what a dump has, to every process', async () => {
        const store = await open()
        const peer = await process([kind, path()])
        await store.insert('a', 1)
        await store.db.dump(inFolder('dump'))
        await peer.call('set', 'a', 2)
        assert.deepEqual(await all(await open(inFolder('dump'))), { a: 1 })
        await store.db.restore(inFolder('dump'))
        assert.deepEqual([await peer.call('get', 'a'), await store.get('a')], [1, 1])
      })
    })

    describe('the end', () => {
      it('after close() every call is a ClosedError, and the library by itself finds all of it', async () => {
        const store = await open()
        await store.insert('a', 1)
        await store.transaction((tx) => tx.insert('b', 2))
        await store.close()
        await store.close()
        assert.ok((await failing(() => store.set('a', 2))) instanceof ClosedError)
        assert.ok((await failing(() => store.transaction(() => {}))) instanceof ClosedError)
        assert.deepEqual(await vanilla(path()), { a: 1, b: 2 })
      })

      it('kill -9 frees the lock, and leaves of every transaction all or nothing', async () => {
        for (let round = 0; round < 3; round++) {
          const file = at(`killed-${round}`)
          const peer = await process([kind, file])
          void peer.call('batches', round)
          while (peer.lastEvent === undefined) await sleep(2)
          await sleep(7 * round)
          await peer.kill()
          const store = await open(file)
          const asked = performance.now()
          await store.insert('next:0:1', 1)
          assert.ok(performance.now() - asked < 5000, 'it waited for a dead process')
          const names = await store.names()
          assert.deepEqual(parts(names), [])
          const last = Math.max(...names.map((name) => Number.parseInt(name, 10)).filter(Number.isInteger))
          assert.ok(last >= (peer.lastEvent as number), 'an acknowledged batch is lost')
          await store.close()
          assert.deepEqual(Object.keys(await vanilla(file)).sort(), names)
        }
      })
    })

    const { tables } = definition
    if (!tables) return
    describe('tables', () => {
      it('keep their records to themselves, where the library by itself finds them', async () => {
        const db = tables.open(path())
        const people = db.table<{ name: string; age: number }, 'age'>('people')
        await people.create({ name: 'string', age: { type: 'number', default: 7 } })
        await people.insert([{ name: 'Ada' }, { name: 'Bob', age: 20 }])
        await people.update({ name: 'Ada' }, { age: 36 })
        assert.equal(await people.delete({ name: 'Bob' }), 1)
        const [ada, ...others] = await tables
          .open(path())
          .table<{ name: string; age: number }>('people')
          .select()
        assert.deepEqual([ada?.name, ada?.age, others], ['Ada', 36, []])
        assert.equal((await db.view((tx) => tables.raw(tx as object, 'people'))).length, 1)
        await failing(() => people.insert({ name: 7 } as never))
        await db.close()
        assert.equal((await tables.vanilla(path(), 'people')).length, 1)
      })
    })
  })
}
