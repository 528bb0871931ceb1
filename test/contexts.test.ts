import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { runInNewContext } from 'node:vm'
import { LockedLow, LockedLowSync } from '../adapters/lowdb.ts'
import { LockedNedb } from '../adapters/nedb.ts'
import { PsLock } from '../src/index.ts'
import { ROOT } from './fixtures/code.ts'
import { useCrew } from './fixtures/crew.ts'
import { useFolder } from './fixtures/folder.ts'

/** Test runners give each file a context of its own (`node:vm`), with an `Error`, a `Date` and a `Promise` of its own. */
describe('other contexts', () => {
  const at = useFolder()
  const crew = useCrew()

  it('all of it works in a context of its own, where the errors of node:fs are of another', function () {
    const compiled = join(ROOT, 'build')
    if (!existsSync(join(compiled, 'adapters/nedb.js'))) {
      console.log('      skipped: run `npm run pretest` first')
      return this.skip()
    }
    const script = join(ROOT, 'test/matrix/in-context.mjs')
    const args = ['--experimental-vm-modules', script, compiled]
    const done = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 50_000 })
    assert.equal(done.status, 0, done.stdout + done.stderr)
    assert.equal(done.stdout.match(/^passed: /gm)?.length, 8, done.stdout)
  })

  it('dates of another context are dates in NeDB', async () => {
    const foreign = runInNewContext(
      '({ at: new Date(1e12), list: [{ at: new Date(2e12) }], never: new Date(NaN) })',
    )
    await using db = new LockedNedb({ filename: at('a.db'), autoload: true })
    await db.insertAsync({ _id: 'a', ...foreign })
    await db.updateAsync({ _id: 'a' }, { $set: { seen: foreign.at } })
    await using other = new LockedNedb({ filename: at('a.db'), autoload: true })
    for (const store of [db, other]) {
      const found = JSON.parse(JSON.stringify(await store.findOneAsync({ _id: 'a' })))
      assert.deepEqual(found, JSON.parse(JSON.stringify({ _id: 'a', ...foreign, seen: foreign.at })))
    }
    await db.ensureIndexAsync({ fieldName: 'at', expireAfterSeconds: 1 })
    assert.equal(await db.countAsync({}), 0, 'it has expired')
  })

  it('objects, lists and dates of another context are what they are in lowdb', async () => {
    const foreign = () => runInNewContext('({ a: { n: 1 }, list: [{ id: 1 }], at: new Date(1e12) })')
    interface Data {
      a: { n: number }
      list: { id: number }[]
      at?: Date
      mine?: number
    }
    const db = new LockedLow<Data>(at('a.json'), { a: { n: 0 }, list: [] })
    await db.read()
    db.data = foreign()
    await db.write()
    const other = new LockedLow<Data>(at('a.json'), { a: { n: 0 }, list: [] })
    await other.update((data) => void data.list.push({ id: 2 }))
    const { a, list } = db.data
    db.data.mine = 1
    await db.write()
    assert.equal(db.data.a, a, 'a container was replaced')
    assert.equal(db.data.list, list, 'a list was replaced')
    assert.deepEqual(JSON.parse(readFileSync(at('a.json'), 'utf8')), {
      ...JSON.parse(JSON.stringify(foreign())),
      list: [{ id: 1 }, { id: 2 }],
      mine: 1,
    })
    await db.close()
    await other.close()
  })

  it('promises of another context are promises, where none may be returned', () => {
    const promise = runInNewContext('Promise.reject(new Error("never seen"))')
    const db = new LockedLowSync<object>(at('a.json'), {})
    assert.throws(() => db.update(() => promise), /must not return a promise/)
    assert.throws(() => db.transaction(() => promise), /must not return a promise/)
    assert.throws(() => db.rollbackAfter(() => promise), /must not return a promise/)
  })

  /** All that the package asks of a signal. */
  class Signal extends EventTarget {
    aborted = false
    reason: unknown
    abort(reason: unknown) {
      this.aborted = true
      this.reason = reason
      this.dispatchEvent(new Event('abort'))
    }
  }

  it('a signal like an AbortSignal will do where the event loop must turn first', async () => {
    const { mustTurn } = await import('../src/lock/local-queue.ts')
    const lock = new PsLock(at('data'))
    const signal = new Signal()
    for (const begin = performance.now(); performance.now() - begin < 50 && !mustTurn(); );
    assert.ok(mustTurn())
    await lock.exclusive(() => {}, { signal: signal as unknown as AbortSignal })
    for (const begin = performance.now(); performance.now() - begin < 50 && !mustTurn(); );
    const turning = lock.exclusive(() => {}, { signal: signal as unknown as AbortSignal })
    signal.abort('enough')
    await assert.rejects(turning, (reason) => reason === 'enough')
    await lock.close()
  })

  it('a signal like an AbortSignal will do for a call that blocks', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const signal = new Signal() as unknown as AbortSignal
    const lock = new PsLock(at('data'))
    assert.throws(() => lock.exclusiveSync(() => {}, { signal, timeoutMs: 20 }), { code: 'PSLOCK_TIMEOUT' })
    await lock.close()
  })

  it('a signal need only be like an AbortSignal, and a URL like a URL', async () => {
    const lock = new PsLock(at('data'))
    using held = await lock.acquire()
    const signal = new Signal()
    const waiting = new PsLock(at('data')).exclusive(() => {}, { signal: signal as unknown as AbortSignal })
    signal.abort('enough')
    await assert.rejects(waiting, (reason) => reason === 'enough')
    for (const wrong of [null, 1, {}, { aborted: false }]) {
      await assert.rejects(
        async () => lock.exclusive(() => {}, { signal: wrong as unknown as AbortSignal }),
        TypeError,
      )
    }
    held.release()
    const { href, protocol, hostname, pathname, search, hash } = new URL(`file://${at('b.json')}`)
    const url = { href, protocol, hostname, pathname, search, hash } as URL
    const db = new LockedLow(url, { n: 0 })
    await db.update((data) => void data.n++)
    assert.equal(JSON.parse(readFileSync(at('b.json'), 'utf8')).n, 1)
    await db.close()
    await lock.close()
  })
})
