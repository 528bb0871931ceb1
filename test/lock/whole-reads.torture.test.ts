import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'

/**
 * A file that is read, checked and rewritten in place, piece by piece, by many: its content proves by itself that it is
 * of one writer. Exclusive writers and shared readers must never see it otherwise.
 */
describe('a file rewritten in pieces', () => {
  const crew = useCrew()
  const at = useFolder()

  interface Totals {
    reads: number
    writes: number
    torn: number
  }

  async function transform(locked: boolean, seed: number): Promise<Totals> {
    writeFileSync(at('data'), '')
    const mates = await crew.processes(5)
    const results = await Promise.all(
      mates.map((mate, i) =>
        mate.call('transform', at('data'), { times: 60, tasks: 2, locked, seed: seed + i }),
      ),
    )
    const total = { reads: 0, writes: 0, torn: 0 }
    for (const { reads, writes, torn } of results) {
      total.reads += reads
      total.writes += writes
      total.torn += torn
    }
    note(`seed ${seed}: ${total.writes} writes, ${total.reads} reads, ${total.torn} torn`)
    return total
  }

  it('is whole to everybody who takes the lock', async () => {
    const { reads, writes, torn } = await transform(true, newSeed())
    assert.equal(torn, 0)
    assert.equal(reads, 600)
    assert.ok(writes > 150 && writes < 450, 'readers and writers are mixed')
  })

  it('is torn to those who do not: this test can fail', async () => {
    const { torn } = await transform(false, newSeed())
    assert.ok(torn > 10, `only ${torn} torn reads`)
  })
})
