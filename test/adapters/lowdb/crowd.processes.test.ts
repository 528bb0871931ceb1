import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { LockedJSONFilePreset, LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { codeUrl } from '../../fixtures/code.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { EMPTY, type Shared } from '../../fixtures/lowdb-shared.ts'
import { assertNoOrphans, fileOf } from '../../fixtures/lowdb-tools.ts'
import type { Kind, LowCommands } from '../../fixtures/lowdb-worker.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'
import { useSamePeers } from '../../harness/peer.ts'

/** Laws 1, 2 and 4 over real processes. */
describe('lowdb file shared by processes', () => {
  const at = useFolder()
  const crew = useSamePeers<LowCommands>('lowdb-worker', 8)
  const fresh = () => writeFileSync(at('db.json'), JSON.stringify(EMPTY))

  /** Lets all processes do the same; what was acknowledged, what failed. */
  async function together(
    command: 'increment' | 'push' | 'edit',
    kinds: readonly Kind[],
    times: number,
    options: object = {},
    tasks = 1,
  ) {
    const seed = newSeed()
    await Promise.all(kinds.map((kind, i) => crew[i]!.call('open', kind, at('db.json'), options)))
    const outcomes = await Promise.all(
      crew.map((one, i) => one.call(command, { times, seed: seed + i, tasks })),
    )
    const done = outcomes.reduce((sum, outcome) => sum + outcome.done, 0)
    const errors = outcomes.flatMap((outcome) => outcome.errors)
    return { seed, done, errors, all: kinds.length * times * tasks }
  }

  const eight = (kind: Kind) => Array<Kind>(8).fill(kind)

  it('control: 8 vanilla processes lose increments, or fail, or ruin the file', async () => {
    fresh()
    const { seed, done, errors, all } = await together('increment', eight('vanilla'), 8)
    let kept = Number.NaN
    try {
      kept = fileOf<Shared>(at('db.json')).n
    } catch {
      // The other way in which vanilla loses everything.
    }
    note(`seed ${seed}: ${done} of ${all} acknowledged, ${errors.length} errors, ${kept} kept`)
    assert.ok(kept !== all, 'the test proves nothing where nothing collides')
  })

  for (const [what, kinds] of [
    ['update', eight('locked')],
    ['LowSync update', eight('sync')],
    ['update and LowSync update', ['locked', 'sync', 'locked', 'sync', 'locked', 'sync', 'locked', 'sync']],
  ] as const) {
    it(`8 processes that count by ${what} lose nothing`, async () => {
      fresh()
      const { seed, errors, all } = await together('increment', kinds, 30, { sliceMs: 0 })
      const { n, handOvers } = fileOf<Shared>(at('db.json'))
      note(`seed ${seed}: ${n} of ${all} increments, ${handOvers} hand-overs`)
      assert.deepEqual(errors, [])
      assert.equal(n, all)
      assert.ok(handOvers * 4 >= all, `too little contention to prove anything: ${handOvers}`)
      assertNoOrphans(at('db.json'))
    })
  }

  it('8 processes with tasks of their own, and the default time slices, lose nothing', async () => {
    fresh()
    const { seed, errors, all } = await together('increment', eight('locked'), 20, {}, 5)
    const { n, handOvers } = fileOf<Shared>(at('db.json'))
    note(`seed ${seed}: ${n} of ${all} increments, ${handOvers} hand-overs`)
    assert.deepEqual(errors, [])
    assert.equal(n, all)
  })

  for (const kind of ['locked', 'sync'] as const) {
    it(`8 processes that push and write() (${kind}) lose nothing and double nothing`, async () => {
      fresh()
      const { seed, errors, all } = await together('push', eight(kind), 25, { sliceMs: 0 })
      const { entries } = fileOf<Shared>(at('db.json'))
      const writers = entries.map((entry) => entry.split('.')[0])
      const handOvers = writers.filter((writer, i) => i > 0 && writer !== writers[i - 1]).length
      note(`seed ${seed}: ${entries.length} of ${all} entries, ${handOvers} hand-overs`)
      assert.deepEqual(errors, [])
      assert.equal(entries.length, all)
      assert.equal(new Set(entries).size, all)
      assert.ok(handOvers * 4 >= all, `too little contention to prove anything: ${handOvers}`)
      for (const { child } of crew) {
        const own = entries.filter((entry) => entry.startsWith(`${child.pid}.`))
        const order = own.map((entry) => Number(entry.split('.')[2]))
        assert.deepEqual(
          order,
          [...order].sort((a, b) => a - b),
          'pushes of one process keep their order',
        )
      }
    })
  }

  it('8 processes that each edit their own record and write() keep all records at their last state', async () => {
    fresh()
    const { seed, errors } = await together('edit', eight('locked'), 20, { sliceMs: 0 })
    const { notes } = fileOf<Shared>(at('db.json'))
    note(`seed ${seed}: ${notes.length} records`)
    assert.deepEqual(errors, [])
    assert.deepEqual(
      notes.map(({ id, text }) => [id, text]).sort(),
      crew.map(({ child: { pid } }) => [String(pid), `${pid}.0.19`]).sort(),
    )
  })

  it('several instances in one process, async and sync, exclude each other', async () => {
    fresh()
    const seed = newSeed()
    const next = random(seed)
    const dbs = Array.from({ length: 4 }, () => new LockedLow<Shared>(at('db.json'), EMPTY))
    const sync = new LockedLowSync<Shared>(at('db.json'), EMPTY)
    await Promise.all(
      dbs.map(async (db) => {
        for (let i = 0; i < 50; i++) {
          await db.update(async (data) => {
            const { n } = data
            if (next() < 0.5) await new Promise(setImmediate)
            data.n = n + 1
          })
        }
      }),
    )
    for (let i = 0; i < 50; i++) sync.update((data) => void data.n++)
    note(`seed ${seed}`)
    assert.equal(fileOf<Shared>(at('db.json')).n, 250)
    for (const db of dbs) {
      await db.read()
      assert.equal(db.data.n, 250)
    }
  })

  it('what one process was told is saved, every other one sees at its next operation', async () => {
    fresh()
    const [a, b] = crew
    await Promise.all([a!.call('open', 'locked', at('db.json')), b!.call('open', 'locked', at('db.json'))])
    for (let i = 0; i < 20; i++) {
      await (i % 2 ? a : b)!.call('set', { round: i })
      await (i % 2 ? b : a)!.call('read')
      assert.equal((await (i % 2 ? b : a)!.call('data')).round, i)
    }
  })

  it('the lock is free before update and write resolve: a child that updates works at once', async () => {
    const db = await LockedJSONFilePreset<Shared>(at('db.json'), EMPTY, { timeoutMs: 5000 })
    const child = () => {
      const code = `
        const { LockedLow } = await import(${JSON.stringify(codeUrl('adapters/lowdb'))})
        const db = new LockedLow(process.argv[1], {}, { timeoutMs: 0 })
        await db.update((data) => { data.n++ })`
      const args = [...process.execArgv, '--input-type=module', '-e', code, at('db.json')]
      execFileSync(process.execPath, args, { timeout: 20_000 })
    }
    await db.update((data) => void data.n++)
    child()
    db.data.entries.push('bare')
    await db.write()
    child()
    await db.read()
    child()
    assert.equal(fileOf<Shared>(at('db.json')).n, 4)
    assert.deepEqual(fileOf<Shared>(at('db.json')).entries, ['bare'])
  })

  it('vanilla lowdb reads what was written, in the form in which it writes itself', async () => {
    const db = await LockedJSONFilePreset<Shared>(at('db.json'), EMPTY)
    await db.update((data) => void data.n++)
    assert.equal(readFileSync(at('db.json'), 'utf8'), JSON.stringify({ ...EMPTY, n: 1 }, null, 2))
    await crew[0]!.call('open', 'vanilla', at('db.json'))
    assert.deepEqual(await crew[0]!.call('data'), { ...EMPTY, n: 1 })
  })
})
