import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  LockedJSONFilePreset,
  LockedJSONFileSyncPreset,
  LockedLow,
  LockedLowSync,
} from '../../../adapters/lowdb.ts'
import { ClosedError, LockDeadlockError, LockTimeoutError, LockUpgradeError } from '../../../src/errors.ts'
import { PsLock } from '../../../src/lock/lock.ts'
import { staysPending, useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, runScript, untouched } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  [key: string]: unknown
}

const increment = (data: Data) => void data.n++

describe('lowdb stores and their lock', () => {
  const at = useFolder()
  const open = (options = {}) => LockedJSONFilePreset<Data>(at('db.json'), { n: 0 }, options)
  const openSync = (options = {}) => LockedJSONFileSyncPreset<Data>(at('db.json'), { n: 0 }, options)

  it('calls inside lock.exclusive join it: several operations, nobody between them', async () => {
    const db = await open({ timeoutMs: 2000 })
    const other = await open()
    await db.lock.exclusive(async () => {
      await db.update(increment)
      assert.equal(fileOf(at('db.json')).n, 1, 'each one is in the file when it resolves')
      db.data.bare = true
      await db.write()
      await db.read()
      openSync().update(increment)
    })
    await other.update(increment)
    assert.deepEqual(fileOf(at('db.json')), { n: 3, bare: true })
  })

  it('while one holds lock.exclusive the stores of others wait', async () => {
    const db = await open()
    const other = await open()
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const holding = db.lock.exclusive(() => gate)
    const waiting = other.update(increment)
    assert.ok(await staysPending(waiting))
    release()
    await holding
    await waiting
    assert.equal(fileOf(at('db.json')).n, 1)
  })

  it('siblings inside one lock.exclusive lose nothing', async () => {
    const db = await open()
    const other = await open()
    await db.lock.exclusive(() =>
      Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? db : other).update(increment))),
    )
    assert.equal(fileOf(at('db.json')).n, 20)
  })

  it('reading inside lock.shared is fine; writing there is a LockUpgradeError at once, and nothing is written', async () => {
    const db = await open()
    await db.update(increment)
    for (const run of [() => db.update(increment), () => db.write(), () => openSync().update(increment)]) {
      const error = await untouched(at('db.json'), () => failing(() => db.lock.shared(run)))
      assert.ok(error instanceof LockUpgradeError, `${error}`)
      assert.equal(db.data.n, 1)
    }
    await db.lock.shared(() => db.read())
    const sync = openSync()
    assert.throws(() => sync.lock.sharedSync(() => sync.write()), LockUpgradeError)
    await db.update(increment)
    assert.equal(fileOf(at('db.json')).n, 2)
  })

  it('a sync store beside an async hold of the same process is a LockDeadlockError at once', async () => {
    const db = await open()
    const sync = openSync()
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const updating = db.update(async (data) => {
      await gate
      data.n++
    })
    await sleep(10)
    for (const run of [() => sync.read(), () => sync.write(), () => sync.update(increment)]) {
      assert.throws(run, LockDeadlockError)
    }
    release()
    await updating
    sync.update(increment)
    assert.equal(fileOf(at('db.json')).n, 2)
  })

  it('when the lock is not free in time it is a LockTimeoutError that names the holder, and nothing has changed', async () => {
    const db = await open({ timeoutMs: 60 })
    const held = await new PsLock(at('db.json')).acquire()
    db.data.mine = 1
    for (const run of [() => db.update(increment), () => db.write(), () => db.read()]) {
      const error = (await failing(run)) as Error as LockTimeoutError
      assert.ok(error instanceof LockTimeoutError, `${error}`)
      assert.equal(error.holders[0]?.pid, process.pid)
    }
    assert.deepEqual(db.data, { n: 0, mine: 1 })
    assert.ok(!existsSync(at('db.json')))
    held.release()
    await db.update(increment)
    assert.deepEqual(fileOf(at('db.json')), { n: 1, mine: 1 })
  })

  it('a sync store gives up in time as well', async () => {
    const db = openSync({ timeoutMs: 60 })
    const held = new PsLock(at('db.json')).acquireSync()
    assert.throws(
      () => db.update(increment),
      (error: Error) => error instanceof LockTimeoutError || error instanceof LockDeadlockError,
    )
    held.release()
    db.update(increment)
    assert.equal(db.data.n, 1)
  })

  it('close() waits for what was issued, then everything is a ClosedError; data stays readable', async () => {
    const db = await open()
    const issued = Array.from({ length: 5 }, () => db.update(increment))
    await db.close()
    await Promise.all(issued)
    assert.equal(fileOf(at('db.json')).n, 5)
    for (const run of [() => db.read(), () => db.write(), () => db.update(increment)]) {
      assert.ok((await untouched(at('db.json'), () => failing(run))) instanceof ClosedError)
    }
    assert.equal(db.data.n, 5)
    await db.close()
    await db[Symbol.asyncDispose]()
  })

  it('a closed sync store throws ClosedError, and other stores of the file go on', async () => {
    const sync = openSync()
    const db = await open()
    sync.update(increment)
    await sync.close()
    for (const run of [() => sync.read(), () => sync.write(), () => sync.update(increment)]) {
      assert.throws(run, ClosedError)
    }
    await db.update(increment)
    assert.equal(fileOf(at('db.json')).n, 2)
  })

  it('an idle store does not keep the process alive', () => {
    const { code, signal, err } = runScript('lowdb-script', ['idle', at('db.json')])
    assert.deepEqual([code, signal, err], [0, null, ''])
    assert.equal(fileOf(at('db.json')).n, 2)
  })

  it('an update that nobody waits for is written before the process ends by itself', () => {
    const { code, err } = runScript('lowdb-script', ['forgotten', at('db.json')])
    assert.deepEqual([code, err], [0, ''])
    assert.equal(fileOf(at('db.json')).n, 1)
  })

  it('lockPath puts the lock elsewhere; stores with the same one exclude each other', async () => {
    const options = { lockPath: at('elsewhere.lock') }
    const [a, b] = [await open(options), new LockedLow<Data>(at('db.json'), { n: 0 }, options)]
    await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? a : b).update(increment)))
    assert.equal(fileOf(at('db.json')).n, 20)
    assert.ok(existsSync(at('elsewhere.lock')) && !existsSync(at('db.json.lock')))
  })

  it('wrong options are TypeErrors that show the value', () => {
    for (const options of [
      { durability: 'disc' },
      { timeoutMs: -1 },
      { timeoutMs: '5' },
      { lockPath: '' },
      { lockPath: 7 },
    ]) {
      const shown = new RegExp(String(Object.values(options)[0]) || '""')
      for (const Store of [LockedLow, LockedLowSync]) {
        assert.throws(
          () => new Store(at('db.json'), {}, options as never),
          (error: Error) => error instanceof TypeError && shown.test(error.message),
          JSON.stringify(options),
        )
      }
    }
  })
})
