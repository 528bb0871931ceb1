import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { LockedNedb } from '../../adapters/nedb.ts'
import { heldBy } from '../../cli/run/held-by.ts'
import { statusText } from '../../cli/status/status.ts'
import { LockTimeoutError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { hasRangeLocks } from '../../src/os/range-lock.ts'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'

async function timeoutOf(promise: Promise<unknown>): Promise<LockTimeoutError> {
  const error = await promise.then(
    () => assert.fail('it got the lock'),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof LockTimeoutError, String(error))
  return error
}

/** Where a wait cannot end, it is said why. */
describe('what is said of a hold that does not go on', () => {
  const crew = useCrew()
  const at = useFolder()

  /** Jobs that are run by somebody who was there before: no part of the hold that they are asked for in. */
  const jobs: (() => unknown)[] = []
  let worker: NodeJS.Timeout
  before(() => {
    worker = setInterval(() => jobs.shift()?.(), 5)
  })
  after(() => clearInterval(worker))
  const inQueue = (job: () => Promise<unknown>) =>
    new Promise((resolve, reject) => jobs.push(() => job().then(resolve, reject)))

  async function stop(mate: LockProcess): Promise<void> {
    await mate.signal('SIGSTOP')
    await until('it is stopped', () => /\) T /.test(readFileSync(`/proc/${mate.pid}/stat`, 'utf8')))
  }

  describe('of a process that is stopped', () => {
    before(function () {
      if (process.platform !== 'linux') this.skip()
    })

    for (const mode of ['exclusive', 'shared'] as const) {
      it(`${mode}: holders() and the timeout error say so, and only as long as it is`, async () => {
        const mate = await crew.process()
        await mate.call('acquire', at('data'), { mode })
        const lock = new PsLock(at('data'))
        assert.ok(!('stopped' in lock.holders()[0]!))
        await stop(mate)
        const holders = lock.holders()
        assert.deepEqual(
          holders.map(({ pid, stopped }) => [pid, stopped]),
          [[mate.pid, true]],
        )
        const { message, holders: told } = await timeoutOf(lock.acquire({ timeoutMs: 60 }))
        assert.match(message, new RegExp(`Held by ${mate.pid} \\(.*\\).*, stopped .*kill -CONT`))
        assert.equal(told[0]?.stopped, true)
        assert.match(heldBy(holders)!, /, stopped$/)
        const shown = { lock: lock.path, exists: true, held: true, holders }
        assert.match(statusText(shown), /holding, stopped/)
        await mate.signal('SIGCONT')
        await until('it goes on', () => lock.holders().every((holder) => !('stopped' in holder)))
        await mate.call('release')
      })
    }

    it('one that waits', async () => {
      const lock = new PsLock(at('data'))
      const held = await lock.acquire()
      const mate = await crew.process()
      void mate.call('acquire', at('data'))
      const waiter = () => lock.holders().find(({ state }) => state === 'waiting')
      await until('it waits', waiter)
      await stop(mate)
      assert.deepEqual([waiter()?.pid, waiter()?.stopped], [mate.pid, true])
      held.release()
    })

    it('of a LockTree', async function () {
      if (!hasRangeLocks) this.skip()
      const mate = await crew.process()
      await mate.call('treeAcquire', at('db'), 'app/orders')
      await stop(mate)
      const tree = new LockTree(at('db'))
      assert.equal(tree.holders()[0]?.stopped, true)
      const { message } = await timeoutOf(tree.acquire('app', { timeoutMs: 60 }))
      assert.match(message, new RegExp(`pid ${mate.pid} .*, stopped `))
    })
  })

  describe('of this very process', () => {
    it("a hold behind a queue of jobs that waits for itself: every form of the hold's and of the wait", async () => {
      const lock = new PsLock(at('data'))
      const wait = { timeoutMs: 60 }
      await lock.exclusive(async () => {
        for (const job of [
          () => lock.exclusive(() => {}, wait),
          () => lock.shared(() => {}, wait),
          () => lock.acquire(wait),
          () => new PsLock(at('data')).exclusive(() => {}, wait),
        ]) {
          const { message } = await timeoutOf(inQueue(job))
          assert.match(
            message,
            new RegExp(`Held by this very process, ${process.pid} .*waits for this very call`),
          )
        }
      })
    })

    it('an operation of a store that waits for the transaction it is asked in', async () => {
      await using db = new LockedNedb({ filename: at('db'), autoload: true })
      await using other = new LockedNedb({ filename: at('db'), autoload: true, timeoutMs: 100 })
      await other.countAsync({})
      await db.lock.exclusive(async () => {
        const { message } = await timeoutOf(inQueue(() => other.insertAsync({})))
        assert.match(message, /this very process/)
      })
    })

    it('of a LockTree', async function () {
      if (!hasRangeLocks) this.skip()
      const tree = new LockTree(at('db'))
      const held = await tree.acquire('app')
      const { message } = await timeoutOf(tree.acquire('app/orders', { timeoutMs: 60 }))
      assert.match(message, new RegExp(`pid ${process.pid}, this very process`))
      held.release()
    })
  })
})
