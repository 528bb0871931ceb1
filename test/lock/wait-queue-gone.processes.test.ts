import assert from 'node:assert/strict'
import { PsLock } from '../../src/lock/lock.ts'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsThere } from '../fixtures/must-block.ts'

/** Who waits behind others does not suffer for them: no wait ends in vain while nobody holds the lock. */
describe('a line whose first ones are gone', () => {
  const crew = useCrew()
  const at = useFolder()

  /** A holder, some who wait behind it in this order, and one who waits last, for so long. */
  async function line(ahead: number, command: 'acquire' | 'acquireSync', timeoutMs: number) {
    const [holder, ...waiting] = (await crew.processes(ahead + 1)) as [LockProcess, ...LockProcess[]]
    const last = await crew.process()
    await holder.call('acquire', at('data'))
    for (const mate of waiting) {
      const wait = mate.call('acquire', at('data'), { timeoutMs: 60_000 })
      await mustBlock('one ahead', wait, { seen: waitsThere(mate, at('data')) })
    }
    const wait = last.call(command, at('data'), { timeoutMs })
    const lock = new PsLock(at('data'))
    const waiters = () => lock.holders().filter(({ state }) => state === 'waiting').length
    await until('the last one waits', () => waiters() === ahead + 1)
    return { holder, waiting, wait }
  }

  for (const command of ['acquire', 'acquireSync'] as const) {
    for (const [signal, release] of [
      ['SIGKILL', (holder: LockProcess) => holder.child.kill('SIGKILL')],
      ['SIGSTOP', (holder: LockProcess) => holder.call('release')],
    ] as const) {
      it(`${command} behind three that met ${signal} is granted within its time, once the holder is gone`, async () => {
        const { holder, waiting, wait } = await line(3, command, 700)
        // All at once: the time of the last one runs.
        for (const mate of waiting) mate.child.kill(signal)
        await release(holder)
        assert.equal(
          await wait.then(
            () => 'granted',
            (error) => error.message,
          ),
          'granted',
        )
      })
    }
  }
})
