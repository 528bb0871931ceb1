import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb, type LockedNedbOptions } from '../../../adapters/nedb.ts'
import { LockedDatastore } from '../../../adapters/nedb-promises.ts'
import { PsLock } from '../../../src/index.ts'
import { codeUrl } from '../../fixtures/code.ts'
import { type Doc, Peer, temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'

/** Both kinds of stores by the calls they have in common. */
interface Store {
  count(): Promise<number>
  insert(doc: object): Promise<unknown>
  transaction(run: () => Promise<void>): Promise<void>
  /** The load that users ask for themselves. */
  load(): Promise<unknown>
  readonly autoloadPromise: Promise<void> | null
  close(): Promise<void>
}

const STORES: Record<string, (options: LockedNedbOptions) => Store> = {
  LockedNedb(options) {
    const db = new LockedNedb<Doc>(options)
    return {
      count: async () => db.countAsync({}),
      insert: (doc) => db.insertAsync(doc as Doc),
      transaction: (run) => db.transaction(run),
      load: () => db.loadDatabaseAsync(),
      get autoloadPromise() {
        return db.autoloadPromise
      },
      close: () => db.close(),
    }
  },
  LockedDatastore(options) {
    const db = LockedDatastore.create(options as never)
    return {
      count: async () => db.count({}),
      insert: (doc) => db.insert(doc as never),
      transaction: (run) => db.transaction(run),
      load: () => db.load(),
      get autoloadPromise() {
        return (db as unknown as { autoloadPromise: Promise<void> | null }).autoloadPromise
      },
      close: () => db.close(),
    }
  },
}

/** Long enough that a call which waits for it fails the test. */
const LONG_MS = 50_000

describe('after a load that has failed', () => {
  const file = temporaryFolder()
  const warned = warnings()

  for (const [name, make] of Object.entries(STORES)) {
    describe(name, () => {
      const open = (options: LockedNedbOptions = {}) =>
        make({ filename: file('a.db'), autoload: true, timeoutMs: LONG_MS, ...options })

      for (const onload of [undefined, () => {}]) {
        it(`calls reject at once, with the load’s own error (${onload ? 'with' : 'without'} onload)`, async () => {
          writeFileSync(file('a.db'), 'garbage\n')
          const db = open(onload && { onload })
          const calls = [db.count(), db.insert({ _id: 'a' }), db.transaction(async () => {})]
          const outcomes = await Promise.allSettled([db.autoloadPromise, ...calls])
          const [loading, ...others] = outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason)
          assert.equal(loading.code, 'PSLOCK_CORRUPT')
          for (const error of others) assert.equal(error, loading)
          await assert.rejects(db.count(), { code: 'PSLOCK_CORRUPT' })
          await assert.rejects(db.insert({ _id: 'a' }), { code: 'PSLOCK_CORRUPT' })
          await assert.rejects(
            db.transaction(async () => {}),
            { code: 'PSLOCK_CORRUPT' },
          )
          await setTimeout(1)
          assert.equal(warned().length, onload ? 0 : 1)
          await db.close()
        })
      }

      it('the next call finds the file that was mended meanwhile', async () => {
        writeFileSync(file('a.db'), 'garbage\n')
        const told: unknown[] = []
        const db = open({ onload: (error) => told.push(error) })
        await assert.rejects(db.count(), { code: 'PSLOCK_CORRUPT' })
        writeFileSync(file('a.db'), '{"_id":"mended"}\n')
        await Promise.all([db.transaction(async () => {}), db.insert({ _id: 'b' }), db.count()])
        assert.equal(await db.count(), 2)
        await db.autoloadPromise
        assert.equal(told.length, 1, 'onload is called once')
        await db.close()
      })

      it('an explicit load tries again, and what was issued before it runs', async () => {
        writeFileSync(file('a.db'), 'garbage\n')
        const db = open()
        await assert.rejects(db.count(), { code: 'PSLOCK_CORRUPT' })
        await assert.rejects(db.load(), { code: 'PSLOCK_CORRUPT' })
        await assert.rejects(db.load(), { code: 'PSLOCK_CORRUPT' })
        writeFileSync(file('a.db'), '{"_id":"mended"}\n')
        await db.load()
        assert.equal(await db.count(), 1)
        await db.close()
      })

      it('of an explicit load, calls say so too, and the next one tries again', async () => {
        writeFileSync(file('a.db'), 'garbage\n')
        const db = open({ autoload: false })
        const calls = [db.load(), db.count(), db.insert({ _id: 'a' })]
        for (const outcome of await Promise.allSettled(calls)) {
          assert.equal((outcome as PromiseRejectedResult).reason.code, 'PSLOCK_CORRUPT')
        }
        await assert.rejects(db.count(), { code: 'PSLOCK_CORRUPT' })
        writeFileSync(file('a.db'), '{"_id":"mended"}\n')
        assert.equal(await db.count(), 1)
        await db.close()
      })

      it('a folder that was in the way is looked at again', async () => {
        writeFileSync(file('in-the-way'), '')
        const db = open({ filename: file('in-the-way/a.db') })
        for (let n = 0; n < 3; n++) {
          await assert.rejects(db.insert({ _id: 'a' }), (error: { code: string; path: string }) => {
            assert.match(error.code, /^PSLOCK_(STORE_)?IO$/)
            assert.match(error.path, /in-the-way/)
            return true
          })
        }
        rmSync(file('in-the-way'))
        await db.insert({ _id: 'a' })
        assert.equal(await db.count(), 1)
        await db.close()
      })

      it('a folder in the place of the file is looked at again', async () => {
        mkdirSync(file('a.db'))
        const db = open()
        for (let n = 0; n < 3; n++)
          await assert.rejects(db.count(), { code: 'PSLOCK_STORE_IO', message: /is a folder/ })
        rmSync(file('a.db'), { recursive: true })
        assert.equal(await db.count(), 0)
        await db.close()
      })

      it('a lock that was not granted in time is asked for again', async () => {
        const peer = await Peer.start('locked', { filename: file('a.db') })
        const holding = peer.call('hold', 60_000)
        while (new PsLock(file('a.db')).holders().every(({ pid }) => pid !== peer.pid)) await setTimeout(1)
        const db = open({ timeoutMs: 100 })
        const writes = [db.insert({ _id: 'a' }), db.insert({ _id: 'b' })]
        for (const outcome of await Promise.allSettled(writes)) {
          const { code, message } = (outcome as PromiseRejectedResult).reason
          assert.equal(code, 'PSLOCK_TIMEOUT', message)
        }
        await assert.rejects(db.insert({ _id: 'c' }), { code: 'PSLOCK_TIMEOUT' })
        await peer.kill()
        await assert.rejects(holding)
        await db.insert({ _id: 'd' })
        assert.equal(await db.count(), 1)
        await db.close()
      })
    })
  }

  it('calls with a callback are told at once too; beside an onload those made before the failure hear of the next attempt', async () => {
    writeFileSync(file('a.db'), 'garbage\n')
    for (const onload of [undefined, () => {}]) {
      const db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, ...(onload && { onload }) })
      const told: unknown[] = []
      const callback = (error: unknown) => told.push((error as { code?: string } | null)?.code ?? error)
      db.find({}, callback)
      db.insert({ _id: 'a' } as Doc, callback)
      await assert.rejects(db.autoloadPromise as Promise<void>, { code: 'PSLOCK_CORRUPT' })
      await setTimeout(20)
      // NeDB has a test that fails should a callback be called here.
      assert.deepEqual(told, onload ? [] : ['PSLOCK_CORRUPT', 'PSLOCK_CORRUPT'])
      db.count({}, callback)
      await assert.rejects(db.countAsync({}), { code: 'PSLOCK_CORRUPT' })
      await setTimeout(20)
      assert.deepEqual(told, Array(3).fill('PSLOCK_CORRUPT'))
      await db.close()
    }
  })

  it('a store that nobody loads still says that it was not loaded', async () => {
    const db = new LockedNedb({ filename: file('a.db'), timeoutMs: 50 })
    await assert.rejects(db.insertAsync({ _id: 'a' }), {
      code: 'PSLOCK_STORE_IO',
      message: /was not loaded in time/,
    })
    await db.close()
  })

  it('the process ends by itself, and one that asks for nothing is only warned', () => {
    writeFileSync(file('a.db'), 'garbage\n')
    const script = `
      import { LockedNedb } from ${JSON.stringify(codeUrl('adapters/nedb'))}
      new LockedNedb({ filename: ${JSON.stringify(file('a.db'))}, autoload: true })`
    writeFileSync(file('script.mjs'), script)
    execFileSync(process.execPath, [...process.execArgv, file('script.mjs')], {
      timeout: 20_000,
      stdio: 'pipe',
    })
  })
})
