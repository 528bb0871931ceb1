import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { LockedNedb, type LockedNedbOptions } from '../../adapters/nedb.ts'
import { ClosedError, LockTimeoutError, TransactionError } from '../../src/index.ts'
import { fixture, LOADER } from '../fixtures/code.ts'
import { staysPending, until } from '../fixtures/folder.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import type { HolderCommands } from '../fixtures/server-holder.ts'
import { takesLess, timed } from '../fixtures/takes-less.ts'
import { type PeerProcess, usePeers } from '../harness/peer.ts'
import { usePostgres } from '../harness/postgres.ts'
import { useServerStores } from './server-stores.ts'

type Doc = { _id?: string; n?: number }

describe('waiting for a store on a server', () => {
  const place = useServerStores()
  const start = usePeers<HolderCommands>('server-holder')
  const opened: LockedNedb<Doc>[] = []
  afterEach(() => Promise.allSettled(opened.splice(0).map((db) => db.close())))

  const url = () => place.path('jobs')
  const open = async (options: LockedNedbOptions = {}) => {
    const db = new LockedNedb<Doc>({ url: url(), autoload: true, ...options })
    opened.push(db)
    await db.autoloadPromise
    return db
  }
  const peer = async (options: object = {}) =>
    (await start([JSON.stringify({ url: url(), ...options })]))[0] as PeerProcess<HolderCommands>

  describe('while another process sits in a transaction', () => {
    const writes: { [what: string]: (db: LockedNedb<Doc>) => Promise<unknown> } = {
      'an insert': (db) => db.insertAsync({}),
      'an insert with an id': (db) => db.insertAsync({ _id: 'x' }),
      'an update by id': (db) => db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {}),
      'a removal': (db) => db.removeAsync({ n: { $gt: 7 } }, { multi: true }),
      'a transaction': (db) => db.transaction(() => {}),
      'an index': (db) => db.ensureIndexAsync({ fieldName: 'n' }),
    }
    for (const [what, write] of Object.entries(writes)) {
      it(`${what} waits, and ends after timeoutMs as LockTimeoutError; then it works`, async () => {
        const db = await open({ timeoutMs: 400 })
        await db.insertAsync({ _id: 'a', n: 0 })
        const holder = await peer()
        await holder.call('sit')
        await takesLess(900, async () => {
          const [error, ms] = await timed(() => failing(() => write(db)))
          assert.ok(error instanceof LockTimeoutError, inspect(error))
          assert.ok(error.message.includes('jobs'), error.message)
          assert.ok(ms > 380, `it took ${ms} ms`)
          return ms
        })
        assert.deepEqual(await db.findAsync({}), [{ _id: 'a', n: 0 }])
        await holder.call('leave')
        await write(db)
      })

      it(`${what} with timeoutMs: 0 does not wait, and works where nobody is`, async () => {
        const db = await open({ timeoutMs: 0 })
        await db.insertAsync({ _id: 'a', n: 0 })
        const holder = await peer()
        await holder.call('sit')
        await takesLess(150, async () => {
          const [error, ms] = await timed(() => failing(() => write(db)))
          assert.ok(error instanceof LockTimeoutError, inspect(error))
          return ms
        })
        await holder.call('leave')
        await write(db)
      })
    }

    it('many writes that wait together end together, and nothing of them is done later', async () => {
      const db = await open({ timeoutMs: 400 })
      const holder = await peer()
      await holder.call('sit')
      await takesLess(1000, async () => {
        const [outcomes, ms] = await timed(() =>
          Promise.allSettled(Array.from({ length: 30 }, (_, n) => db.insertAsync({ n }))),
        )
        for (const outcome of outcomes) {
          assert.equal(outcome.status, 'rejected')
          assert.ok(outcome.reason instanceof LockTimeoutError, inspect(outcome.reason))
        }
        assert.ok(ms > 380, `it took ${ms} ms`)
        return ms
      })
      await holder.call('leave')
      assert.equal(await db.countAsync({}), 1)
    })

    // What is issued after a write, on the same store object, comes after it: it may have to see it.
    it('reads go on, also in a process where a write waits, and so do views and opening it', async () => {
      const [db, waiting] = [await open(), await open()]
      await db.insertAsync({ _id: 'a' })
      const holder = await peer()
      await holder.call('sit')
      const write = waiting.insertAsync({ _id: 'b' })
      await sleep(60)
      await takesLess(400, async () => {
        const [found, ms] = await timed(async () => [
          await db.findOneAsync({ _id: 'a' }),
          await db.countAsync({}),
          await db.findAsync({ _id: { $in: ['a'] } }),
        ])
        assert.deepEqual(found, [{ _id: 'a' }, 1, [{ _id: 'a' }]])
        return ms
      })
      await takesLess(400, async () => {
        const [seen, ms] = await timed(() => db.view((tx) => tx.countAsync({})))
        assert.equal(seen, 1)
        return ms
      })
      await takesLess(400, async () => {
        const [late, ms] = await timed(() => open())
        assert.equal(await late.countAsync({}), 1)
        return ms
      })
      assert.ok(await staysPending(write))
      await holder.call('leave')
      await write
      assert.equal(await db.countAsync({}), 3)
    })

    it('kill -9 of it frees the lock within 100 ms, and undoes what it did', async () => {
      const db = await open()
      const took: number[] = []
      for (let round = 0; round < 5; round++) {
        await takesLess(1000, async () => {
          const holder = await peer()
          await holder.call('sit')
          const granted = db.transaction(() => performance.now())
          await sleep(50)
          const since = performance.now()
          holder.child.kill('SIGKILL')
          const ms = (await granted) - since
          took.push(ms)
          return ms
        })
      }
      note(`free after ${took.map((ms) => Math.round(ms)).join(', ')} ms`)
      assert.ok([...took].sort((a, b) => a - b)[2]! < 100, `${took}`)
      assert.equal(await db.countAsync({}), 0)
    })

    it('stopped (SIGSTOP) it keeps the lock, and commits when it goes on', async () => {
      const db = await open()
      const holder = await peer()
      await holder.call('sit')
      await holder.signal('SIGSTOP')
      const write = db.insertAsync({ _id: 'next' })
      assert.ok(await staysPending(write, 2000))
      assert.equal(await (await open()).countAsync({}), 0)
      await holder.signal('SIGCONT')
      await holder.call('leave')
      await write
      assert.equal(await db.countAsync({}), 2)
    })

    it('a wait that is called off ends at once, and the next one works', async () => {
      const db = await open()
      const holder = await peer()
      await holder.call('sit')
      const reason = new RangeError('mine')
      for (let round = 0; round < 3; round++) {
        await takesLess(150, async () => {
          const controller = new AbortController()
          const waiting = db.transaction(() => assert.fail('it ran'), { signal: controller.signal })
          waiting.catch(() => {})
          await sleep(40)
          const since = performance.now()
          controller.abort(reason)
          assert.equal(await failing(() => waiting), reason)
          return performance.now() - since
        })
        assert.equal(await db.countAsync({}), 0)
      }
      const write = db.insertAsync({ _id: 'next' })
      assert.ok(await staysPending(write))
      await holder.call('leave')
      await write
      assert.equal(
        await failing(() => db.transaction(() => {}, { signal: AbortSignal.abort(reason) })),
        reason,
      )
    })
  })

  it('calling off a wait in the moment when it is granted hits nothing else', async () => {
    const seed = newSeed()
    const next = random(seed)
    const [db, other] = [await open(), await open()]
    let ran = 0
    for (let round = 0; round < 60; round++) {
      const controller = new AbortController()
      let leave = () => {}
      const left = new Promise<void>((resolve) => {
        leave = resolve
      })
      const holding = other.transaction(() => left)
      const waiting = db
        .transaction(async (tx) => void (await tx.insertAsync({ n: round })), { signal: controller.signal })
        .then(
          () => ran++,
          (error) => assert.equal(error.name, 'AbortError', inspect(error)),
        )
      await sleep(3 * next())
      const after = db.insertAsync({ n: -1 })
      setTimeout(leave, 3 * next())
      setTimeout(() => controller.abort(), 3 * next())
      await Promise.all([holding, waiting, after])
    }
    note(`seed ${seed}: ${ran} of 60 ran`)
    assert.equal(await other.countAsync({ n: -1 }), 60)
    assert.equal(await other.countAsync({ n: { $gte: 0 } }), ran)
    assert.deepEqual(await db.countAsync({}), await other.countAsync({}))
  })

  describe('the end', () => {
    const run = async (what: string) => {
      const args = [...LOADER, fixture('server-script'), place.database(), `${url().split('#')[1]}`, what]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 15_000 })
      let out = ''
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          out += text
        })
      const since = performance.now()
      const [code, signal] = await once(child, 'close')
      return { code, signal, out, ms: performance.now() - since }
    }

    for (const what of ['opens it', 'reads', 'writes', 'runs a transaction', 'sets a timer for compaction']) {
      it(`a program that ${what} and does not close it ends by itself`, async () => {
        const { code, out, ms } = await run(what)
        assert.deepEqual([code, out], [0, 'done\n'])
        assert.ok(ms < 5000, `it took ${ms} ms`)
      })
    }

    for (const [what, said] of [
      ['waits in vain', 'PSLOCK_TIMEOUT'],
      ['gives up waiting', 'TimeoutError'],
    ] as const) {
      it(`so does one that ${what}`, async () => {
        const holder = await peer()
        await holder.call('sit')
        const { code, out, ms } = await run(what)
        assert.deepEqual([code, out], [0, `${said}\ndone\n`])
        assert.ok(ms < 5000, `it took ${ms} ms`)
      })
    }

    for (const [what, expected] of [
      ['exits in a transaction', 7],
      ['dies of an error in a transaction', 1],
      ['exits while it writes', 7],
    ] as const) {
      it(`what ${what} leaves the lock free, and nothing half done`, async () => {
        const db = await open()
        await takesLess(500, async () => {
          const { code, out } = await run(what)
          assert.equal(code, expected, out)
          return (await timed(() => db.transaction(() => db.insertAsync({}))))[1]
        })
        assert.equal(await db.countAsync({ _id: 'half' }), 0)
      })
    }

    it('close() waits for what was issued before, and refuses what comes later', async () => {
      const db = await open()
      const inserts = Array.from({ length: 100 }, (_, n) => db.insertAsync({ n }))
      const transaction = db.transaction(async (tx) => {
        await sleep(20)
        await tx.insertAsync({ _id: 'last' })
      })
      const closing = db.close()
      const late = db.insertAsync({ _id: 'late' }).then(
        () => 'done',
        (error) => error,
      )
      await Promise.all([...inserts, transaction, closing])
      const came = await late
      const other = await open()
      assert.equal(await other.countAsync({ n: { $gte: 0 } }), 100)
      assert.equal(await other.countAsync({ _id: 'last' }), 1)
      // It may still have come in time.
      assert.ok(came === 'done' || came instanceof ClosedError, inspect(came))
      assert.equal(await other.countAsync({ _id: 'late' }), came === 'done' ? 1 : 0)
      assert.ok((await failing(() => db.insertAsync({}))) instanceof ClosedError)
    })

    it('close() inside a transaction is a TransactionError, and it goes on', async () => {
      const db = await open()
      await db.transaction(async (tx) => {
        assert.ok((await failing(() => db.close())) instanceof TransactionError)
        await tx.insertAsync({ _id: 'a' })
      })
      assert.equal(await db.countAsync({}), 1)
    })

    it('close() before it is loaded, and beside a holder, ends', async () => {
      const holder = await peer()
      await holder.call('sit')
      const db = new LockedNedb<Doc>({ url: url(), autoload: true, timeoutMs: 300 })
      const [, ms] = await timed(() => db.close())
      assert.ok(ms < 2000, `it took ${ms} ms`)
    })
  })
})

describe('after a crash of the server', () => {
  const server = usePostgres({ own: true })

  it('others read, though the first that comes sits in a transaction', async () => {
    const url = await server().database()
    const open = (name: string) => new LockedNedb<Doc>({ url, name, autoload: true, timeoutMs: 5000 })
    const [db, reader, other] = [open('jobs'), open('jobs'), open('others')]
    await db.insertAsync({ _id: 'a' })
    assert.equal(await reader.countAsync({}), 1)
    await other.insertAsync({ _id: 'b' })
    await server().kill9()
    await server().start()
    await db.transaction(async (tx) => {
      await tx.insertAsync({ _id: 'c' })
      const since = performance.now()
      assert.equal(await reader.countAsync({}), 1)
      await other.insertAsync({ _id: 'd' })
      assert.equal(await other.countAsync({}), 2)
      const ms = performance.now() - since
      assert.ok(ms < 3000, `it took ${ms} ms`)
    })
    assert.equal(await reader.countAsync({}), 2)
    await Promise.all([db.close(), reader.close(), other.close()])
  })

  it('what waits while the server is away, or does not answer, is done when it is back', async () => {
    const url = await server().database()
    const db = new LockedNedb<Doc>({ url, name: 'jobs', autoload: true, timeoutMs: 10_000 })
    await db.insertAsync({ _id: 'a', n: 0 })
    await server().stop('fast')
    const calls = [
      db.countAsync({}),
      db.insertAsync({ _id: 'b' }),
      db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {}),
      db.transaction((tx) => tx.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})),
    ]
    await sleep(300)
    await server().start()
    await Promise.all(calls)
    await server().pause()
    const more = [db.countAsync({}), db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})]
    await sleep(700)
    await server().resume()
    await Promise.all(more)
    assert.deepEqual(await db.findOneAsync({ _id: 'a' }), { _id: 'a', n: 3 })
    await until('closed', async () => {
      await db.close()
      return true
    })
  })

  it('a server that stays away ends every call after timeoutMs with a typed error', async () => {
    const url = await server().database()
    const db = new LockedNedb<Doc>({ url, name: 'jobs', autoload: true, timeoutMs: 500 })
    await db.insertAsync({ _id: 'a', n: 0 })
    await server().stop('fast')
    for (const call of [
      () => db.findAsync({}),
      () => db.insertAsync({}),
      () => db.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {}),
      () => db.transaction(() => {}),
    ]) {
      await takesLess(1500, async () => {
        const [error, ms] = await timed(() => failing(call))
        assert.equal(error.code, 'PSLOCK_UNAVAILABLE', inspect(error))
        return ms
      })
    }
    await server().start()
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', n: 0 }])
    await db.close()
  })
})
