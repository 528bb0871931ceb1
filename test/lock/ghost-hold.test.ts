import assert from 'node:assert/strict'
import { renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { LockLostError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere } from '../fixtures/must-block.ts'

/** Who holds a lock file that was deleted or replaced holds a ghost. It ends with that hold: nobody new is let into it. */
describe('a shared hold on a lock file that the path has left', () => {
  const crew = useCrew()
  const at = useFolder()

  const losses: [string, () => void][] = [
    ['deleted', () => unlinkSync(at('data.lock'))],
    [
      'replaced',
      () => {
        writeFileSync(at('new'), '')
        renameSync(at('new'), at('data.lock'))
      },
    ],
  ]

  for (const [what, lose] of losses) {
    it(`${what}: readers that come later exclude, and wait for, who holds the present file`, async () => {
      const mate = await crew.process()
      const lock = new PsLock(at('data'))
      const ghost = await lock.acquire({ mode: 'shared' })
      lose()
      await mate.call('acquire', at('data'))
      assert.equal(lock.tryAcquire({ mode: 'shared' }), undefined)
      const wait = lock.shared(() => 'in')
      const blocked = await mustBlock('a reader', wait, { seen: waitsHere(lock) })
      assert.throws(() => ghost.release(), LockLostError)
      const later = await mustBlock('the reader, after the ghost is gone', wait, { seen: waitsHere(lock) })
      blocked.stillBlocked()
      assert.equal(await later.unblock(() => mate.call('release')), 'in')
    })

    it(`${what}: who is inside may still re-enter`, async () => {
      const lock = new PsLock(at('data'))
      let inner: string | undefined
      const outer = lock.shared(async () => {
        lose()
        await assert.rejects(
          lock.shared(() => {
            inner = 'inside'
          }),
          LockLostError,
        )
      })
      await assert.rejects(outer, LockLostError)
      assert.equal(inner, 'inside')
      lock.tryAcquire()!.release()
    })
  }
})
