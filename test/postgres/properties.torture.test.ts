import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { readNedb } from '../../cli/stress/contents/nedb.ts'
import { Findings } from '../../cli/stress/findings.ts'
import { Ledger, readLedger } from '../../cli/stress/ledger.ts'
import { checkLinearizability } from '../../cli/stress/linearizability/check.ts'
import { planOf } from '../../cli/stress/plan.ts'
import { open as openSubject } from '../../cli/stress/stores/nedb.ts'
import type { Subject } from '../../cli/stress/stores/subject.ts'
import { useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'
import { step } from '../properties/nedb/generators.ts'
import { testInterleavings } from '../properties/nedb/interleavings.ts'
import { requireLikeModel, script, vanillaState } from '../properties/nedb/sequence.ts'
import { holds } from '../properties/runs.ts'
import { rowsOf, useServerStores } from './server-stores.ts'

/** A worker of the stress test. */
const subjectOn = (url: string, worker: number): Promise<Subject> =>
  openSubject({
    path: url,
    url,
    worker,
    unlocked: false,
    sliceMs: undefined,
    durability: 'disk',
    chaos: { compactionsPerSecond: 0 },
  })

describe('a NeDB store on a server', () => {
  const place = useServerStores()
  const at = useFolder()

  /** Its rows as a file for the unmodified library. */
  async function fileOf(path: string): Promise<string> {
    const rows = await rowsOf(place.server(), path)
    writeFileSync(at('rows.db'), rows.map(({ line }) => `${line}\n`).join(''))
    return at('rows.db')
  }
  const stateAt = async (path: string) => vanillaState(await fileOf(path))

  it('does in random sequences of calls what NeDB in memory does', async function () {
    this.timeout(10 * 60_000)
    let cases = 0
    await holds(
      fc.array(step, { minLength: 1, maxLength: 20 }),
      async (steps) => void (await requireLikeModel(steps, { filename: place.path(`${++cases}`) }, stateAt)),
      { name: 'NeDB on a server, sequences of calls', runs: 60, script },
    )
  })

  testInterleavings(place.path, stateAt, 25)

  it('is linearizable', async () => {
    const seed = newSeed()
    const path = place.path('stress')
    const subjects = await Promise.all(
      [0, 1, 2, 3].map(async (worker) => ({
        worker,
        ledger: new Ledger(at(`ledger-${worker}`)),
        operations: planOf(worker, { seed, store: 'nedb', ops: 150 }),
        subject: await subjectOn(path, worker),
      })),
    )
    await Promise.all(
      subjects.map(async ({ operations, ledger, subject }) => {
        for (const [index, operation] of operations.entries()) {
          ledger.intend(index, operation)
          ledger.answered(index, await subject.perform(operation))
        }
        await subject.close()
        ledger.close()
      }),
    )
    const histories = subjects.map(({ worker }) => ({
      worker,
      entries: readLedger(at(`ledger-${worker}`)),
      ended: 'finished' as const,
    }))
    const findings = new Findings()
    const checked = checkLinearizability(histories, await readNedb(await fileOf(path)), findings)
    note(`seed ${seed}: ${checked.operations} operations on ${checked.histories} keys`)
    assert.deepEqual(
      findings.first.map(({ message }) => message),
      [],
    )
    assert.ok(checked.operations > 100 && checked.undecided === 0, JSON.stringify(checked))
  })
})
