import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { LockedNedb } from '../../adapters/nedb.ts'
import { readNedb } from '../../cli/stress/contents/nedb.ts'
import { Findings } from '../../cli/stress/findings.ts'
import { Ledger, readLedger } from '../../cli/stress/ledger.ts'
import { checkLinearizability } from '../../cli/stress/linearizability/check.ts'
import { planOf } from '../../cli/stress/plan.ts'
import { documentSubject } from '../../cli/stress/stores/documents.ts'
import type { Subject } from '../../cli/stress/stores/subject.ts'
import { useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'
import { step } from '../properties/nedb/generators.ts'
import { testInterleavings } from '../properties/nedb/interleavings.ts'
import { requireLikeModel, script, vanillaState } from '../properties/nedb/sequence.ts'
import { holds } from '../properties/runs.ts'
import { rowsOf, useServerStores } from './server-stores.ts'

/** A worker of the stress test, as cli/stress/stores/nedb.ts has it. */
async function subjectOn(path: string, worker: number): Promise<Subject> {
  const db = new LockedNedb({ url: path, autoload: true })
  await db.ensureIndexAsync({ fieldName: 'key', unique: true, sparse: true })
  return documentSubject(
    {
      insert: (docs) => db.insertAsync(docs as Record<string, unknown>),
      update: async (query, change) => (await db.updateAsync(query, change, {})).numAffected,
      increment: async (_id) => {
        const how = { upsert: true, returnUpdatedDocs: true } as const
        const { affectedDocuments } = await db.updateAsync({ _id }, { $inc: { value: 1 } }, how)
        return Number((affectedDocuments as Record<string, unknown> | null)?.value)
      },
      remove: (query) => db.removeAsync(query, {}),
      find: (query) => db.findAsync(query),
      findOne: (query) => db.findOneAsync(query),
      count: (query) => db.countAsync(query),
      set: (_id, value) => db.updateAsync({ _id }, { $set: { value } }, { upsert: true }),
      compact: () => db.compactDatafileAsync(),
      close: () => db.close(),
    },
    {
      path,
      worker,
      database: db,
    },
  )
}

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
