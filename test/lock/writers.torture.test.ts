import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { note } from '../fixtures/random.ts'

/** Law 8: a waiting writer is not overtaken for ever by readers. */
describe('writers among readers', () => {
  const crew = useCrew()
  const at = useFolder()

  it('a writer gets in while five processes read again and again, 10 ms each', async () => {
    const readers = await crew.processes(5)
    const reading = readers.map((mate) =>
      mate.call('contend', at('data'), { forMs: 4000, holdMs: 10, mode: 'shared' }),
    )
    await sleep(300)
    const lock = new PsLock(at('data'), { timeoutMs: 3500 })
    const waits: number[] = []
    for (let i = 0; i < 8 && waits.reduce((sum, ms) => sum + ms, 0) < 2500; i++) {
      const asked = performance.now()
      await lock.exclusive(() => waits.push(performance.now() - asked))
      await sleep(30)
    }
    const sections = (await Promise.all(reading)).map(({ turns }) => turns)
    note(
      `the writer waited ${waits.map((ms) => ms.toFixed(0)).join(', ')} ms; readers read ${sections.join(', ')} times`,
    )
    waits.sort((a, b) => a - b)
    assert.ok(Math.max(...waits) < 2000, 'overtaken by readers for seconds')
    assert.ok(waits[waits.length >> 1]! < 500, 'half of its waits were longer than 50 reads')
    assert.ok(Math.min(...sections) > 20, 'the readers did contend')
  })

  it('a writer gets in past the readers of its own process and of others', async () => {
    const reader = await crew.process()
    const busy = Array.from({ length: 10 }, () =>
      reader.call('contend', at('data'), { forMs: 1500, holdMs: 5, mode: 'shared' }),
    )
    await sleep(50)
    const result = await reader.call('contend', at('data'), { forMs: 700, holdMs: 1 })
    const lock = new PsLock(at('data'), { timeoutMs: 3000 })
    await lock.exclusive(() => {})
    await Promise.all(busy)
    note(
      `the writer beside ten reading tasks: ${result.turns} turns, longest ${result.longestMs.toFixed(0)} ms`,
    )
    assert.ok(result.turns >= 5)
  })
})
