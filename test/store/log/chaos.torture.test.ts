import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { fixture } from '../../fixtures/code.ts'
import {
  type Doc,
  handovers,
  seeded,
  seedOfRun,
  seenByVanilla,
  sorted,
  temporaryFolder,
  warnings,
} from '../../fixtures/nedb-tools.ts'

type Change = Record<string, number | null>
type Note = ['begin' | 'done', 'put' | 'inc', Change] | ['wrong', ...unknown[]]

const WORKERS = 8
const OPERATIONS = 120

describe('8 processes with mixed operations, 3 of which are killed', () => {
  const file = temporaryFolder()
  warnings()

  it('lose no acknowledged write, and leave no batch in part', async () => {
    const seed = seedOfRun()
    const random = seeded(seed)
    const path = file('chaos.db')
    writeFileSync(path, '{"_id":"counter","v":0}\n')
    const workers = await Promise.all(
      Array.from({ length: WORKERS }, async (_, me) => {
        const args = [path, file(`ledger-${me}`), me, seed, OPERATIONS].map(String)
        const child: ChildProcess = fork(fixture('nedb-chaos'), args)
        await once(child, 'message')
        return child
      }),
    )
    const ends = workers.map((child) => once(child, 'exit'))
    for (const child of workers) child.send('go')
    for (const victim of [1, 3, 6]) {
      await setTimeout(40 + 80 * random())
      workers[victim]!.kill('SIGKILL')
    }
    await Promise.all(ends)
    const alive = workers.filter(({ signalCode }) => signalCode === null)
    assert.deepEqual([...new Set(alive.map(({ exitCode }) => exitCode))], [0])

    const db = new LockedNedb({ filename: path, autoload: true })
    const docs = sorted((await db.findAsync({})) as unknown as Doc[])
    const changes = handovers(path)
    await db.close()
    assert.deepEqual(await seenByVanilla(path), docs, 'vanilla sees something else')
    const present = new Map(docs.map((doc) => [doc._id, doc.v as number]))
    let increments = 0
    let openIncrements = 0
    let operations = 0
    const expected = new Set<string>(['counter'])
    for (let me = 0; me < WORKERS; me++) {
      const notes = readFileSync(file(`ledger-${me}`), 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Note)
      assert.deepEqual(
        notes.filter(([what]) => what === 'wrong'),
        [],
        'a worker did not read its own last write',
      )
      const state = new Map<string, number | null>()
      const done = notes.filter(([what]) => what === 'done')
      operations += done.length
      for (const [, kind, change] of done) {
        if (kind === 'inc') increments++
        else for (const [id, v] of Object.entries(change as Change)) state.set(id, v)
      }
      const last = notes.at(-1)
      const open = last?.[0] === 'begin' ? (last as [string, string, Change]) : undefined
      if (open?.[1] === 'inc') openIncrements++
      const before = new Map(state)
      const after = new Map([...state, ...Object.entries(open?.[2] ?? {})])
      const fits = (wanted: Map<string, number | null>) =>
        [...after.keys()].every((id) => (wanted.get(id) ?? undefined) === present.get(id))
      assert.ok(
        fits(before) || fits(after),
        `worker ${me}: the file is neither before nor after its last operation`,
      )
      for (const id of after.keys()) expected.add(id)
    }
    assert.deepEqual(
      docs.filter((doc) => !expected.has(doc._id)),
      [],
      'documents that nobody wrote',
    )
    const counter = present.get('counter') as number
    assert.ok(counter >= increments && counter <= increments + openIncrements, `${counter} of ${increments}`)
    console.log(
      `      seed ${seed}: ${operations} changes acknowledged, ${changes} hand-overs since the last compaction, ` +
        `${increments} increments (+${openIncrements} open)`,
    )
    assert.ok(operations > 200)
  })
})
