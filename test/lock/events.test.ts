import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LockEvent } from '../../src/lock/hold.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

const KINDS = ['wait', 'acquire', 'release', 'timeout', 'abort'] as const

/** The channels of node:diagnostics_channel, for metrics and logs. */
describe('events', () => {
  const crew = useCrew()
  const at = useFolder()
  let seen: [string, LockEvent][] = []
  const listeners = KINDS.map((kind) => {
    const listener = (event: unknown) => void seen.push([kind, event as LockEvent])
    return { name: `pslock:${kind}`, listener }
  })

  beforeEach(() => {
    seen = []
    for (const { name, listener } of listeners) subscribe(name, listener)
  })
  afterEach(() => {
    for (const { name, listener } of listeners) unsubscribe(name, listener)
  })

  it('a free lock is acquired without a wait, and released after the time it was held', async () => {
    await new PsLock(at('data')).shared(() => sleep(30))
    const [acquired, released] = seen.map(([, event]) => event)
    assert.deepEqual(
      seen.map(([kind]) => kind),
      ['acquire', 'release'],
    )
    assert.deepEqual(acquired, { path: at('data.lock'), mode: 'shared', waitedMs: 0, nested: false })
    assert.ok(released?.heldMs !== undefined && released.heldMs >= 25, String(released?.heldMs))
  })

  it('a wait is told when it begins, and its length when it ends', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const waiting = lock.acquire()
    assert.deepEqual(
      seen.map(([kind]) => kind),
      ['wait'],
    )
    await sleep(40)
    await mate.call('release')
    const held = await waiting
    held.release()
    const [, [, acquired]] = seen as [unknown, [string, LockEvent]]
    assert.ok(acquired.waitedMs !== undefined && acquired.waitedMs >= 30, String(acquired.waitedMs))
    assert.deepEqual(
      seen.map(([kind]) => kind),
      ['wait', 'acquire', 'release'],
    )
  })

  it('a timeout and an abort are told apart, in the blocking form too', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const abort = new AbortController()
    const aborted = lock.exclusive(() => {}, { signal: abort.signal })
    abort.abort()
    await assert.rejects(aborted)
    await assert.rejects(lock.exclusive(() => {}, { timeoutMs: 20 }))
    assert.throws(() => lock.exclusiveSync(() => {}, { timeoutMs: 20 }))
    assert.deepEqual(
      seen.map(([kind]) => kind),
      ['wait', 'abort', 'wait', 'timeout', 'wait', 'timeout'],
    )
    for (const [kind, { waitedMs }] of seen)
      if (kind === 'timeout') assert.ok(waitedMs !== undefined && waitedMs >= 19)
  })

  it('a hold inside a hold is nested', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => lock.exclusive(() => {}))
    assert.deepEqual(
      seen.map(([kind, { nested }]) => [kind, nested]),
      [
        ['acquire', false],
        ['acquire', true],
        ['release', true],
        ['release', false],
      ],
    )
  })

  it('a listener does not run inside the hold that it is called for', async () => {
    const lock = new PsLock(at('data'))
    let outcome: unknown
    const listener = () => {
      outcome = lock.tryAcquire()
      try {
        lock.exclusiveSync(() => {})
      } catch (error) {
        outcome = (error as { code: string }).code
      }
    }
    subscribe('pslock:acquire', listener)
    await lock.exclusive(() => {})
    unsubscribe('pslock:acquire', listener)
    assert.equal(outcome, 'PSLOCK_DEADLOCK')
  })
})
