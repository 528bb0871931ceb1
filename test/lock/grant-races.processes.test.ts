import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LockMode } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

/** A wait that is given up in the very moment of the grant ends one way: with the lock, or without it and the lock free. */
describe('giving up a wait while it is granted', () => {
  const crew = useCrew()
  const at = useFolder()

  it('abort and release in one tick, in either order: the lock is the waiter’s, or free', async () => {
    const seed = newSeed()
    const next = random(seed)
    const lock = new PsLock(at('data'))
    const outcomes = { granted: 0, aborted: 0 }
    for (let i = 0; i < 500; i++) {
      const mode: LockMode = next() < 0.5 ? 'exclusive' : 'shared'
      const held = await lock.acquire()
      const controller = new AbortController()
      const wait = lock.acquire({ mode, signal: controller.signal })
      const behind = next() < 0.3 ? lock.acquire({ timeoutMs: 10_000 }) : undefined
      const acts = [() => held.release(), () => controller.abort()]
      if (next() < 0.5) acts.reverse()
      acts[0]!()
      for (let turns = Math.floor(next() * 3); turns > 0; turns--) await null
      acts[1]!()
      await wait.then(
        (got) => {
          outcomes.granted++
          got.release()
        },
        (error) => {
          outcomes.aborted++
          assert.equal(error.name, 'AbortError')
        },
      )
      ;(await behind)?.release()
      const free = lock.tryAcquire()
      assert.ok(free, `round ${i} of seed ${seed} left a hold behind`)
      free.release()
    }
    note(`seed ${seed}: ${outcomes.granted} granted, ${outcomes.aborted} aborted`)
    assert.ok(outcomes.granted > 50 && outcomes.aborted > 50, 'both happen')
  })

  for (const form of ['abort', 'timeout'] as const) {
    it(`${form} about the time when another process releases: the lock is the waiter’s, or free`, async () => {
      const seed = newSeed()
      const next = random(seed)
      const [holder, witness] = await crew.processes(2)
      const lock = new PsLock(at('data'))
      const outcomes = { granted: 0, refused: 0 }
      for (let i = 0; i < 120; i++) {
        await holder!.call('acquire', at('data'))
        const released = holder!.call('releaseAfterSpin', Math.floor(next() * 6))
        const ms = Math.floor(next() * 12) + 1
        const patience = form === 'timeout' ? { timeoutMs: ms } : { signal: AbortSignal.timeout(ms) }
        const granted = await lock
          .exclusive(() => true, patience)
          .catch((error) => {
            assert.match(`${error.code} ${error.name}`, /PSLOCK_TIMEOUT|TimeoutError/)
            return false
          })
        outcomes[granted ? 'granted' : 'refused']++
        await released
        // The holder may still spin; then it is the only one that keeps the witness waiting.
        await witness!.call('acquire', at('data'), { timeoutMs: 10_000 })
        await witness!.call('release')
      }
      note(`seed ${seed}: ${outcomes.granted} granted, ${outcomes.refused} refused`)
      assert.ok(outcomes.granted > 0 && outcomes.refused > 0, 'both happen')
      lock.tryAcquire()!.release()
    })
  }

  it('a crowd of waits of which most give up serves the rest, in order', async () => {
    const seed = newSeed()
    const next = random(seed)
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const served: number[] = []
    const waits = Array.from({ length: 400 }, (_, i) => {
      const stays = next() < 0.1
      const patience = stays
        ? { timeoutMs: 20_000 }
        : next() < 0.5
          ? { timeoutMs: 1 + next() * 60 }
          : { signal: AbortSignal.timeout(1 + Math.floor(next() * 60)) }
      const wait = lock.exclusive(() => served.push(i), patience)
      return wait.then(
        () => undefined,
        (error) => {
          assert.ok(!stays, `${error}`)
        },
      )
    })
    await sleep(40)
    await mate.call('release')
    await Promise.all(waits)
    note(`seed ${seed}: ${served.length} of ${waits.length} served`)
    assert.ok(served.length > 20 && served.length < 400)
    assert.deepEqual(
      served,
      served.toSorted((a, b) => a - b),
    )
    lock.tryAcquire()!.release()
  })
})
