import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { LockedDatastore } from '../../adapters/nedb-promises.ts'
import {
  type Hook,
  type HookEvent,
  type HookOutcome,
  LockDeadlockError,
  LockTimeoutError,
} from '../../src/index.ts'
import { useCrew } from '../fixtures/crew.ts'
import { newGate, staysPending, useFolder } from '../fixtures/folder.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { methodsOf, STORES, toldOf } from '../fixtures/store-methods.ts'

/** Remembers what it is told. */
class Record implements Hook {
  readonly befores: HookEvent[] = []
  readonly afters: HookOutcome[] = []

  before(event: HookEvent): void {
    this.befores.push(event)
  }

  after(outcome: HookOutcome): void {
    this.afters.push(outcome)
  }

  /** The names, in the order of `after`. */
  get names(): (string | undefined)[] {
    return this.afters.map(({ name }) => name)
  }
}

describe('hooks', () => {
  const at = useFolder()
  const crew = useCrew()
  const nedb = () => new LockedNedb<{ _id: string }>({ filename: at('a.db'), autoload: true })
  const ids = async (db: ReturnType<typeof nedb>) => (await db.findAsync({})).map(({ _id }) => _id).sort()

  for (const store of STORES) {
    describe(`of ${store.name}`, () => {
      it('the table of its methods is complete', () => {
        const found = methodsOf(store.prototype)
        assert.ok(found.length > 3)
        assert.deepEqual(
          found.filter((name) => !(name in store.methods)),
          [],
        )
      })

      for (const [name, { does, as, call }] of toldOf(store)) {
        it(`${name} is told, before and after`, async () => {
          await using db = await store.open(at('store'))
          const record = new Record()
          db.use(record)
          await call(db)
          const outer = record.befores[0] as HookEvent
          const told = record.afters.at(-1) as HookOutcome
          assert.deepEqual(
            [told.name, told.mode, told.nested, told.error instanceof Error, told.path],
            [as, does, false, name === 'rollbackAfter', at('store')],
          )
          assert.deepEqual([outer.name, outer.mode, outer.args], [as, does, told.args])
          assert.equal(told.lockPath, `${at('store')}.lock`)
          const isBlocking = db instanceof LockedLowSync && name !== 'dump' && name !== 'restore'
          assert.equal(told.blocking, isBlocking)
          assert.equal(told.changed, does === 'exclusive' && name !== 'rollbackAfter')
          assert.ok(told.durationMs > 0)
          assert.equal(record.befores.length, record.afters.length)
        })

        it(`${name} can be refused, and then nothing has changed`, async () => {
          await using db = await store.open(at('store'))
          const before = readFileSync(at('store'))
          const refusal = new Error('not today')
          const [ahead, behind] = [new Record(), new Record()]
          db.use(ahead)
          db.use({
            before() {
              throw refusal
            },
            after: () => assert.fail('what has refused is not called at the end'),
          })
          db.use(behind)
          assert.equal(await failing(() => call(db)), refusal)
          assert.deepEqual(readFileSync(at('store')), before)
          assert.deepEqual(
            ahead.afters.map(({ error, changed }) => [error, changed]),
            [[refusal, false]],
          )
          assert.deepEqual([behind.befores, behind.afters], [[], []])
        })
      }
    })
  }

  it('tells arguments, what failed, and whether something changed', async () => {
    await using db = nedb()
    const record = new Record()
    db.use(record)
    await db.insertAsync({ _id: 'a' })
    const error = await failing(() => db.insertAsync({ _id: 'a' }))
    await db.updateAsync({ _id: 'nobody' }, { $set: { n: 1 } }, {})
    await db.findAsync({ _id: 'a' }, { _id: 1 })
    assert.deepEqual(
      record.afters.map(({ name, args, changed }) => [name, args, changed]),
      [
        ['insert', [{ _id: 'a' }], true],
        ['insert', [{ _id: 'a' }], false],
        ['update', [{ _id: 'nobody' }, { $set: { n: 1 } }, {}], false],
        ['find', [{ _id: 'a' }, { _id: 1 }], false],
      ],
    )
    assert.equal(record.afters[1]?.error, error)
  })

  it('tells a task that was given to the executor directly, without a name', async () => {
    await using db = nedb()
    const record = new Record()
    db.use(record)
    const { executor } = db as unknown as { executor: { pushAsync(task: () => unknown): Promise<unknown> } }
    await executor.pushAsync(async () => 1)
    assert.deepEqual(record.names, [undefined])
  })

  it('before what was issued by name, in the same tick, each has its own name', async () => {
    await using db = LockedDatastore.create<{ _id: string }>({ filename: at('a.db') })
    await db.load()
    const record = new Record()
    db.use(record)
    await Promise.all([db.insert({ _id: 'a' }), db.count({}), db.remove({ _id: 'a' }, {}), db.find({})])
    assert.deepEqual(record.names.sort(), ['count', 'find', 'insert', 'remove'])
  })

  it('a promise of before is awaited, and what was issued later keeps its place', async () => {
    await using db = nedb()
    await db.insertAsync({ _id: 'a' })
    const gate = newGate()
    db.use({ before: ({ name }) => (name === 'insert' ? gate.opened : undefined) })
    const inserted = db.insertAsync({ _id: 'b' })
    const found = db.findAsync({}).execAsync()
    assert.ok(await staysPending(Promise.race([inserted, found])), 'it did not wait')
    gate.open()
    assert.equal((await found).length, 2)
  })

  it('all before are called at once; a refused one lets nobody overtake', async () => {
    await using db = nedb()
    await db.insertAsync({ _id: 'a' })
    const gate = newGate()
    let asked = 0
    db.use({
      before({ args: [doc] }) {
        asked++
        const { _id } = doc as { _id?: string }
        if (_id === 'slow') return gate.opened
        if (_id === 'no') throw new Error('no')
        return undefined
      },
    })
    const slow = db.insertAsync({ _id: 'slow' })
    const refused = failing(() => db.insertAsync({ _id: 'no' }))
    const found = db.findAsync({}).execAsync()
    await refused
    assert.equal(asked, 3)
    assert.ok(await staysPending(found, 30), 'it did not wait')
    gate.open()
    await slow
    assert.equal((await found).length, 2)
  })

  it('with timeoutMs 0 nothing waits behind what waits for its hooks', async () => {
    await using db = nedb()
    await db.insertAsync({ _id: 'a' })
    const gate = newGate()
    db.use({ before: ({ name }) => (name === 'insert' ? gate.opened : undefined) })
    const inserted = db.insertAsync({ _id: 'b' })
    const error = await failing(() => db.transaction(() => assert.fail('it ran'), { timeoutMs: 0 }))
    gate.open()
    assert.ok(error instanceof LockTimeoutError, `${error}`)
    await inserted
    await db.transaction(() => {}, { timeoutMs: 0 })
  })

  it('what is aborted while it waits for its hooks does not run', async () => {
    await using db = nedb()
    await db.insertAsync({ _id: 'a' })
    const gate = newGate()
    db.use({ before: () => gate.opened })
    const abort = new AbortController()
    const failed = failing(() => db.transaction(() => assert.fail('it ran'), { signal: abort.signal }))
    abort.abort(new Error('given up'))
    gate.open()
    assert.match(String(await failed), /given up/)
  })

  it('close() waits for what is still before its hooks', async () => {
    const db = nedb()
    await db.insertAsync({ _id: 'a' })
    db.use({ before: () => sleep(20) })
    const inserted = db.insertAsync({ _id: 'b' })
    await db.close()
    await inserted
    assert.match(readFileSync(at('a.db'), 'utf8'), /"b"/)
  })

  it('after: the lock is free, for other processes too, and the caller has not gone on', async () => {
    await using db = nedb()
    const other = await crew.process()
    let wentOn = false
    const seen: unknown[] = []
    db.use({
      after() {
        const held = db.lock.tryAcquire()
        seen.push(held !== undefined, wentOn)
        held?.release()
      },
    })
    await db.insertAsync({ _id: 'a' }).then(() => {
      wentOn = true
    })
    assert.deepEqual(seen, [true, false])
    assert.ok(await other.call('tryAcquire', at('a.db')), 'the lock is held')
  })

  it('a before hook that takes its time does not hold the lock', async () => {
    await using db = nedb()
    await db.insertAsync({ _id: 'a' })
    const other = await crew.process()
    const gate = newGate()
    db.use({ before: () => gate.opened })
    const inserted = db.insertAsync({ _id: 'b' })
    assert.ok(await other.call('tryAcquire', at('a.db')), 'the lock is held')
    await other.call('release')
    gate.open()
    await inserted
  })

  it('what after throws is uncaught, and the operation has succeeded', async () => {
    await using db = nedb()
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    const caught: unknown[] = []
    process.on('uncaughtException', (error) => caught.push(error))
    try {
      const [sync, async] = [new Error('sync'), new Error('async')]
      const remove = [
        db.use({
          after() {
            throw sync
          },
        }),
        db.use({ after: () => Promise.reject(async) }),
      ]
      await db.insertAsync({ _id: 'a' })
      await sleep(1)
      for (const each of remove) each()
      assert.deepEqual(caught, [sync, async])
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
    assert.deepEqual(await ids(db), ['a'])
  })

  it('parts of a transaction are told as nested, at once before, and after when it has ended', async () => {
    await using db = nedb()
    const record = new Record()
    db.use(record)
    await db.transaction(async (tx) => {
      await tx.insertAsync({ _id: 'a' })
      await failing(() => tx.insertAsync({ _id: 'a' }))
      assert.equal(record.befores.length, 3)
      assert.deepEqual(record.afters, [])
    })
    assert.deepEqual(
      record.afters.map((told) => [told.name, told.nested, told.changed, told.error !== undefined]),
      [
        ['insert', true, true, false],
        ['insert', true, false, true],
        ['transaction', false, true, false],
      ],
    )
    const [whole] = record.befores
    assert.deepEqual(
      record.afters.map(({ partOf }) => partOf),
      [whole, whole, undefined],
    )
  })

  it('parts of what was undone have changed nothing, and tell why', async () => {
    await using db = nedb()
    const record = new Record()
    db.use(record)
    const [inner, outer] = [new Error('inner'), new Error('outer')]
    await db.transaction(async (tx) => {
      await tx.insertAsync({ _id: 'kept' })
      await failing(() =>
        tx.transaction(async () => {
          await db.insertAsync({ _id: 'gone' })
          throw inner
        }),
      )
    })
    await failing(() =>
      db.transaction(async (tx) => {
        await tx.insertAsync({ _id: 'gone too' })
        throw outer
      }),
    )
    assert.deepEqual(
      record.afters.map(({ name, changed, error }) => [name, changed, error]),
      [
        ['insert', true, undefined],
        ['insert', false, inner],
        ['transaction', false, inner],
        ['transaction', true, undefined],
        ['insert', false, outer],
        ['transaction', false, outer],
      ],
    )
    assert.deepEqual(await ids(db), ['kept'])
  })

  it('an optimistic transaction that is run anew is told each time', async () => {
    await using db = nedb()
    await using other = nedb()
    await db.insertAsync({ _id: 'a' })
    const record = new Record()
    db.use(record)
    let runs = 0
    await db.transaction(
      async (tx) => {
        if (runs++ === 0) await other.insertAsync({ _id: 'b' })
        await tx.insertAsync({ _id: 'c' })
      },
      { retry: 1 },
    )
    assert.deepEqual(
      record.afters.map(({ name, changed }) => [name, changed]),
      [
        ['insert', false],
        ['transaction', false],
        ['insert', true],
        ['transaction', true],
      ],
    )
  })

  it('a refused part of a transaction leaves the rest to the callback', async () => {
    await using db = nedb()
    db.use({
      before({ nested, name }) {
        if (nested && name === 'remove') throw new Error('never')
      },
    })
    await db.transaction(async (tx) => {
      await tx.insertAsync({ _id: 'a' })
      assert.match(String(await failing(() => tx.removeAsync({}, { multi: true }))), /never/)
    })
    assert.deepEqual(await ids(db), ['a'])
  })

  it('inside a hold of one’s own it is nested, and stays inside though nobody waits for it', async () => {
    await using db = nedb()
    await db.insertAsync({ _id: 'a' })
    const other = await crew.process()
    const gate = newGate()
    const record = new Record()
    db.use(record)
    db.use({ before: () => gate.opened })
    let inserted: Promise<unknown> | undefined
    const held = db.lock.exclusive(() => {
      inserted = db.insertAsync({ _id: 'b' })
    })
    assert.ok(await staysPending(held, 50), 'it did not wait')
    assert.equal(await other.call('tryAcquire', at('a.db')), false)
    gate.open()
    await held
    await inserted
    assert.deepEqual(
      record.afters.map(({ nested, changed }) => [nested, changed]),
      [[true, true]],
    )
  })

  it('edits of lowdb inside one another are parts of the outermost', async () => {
    const db = new LockedLow<{ n: number; m?: number }>(at('l.json'), { n: 0 })
    const record = new Record()
    db.use(record)
    await db.update(async (data) => {
      data.n = 1
      await db.update((inner) => {
        inner.m = 1
      })
      await db.read()
      await db.write()
    })
    assert.deepEqual(
      record.afters.map(({ name, nested, changed }) => [name, nested, changed]),
      [
        ['update', true, true],
        ['read', true, false],
        ['write', true, false],
        ['update', false, true],
      ],
    )
  })

  it('so are those of LowSync, and a throw undoes them', () => {
    const db = new LockedLowSync<{ n: number; m?: number }>(at('l.json'), { n: 0 })
    const record = new Record()
    db.use(record)
    const error = new Error('undone')
    assert.throws(
      () =>
        db.update((data) => {
          data.n = 1
          db.update((inner) => {
            inner.m = 1
          })
          throw error
        }),
      error,
    )
    assert.deepEqual(
      record.afters.map((told) => [told.name, told.nested, told.blocking, told.changed, told.error]),
      [
        ['update', true, true, false, error],
        ['update', false, true, false, error],
      ],
    )
    assert.ok(!existsSync(at('l.json')))
  })

  it('a promise of before is a TypeError where the call blocks', () => {
    const db = new LockedLowSync(at('l.json'), {})
    db.use({ before: async () => {} })
    assert.throws(() => db.write(), TypeError)
    assert.ok(!existsSync(at('l.json')))
  })

  it('a before hook cannot wait for the store that it watches', async () => {
    await using db = nedb()
    await db.insertAsync({ _id: 'a' })
    const remove = db.use({ before: () => db.countAsync({}) })
    assert.ok((await failing(() => db.insertAsync({ _id: 'b' }))) instanceof LockDeadlockError)
    assert.ok((await failing(() => db.transaction(() => {}))) instanceof LockDeadlockError)
    remove()
    const low = new LockedLowSync(at('l.json'), {})
    low.use({ before: () => low.read() })
    assert.throws(() => low.write(), LockDeadlockError)
  })

  it('hooks do not join the transaction of another store in which they are called', async () => {
    await using log = new LockedNedb({ filename: at('log.db'), autoload: true })
    await using db = nedb()
    const logged: Promise<unknown>[] = []
    db.use({
      before: ({ name }) => {
        logged.push(log.insertAsync({ began: name }))
      },
      after: ({ name }) => {
        logged.push(log.insertAsync({ ended: name }))
      },
    })
    await failing(() =>
      log.transaction(async () => {
        await db.insertAsync({ _id: 'a' })
        throw new Error('undone')
      }),
    )
    await Promise.all(logged)
    assert.equal((await log.findAsync({})).length, 2)
  })

  it('a hook is called for one store object only, until it is taken out, and twice if it was added twice', async () => {
    await using db = nedb()
    await using other = nedb()
    const record = new Record()
    const [first, second] = [db.use(record), db.use(record)]
    await db.insertAsync({ _id: 'a' })
    await other.insertAsync({ _id: 'b' })
    assert.deepEqual(record.names, ['insert', 'insert'])
    first()
    first()
    await db.insertAsync({ _id: 'c' })
    second()
    await db.insertAsync({ _id: 'd' })
    assert.deepEqual(record.names, ['insert', 'insert', 'insert'])
  })

  it('what is no hook is a TypeError, and so is any for a store in memory only', () => {
    const db = new LockedNedb({ filename: at('a.db') })
    for (const wrong of [undefined, null, 7, () => {}, { before: 1 }, { after: 'x' }]) {
      assert.throws(() => db.use(wrong as never), TypeError, String(wrong))
    }
    assert.throws(() => new LockedNedb().use({}), /in memory/)
    assert.throws(() => LockedDatastore.create().use({}), /in memory/)
  })
})
