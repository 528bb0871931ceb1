import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LockHolder } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'

const UNSHARE = ['--pid', '--fork', '--kill-child', '--mount-proc']

/** A container has pids of its own: what they mean elsewhere is unknown, and never guessed. */
describe('a lock shared with a container', () => {
  const crew = useCrew()
  const at = useFolder()
  const container = () =>
    crew.process({ execPath: 'unshare', execArgv: [...UNSHARE, process.execPath, ...process.execArgv] })
  const seen = (holders: LockHolder[]) => holders.map(({ pid, mode, state }) => ({ pid, mode, state }))

  before(function () {
    if (spawnSync('unshare', [...UNSHARE, 'true']).status === 0) return
    process.stdout.write('        skipped: no new pid namespace can be made here (Linux, and root)\n')
    this.skip()
  })

  it('excludes, hands over, and frees after kill -9, both ways', async () => {
    const inside = await container()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    assert.equal(await inside.call('tryAcquire', at('data')), false)
    const waiting = inside.call('acquire', at('data'))
    await until('it waits', () => lock.holders().length === 2)
    held.release()
    await waiting
    assert.equal(lock.tryAcquire(), undefined)
    await inside.signal('SIGKILL')
    ;(await lock.acquire()).release()
  })

  it('a waiter inside is seen outside without a pid, a holder inside with the pid it has here', async () => {
    const inside = await container()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const waiting = inside.call('acquire', at('data'))
    await until('it waits', () => lock.holders().length === 2)
    assert.deepEqual(seen(lock.holders()), [
      { pid: process.pid, mode: 'exclusive', state: 'holding' },
      { pid: undefined, mode: 'exclusive', state: 'waiting' },
    ])
    held.release()
    await waiting
    const [holder] = lock.holders()
    assert.match(holder?.command ?? '', /lock-worker/)
    assert.notEqual(holder?.pid, 1)
  })

  it('a holder outside is seen inside as somebody unknown, by its note; and no more once it has let go', async () => {
    const inside = await container()
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    let holders: LockHolder[] = []
    for (let i = 0; i < 500 && holders.length === 0; i++) {
      await sleep(10)
      holders = await inside.call('holders', at('data'))
    }
    assert.deepEqual(seen(holders), [{ pid: undefined, mode: 'exclusive', state: 'holding' }])
    await assert.rejects(
      inside.call('acquire', at('data'), { timeoutMs: 30 }),
      /Held by a process that cannot be seen from here/,
    )
    held.release()
    assert.deepEqual(await inside.call('holders', at('data')), [])
  })
})
