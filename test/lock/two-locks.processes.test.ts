import assert from 'node:assert/strict'
import { PsLock } from '../../src/lock/lock.ts'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsThere } from '../fixtures/must-block.ts'

/** Locks of several files: what crosses but is no deadlock goes through, and what is one ends by the timeout. */
describe('locks of two files', () => {
  const crew = useCrew()
  const at = useFolder()

  it('waits that cross between processes, but not between tasks, are no deadlock', async () => {
    // POSIX locks refuse this with EDEADLK, for they look at processes: one task of P holds A while another waits for B,
    // and one task of Q holds B and waits for A.
    const [p, q] = (await crew.processes(2)) as [LockProcess, LockProcess]
    await p.call('acquire', at('a'), { as: 'a' })
    await q.call('acquire', at('b'), { as: 'b' })
    const qWaitsForA = q.call('acquire', at('a'), { as: 'a' })
    const toA = await mustBlock('Q', qWaitsForA, { seen: waitsThere(q, at('a')) })
    const pWaitsForB = p.call('acquire', at('b'), { as: 'b' })
    const toB = await mustBlock('P', pWaitsForB, { seen: waitsThere(p, at('b')) })
    await toA.unblock(() => p.call('release', 'a'))
    await toB.unblock(() => q.call('release', 'b'))
    await Promise.all([p.call('release', 'b'), q.call('release', 'a')])
    for (const name of ['a', 'b']) new PsLock(at(name)).tryAcquire()!.release()
  })

  it('two processes that take two locks in opposite order: the one that gives up first lets the other through', async () => {
    const [p, q] = (await crew.processes(2)) as [LockProcess, LockProcess]
    await p.call('acquire', at('a'), { as: 'a' })
    await q.call('acquire', at('b'), { as: 'b' })
    const patient = q.call('acquire', at('a'), { as: 'a', timeoutMs: 60_000 })
    const blocked = await mustBlock('the patient one', patient, { seen: waitsThere(q, at('a')) })
    await assert.rejects(p.call('acquire', at('b'), { as: 'b', timeoutMs: 100 }), (error) => {
      const { code, holders } = error as Error & { code: string; holders: { pid: number; state: string }[] }
      return (
        code === 'PSLOCK_TIMEOUT' && holders.some(({ pid, state }) => pid === q.pid && state === 'holding')
      )
    })
    await blocked.unblock(() => p.call('release', 'a'))
  })

  it('many locks at once, in one order everywhere, never stand still', async () => {
    const names = Array.from({ length: 8 }, (_, i) => at(`file-${i}`))
    let inside = 0
    let most = 0
    const takeAll = (left: string[]): Promise<unknown> => {
      const [first, ...others] = left
      if (first) return new PsLock(first).exclusive(() => takeAll(others))
      most = Math.max(most, ++inside)
      return new Promise(setImmediate).then(() => inside--)
    }
    await Promise.all(Array.from({ length: 20 }, () => takeAll(names)))
    assert.equal(most, 1)
    for (const name of names) new PsLock(name).tryAcquire()!.release()
  })
})
