import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { takeTurn } from '../../src/features/hooks/throttle.ts'
import { LockUnsupportedError, ThrottledError, type ThrottleOptions, throttle } from '../../src/index.ts'
import { monotonicMs } from '../../src/os/processes.ts'
import { useFolder } from '../fixtures/folder.ts'
import { failing, untouched } from '../fixtures/lowdb-tools.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import { STORES, toldOf } from '../fixtures/store-methods.ts'

/** One write, then none for longer than any test takes, and none is delayed. */
const ONE: ThrottleOptions = { writesPerSecond: 1e-3, maxDelayMs: 0 }

/** What is done with that one, and leaves the rest to do. */
const ALLOWED = ['rollbackAfter', 'update']

describe('throttle', () => {
  const at = useFolder()
  const nedb = () => new LockedNedb<{ n?: number }>({ filename: at('a.db'), autoload: true })

  const lines = () => readFileSync(at('a.db'), 'utf8').split('\n').filter(Boolean).length

  for (const store of STORES) {
    describe(`of ${store.name}`, () => {
      const writing = toldOf(store, 'exclusive')

      for (const per of ['process', 'store'] as const) {
        for (const [name, { call }] of writing) {
          it(`${name} is refused, per ${per}, and nothing is written`, async () => {
            await using db = await store.open(at('store'))
            db.use(throttle({ ...ONE, per }))
            await writing.find(([name]) => ALLOWED.includes(name))?.[1].call(db)
            const error = await untouched(at('store'), () => failing(() => call(db)))
            assert.ok(error instanceof ThrottledError, `${error}`)
            assert.equal(error.code, 'PSLOCK_THROTTLED')
            assert.equal(error.path, at('store'))
            assert.ok(error.retryAfterMs > 900_000 && error.retryAfterMs <= 1_000_000)
            assert.ok(error.message.includes(at('store')) && error.message.includes('try again later'))
          })
        }
      }

      it('reads are not delayed', async () => {
        await using db = await store.open(at('store'))
        db.use(throttle(ONE))
        await writing.find(([name]) => ALLOWED.includes(name))?.[1].call(db)
        for (const [, { call }] of toldOf(store, 'shared')) await call(db)
      })
    })
  }

  it('delays what comes too fast, each to its turn, in the order of issue', async () => {
    await using db = nedb()
    await db.countAsync({})
    db.use(throttle({ writesPerSecond: 50 }))
    const since = performance.now()
    await Promise.all(Array.from({ length: 11 }, (_, n) => db.insertAsync({ n })))
    // Timers may fire a millisecond early.
    assert.ok(performance.now() - since >= 10 * 20 - 2, 'they were not delayed')
    const found = [...readFileSync(at('a.db'), 'utf8').matchAll(/"n":(\d+)/g)].map(([, n]) => Number(n))
    assert.deepEqual(
      found,
      Array.from({ length: 11 }, (_, n) => n),
    )
  })

  it('blocks the thread where the call does', () => {
    const db = new LockedLowSync(at('l.json'), { n: 0 })
    db.use(throttle({ writesPerSecond: 50 }))
    const since = performance.now()
    for (let i = 0; i < 6; i++) {
      db.update((data) => {
        data.n++
      })
    }
    assert.ok(performance.now() - since >= 5 * 20 - 2, 'they were not delayed')
    assert.equal(db.data.n, 6)
  })

  it('a burst is not delayed', async () => {
    await using db = nedb()
    await db.countAsync({})
    db.use(throttle({ ...ONE, burst: 5 }))
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => db.insertAsync({ n })))
    assert.deepEqual(
      outcomes.map(({ status }) => status === 'fulfilled'),
      [true, true, true, true, true, false, false, false],
    )
  })

  it('refuses of a flood what would have to wait longer than maxDelayMs', async () => {
    await using db = nedb()
    await db.countAsync({})
    db.use(throttle({ writesPerSecond: 20, maxDelayMs: 225 }))
    const since = performance.now()
    const writes = Array.from({ length: 30 }, (_, n) => db.insertAsync({ n }))
    const issuedMs = performance.now() - since
    const outcomes = await Promise.allSettled(writes)
    const done = outcomes.filter(({ status }) => status === 'fulfilled').length
    // 0, 50, 100, 150, 200 ms; one more for each turn that issuing them took.
    assert.ok(done >= 5 && done <= 6 + issuedMs / 50, `${done} were done, issued in ${issuedMs} ms`)
    assert.equal(lines(), done)
  })

  it('an operation with a timeout of its own is not delayed for longer', async () => {
    await using db = nedb()
    await db.countAsync({})
    db.use(throttle({ writesPerSecond: 1 }))
    await db.insertAsync({ n: 1 })
    const error = await failing(() => db.transaction(() => assert.fail('it ran'), { timeoutMs: 0 }))
    assert.ok(error instanceof ThrottledError, `${error}`)
  })

  it('inside a hold of one’s own nothing is delayed, and all of it counts', async () => {
    await using db = nedb()
    await db.countAsync({})
    db.use(throttle({ writesPerSecond: 1e-3, maxDelayMs: 3_500_000 }))
    await db.lock.exclusive(async () => {
      for (let n = 0; n < 4; n++) await db.insertAsync({ n })
      assert.ok((await failing(() => db.insertAsync({ n: 4 }))) instanceof ThrottledError)
    })
    assert.equal(lines(), 4)
    assert.ok((await failing(() => db.insertAsync({ n: 4 }))) instanceof ThrottledError)
  })

  it('a transaction counts once, with all that is in it', async () => {
    await using db = nedb()
    const [low, sync] = [new LockedLow(at('l.json'), { n: 0 }), new LockedLowSync(at('s.json'), { n: 0 })]
    await db.countAsync({})
    for (const store of [db, low, sync]) store.use(throttle(ONE))
    await db.transaction(async (tx) => {
      for (let n = 0; n < 20; n++) await tx.insertAsync({ n })
      await tx.transaction(() => tx.insertAsync({ n: 20 }))
    })
    assert.equal(lines(), 21)
    assert.ok((await failing(() => db.transaction(() => {}))) instanceof ThrottledError)
    await low.update(() => low.update(() => low.write()))
    assert.ok((await failing(() => low.update(() => {}))) instanceof ThrottledError)
    sync.update(() => sync.update(() => sync.write()))
    assert.throws(() => sync.update(() => {}), ThrottledError)
  })

  it('per store: stores that block count with those that do not', async () => {
    const options = { ...ONE, per: 'store', burst: 2 } as const
    const [low, sync] = [new LockedLow(at('l.json'), { n: 0 }), new LockedLowSync(at('l.json'), { n: 0 })]
    for (const db of [low, sync]) db.use(throttle(options))
    await low.update(() => {})
    sync.update(() => {})
    assert.throws(() => sync.update(() => {}), ThrottledError)
    assert.ok((await failing(() => low.update(() => {}))) instanceof ThrottledError)
  })

  it('per store: whatever stands in the file, the writes go on and count', async () => {
    const path = at('a.db.lock.throttle')
    await using db = nedb()
    await db.countAsync({})
    const seed = newSeed()
    const next = random(seed)
    note(`seed ${seed}`)
    const noise = Buffer.from(Array.from({ length: 200 }, () => Math.floor(next() * 256)))
    const damages: [string, () => void][] = [
      ['nothing', () => truncateSync(path)],
      ['noise', () => writeFileSync(path, noise)],
      ['a cut text', () => truncateSync(path, 12)],
      ['another boot', () => writeFileSync(path, `00000000 ${monotonicMs() + 1e9} `.padEnd(64))],
      ['no number', () => writeFileSync(path, readFileSync(path, 'utf8').replace(/ [\d.]+ /, ' soon '))],
      ['no file', () => rmSync(path)],
    ]
    db.use(throttle({ ...ONE, per: 'store' }))
    await db.insertAsync({ n: 0 })
    for (const [what, damage] of damages) {
      damage()
      await db.insertAsync({ n: 1 }).catch((error) => assert.fail(`${what}: ${error}`))
      assert.ok((await failing(() => db.insertAsync({ n: 2 }))) instanceof ThrottledError, what)
      assert.equal(readFileSync(path).length >= 64, true, what)
    }
  })

  it('per store: a folder in the place of the file is an error that names it', async () => {
    await using db = new LockedNedb({ filename: at('a.db'), lockPath: at('a.lock'), autoload: true })
    await db.countAsync({})
    mkdirSync(at('a.lock.throttle'))
    db.use(throttle({ ...ONE, per: 'store' }))
    const error = await failing(() => db.insertAsync({}))
    assert.ok(error instanceof LockUnsupportedError, `${error}`)
    assert.ok(String(error).includes('a.lock.throttle'))
  })

  it('takeTurn keeps the pace for any arrivals, and delays nothing that keeps it', () => {
    const seed = newSeed()
    const next = random(seed)
    note(`seed ${seed}`)
    for (let run = 0; run < 300; run++) {
      const everyMs = 1 + next() * 50
      const burst = 1 + Math.floor(next() * 6)
      const pace = { everyMs, aheadMs: (burst - 1) * everyMs }
      const limitMs = next() < 0.5 ? 0 : next() * 300
      const begins: number[] = []
      let nextMs = 0
      let nowMs = 1000
      let refused = 0
      for (let i = 0; i < 100; i++) {
        nowMs += next() < 0.3 ? next() * 4 * everyMs : 0
        const turn = takeTurn(nextMs, nowMs, pace, limitMs)
        if (turn.waitMs <= limitMs) begins.push(nowMs + turn.waitMs)
        else {
          refused++
          assert.equal(turn.nextMs, nextMs, 'a refused write takes no turn')
        }
        nextMs = turn.nextMs
      }
      if (limitMs < 20) assert.ok(refused > 0 || burst > 1)
      for (const [i, begin] of begins.entries()) {
        const earlier = begins[i - burst]
        if (earlier !== undefined)
          assert.ok(begin - earlier >= everyMs - 1e-6, `${burst} + 1 in less than a turn`)
        const first = begins[0] as number
        assert.ok(i + 1 <= (begin - first) / everyMs + burst + 1e-6)
      }
    }
    assert.equal(takeTurn(0, 5_000, { everyMs: 10, aheadMs: 0 }, 0).waitMs, 0)
  })

  it('wrong options are a TypeError that shows them', () => {
    const wrong: unknown[] = [
      {},
      { writesPerSecond: 0 },
      { writesPerSecond: -1 },
      { writesPerSecond: Number.NaN },
      { writesPerSecond: Number.POSITIVE_INFINITY },
      { writesPerSecond: '5' },
      { writesPerSecond: 1, per: 'thread' },
      { writesPerSecond: 1, burst: 0 },
      { writesPerSecond: 1, burst: 1.5 },
      { writesPerSecond: 1, maxDelayMs: -1 },
      { writesPerSecond: 1, maxDelayMs: 'soon' },
    ]
    for (const options of wrong) {
      assert.throws(
        () => throttle(options as ThrottleOptions),
        /^TypeError: .* got /,
        JSON.stringify(options),
      )
    }
  })
})
