import assert from 'node:assert/strict'
import { pbkdf2 } from 'node:crypto'
import { closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { sleep } from '../../../src/os/steps.ts'
import { LogSync } from '../../../src/store/log/log-sync.ts'
import { Operation } from '../../../src/store/operation.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { note } from '../../fixtures/random.ts'

const isOn = process.env.PSLOCK_STRAIGHT_PATH !== 'off'

/** So long nothing can end that takes a turn of the event loop, as an fsync does. */
async function microtasks(): Promise<void> {
  for (let n = 0; n < 100; n++) await undefined
}

/** What becomes of promises, in the order in which they end. */
function watch(): { ends: string[]; of: (name: string, promise: PromiseLike<unknown>) => void } {
  const ends: string[] = []
  return {
    ends,
    of: (name, promise) =>
      void promise.then(
        () => ends.push(name),
        (error: Error) => ends.push(`${name}: ${error.name}`),
      ),
  }
}

describe('the fsyncs of a log in one process', () => {
  /** Each fsync ends when the test says so. */
  const fake = () => {
    const calls: { end: () => void; fail: (error: Error) => void }[] = []
    const syncNow = () => new Promise<void>((end, fail) => calls.push({ end, fail }))
    return { calls, sync: new LogSync({ path: '/a.db', syncNow }) }
  }

  it('serve everything that was written before they began, and nothing that came later', async () => {
    const { calls, sync } = fake()
    const { ends, of } = watch()
    of('a', sync.settle())
    of('b', sync.settle())
    of('c', sync.settle())
    await microtasks()
    assert.equal(calls.length, 1, 'one at a time')
    calls[0]?.end()
    await microtasks()
    assert.deepEqual(ends, ['a'], 'that one had begun before the others came')
    assert.equal(calls.length, 2)
    calls[1]?.end()
    await sync.idle()
    await microtasks()
    assert.deepEqual(ends, ['a', 'b', 'c'])
    assert.equal(calls.length, 2)
  })

  it('that fail refuse also what was written while they ran: the next one would not say that it is lost', async () => {
    const { calls, sync } = fake()
    const { ends, of } = watch()
    of('a', sync.settle())
    of('b', sync.settle())
    calls[0]?.fail(new Error('EIO'))
    await microtasks()
    assert.deepEqual(ends, ['a: StoreIoError', 'b: StoreIoError'])
    assert.equal(calls.length, 1)
    assert.match(String(sync.failure), /fsync of \/a\.db failed/)
    of('c', sync.settle())
    calls[1]?.end()
    await sync.idle()
    await microtasks()
    assert.equal(ends[2], 'c')
  })
})

describe("a NeDB write with durability 'disk'", () => {
  const at = useFolder()
  const text = () => readFileSync(at('a.db'), 'utf8')
  const open = async () => {
    const db = new LockedNedb({ filename: at('a.db'), autoload: true, durability: 'disk' })
    await db.autoloadPromise
    await db.insertAsync({ _id: 'first', n: 0 })
    return db
  }

  it('leaves its place to the next one while it waits for the disk', async function () {
    if (!isOn) this.skip()
    const db = await open()
    const { ends, of } = watch()
    const moment = performance.now()
    try {
      // Where calls follow each other for 4 ms the event loop has to turn, and the disk may be done.
      performance.now = () => moment
      of('insert', db.insertAsync({ n: 1 }))
      await microtasks()
      assert.match(text(), /"n":1/)
      of('update', db.updateAsync({ _id: 'first' }, { $inc: { n: 2 } }))
      await microtasks()
      assert.match(text(), /"n":2/)
      assert.deepEqual(ends, [], 'nothing is acknowledged before it is on the disk')
    } finally {
      Reflect.deleteProperty(performance, 'now')
    }
    await db.close()
    await microtasks()
    assert.deepEqual(ends, ['insert', 'update'], 'close waits for the disk')
  })

  it('is not shown to a read before it is on the disk', async () => {
    const db = await open()
    const { ends, of } = watch()
    of('insert', db.insertAsync({ _id: 'new' }))
    await microtasks()
    const read = db.findOneAsync({ _id: 'new' }).execAsync() as Promise<unknown>
    of('read', read)
    await microtasks()
    assert.deepEqual(ends, [])
    assert.deepEqual(await read, { _id: 'new' })
    assert.equal(ends[0], 'insert')
    await db.close()
  })

  it('comes before a read that is issued behind it in the same tick', async () => {
    const db = await open()
    const written = db.insertAsync({ _id: 'new' })
    assert.deepEqual(await db.findOneAsync({ _id: 'new' }), { _id: 'new' })
    await written
    await db.close()
  })

  it('fails alone, also among others of its tick', async () => {
    const db = await open()
    await db.insertAsync({ _id: 'new' })
    await assert.rejects(db.insertAsync({ _id: 'new' }), { errorType: 'uniqueViolated' })
    const all = [db.insertAsync({ _id: 'x' }), db.insertAsync({ _id: 'new' }), db.insertAsync({ _id: 'y' })]
    const ends = (await Promise.allSettled(all)).map(({ status }) => status)
    assert.deepEqual(ends, ['fulfilled', 'rejected', 'fulfilled'])
    assert.equal(await db.countAsync({}), 4)
    await db.close()
  })
})

describe("the close of a NeDB store with durability 'disk'", () => {
  const at = useFolder()

  it('waits for what is issued while the disk is waited for', async () => {
    const ends = new Set<string>()
    for (let round = 0; round < 10; round++) {
      const path = at(`close-${round}.db`)
      const db = new LockedNedb({ filename: path, autoload: true, durability: 'disk' })
      await db.insertAsync({ _id: 'first' })
      // The fsync, and what is written later, wait for a thread of the pool.
      const busy = [0, 1, 2, 3].map(() => promisify(pbkdf2)('a', 'b', 60_000, 32, 'sha512'))
      const first = db.insertAsync({ _id: 'before' })
      await turn()
      const closed = db.close().then(() => openSync(at(`other-${round}`), 'a'))
      await turn()
      const docs = Array.from({ length: 300 }, (_, n) => ({ _id: `m${n}`, pad: 'x'.repeat(1000) }))
      const during = await db.insertAsync(docs).then(
        () => 'acknowledged',
        (error: { code?: string }) => String(error.code),
      )
      await first
      closeSync(await closed)
      await Promise.all(busy)
      const count = readFileSync(path, 'utf8').split('"_id":"m').length - 1
      assert.equal(count, during === 'acknowledged' ? 300 : 0, during)
      assert.equal(statSync(at(`other-${round}`)).size, 0)
      assert.ok(['acknowledged', 'PSLOCK_CLOSED'].includes(during), during)
      ends.add(during)
    }
    note([...ends].join(', '))
  })
})

describe('a brief wait', () => {
  it('joins the queue of the processes only when it has asked often enough, however long that takes', () => {
    const operation = new Operation('exclusive', () => {}, { attempt: () => true })
    assert.equal(operation.asksFor([operation], { takenAt: 0 }), true)
    sleep(320)
    for (let n = 0; n < 40; n++) assert.equal(typeof operation.ask?.(), 'number')
    assert.equal(operation.ask?.(), undefined)
  })

  it('asks after longer pauses, and not so often, where it follows another one at once', () => {
    const longest = (takenAt: number) => {
      const operation = new Operation('exclusive', () => {}, { attempt: () => true })
      operation.asksFor([operation], { takenAt })
      let pauseMs = 0
      let questions = 0
      sleep(320)
      for (let pace = operation.ask?.(); typeof pace === 'number'; pace = operation.ask?.()) {
        pauseMs = Math.max(pauseMs, pace)
        questions++
      }
      return { pauseMs, questions }
    }
    const byItself = longest(performance.now() - 5)
    assert.equal(byItself.questions, 40)
    assert.ok(byItself.pauseMs <= 12, `${byItself.pauseMs} ms`)
    const inARow = longest(performance.now())
    assert.equal(inARow.questions, 24)
    assert.ok(inARow.pauseMs > 12 && inARow.pauseMs <= 24, `${inARow.pauseMs} ms`)
  })
})
