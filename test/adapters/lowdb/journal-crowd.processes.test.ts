import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedJSONFilePreset } from '../../../adapters/lowdb.ts'
import { fixture } from '../../fixtures/code.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { EMPTY, type Shared } from '../../fixtures/lowdb-shared.ts'
import { assertNoOrphans, fileOf } from '../../fixtures/lowdb-tools.ts'
import type { LowCommands } from '../../fixtures/lowdb-worker.ts'
import type { State } from '../../fixtures/lowdb-writer.ts'
import { warnings } from '../../fixtures/nedb-tools.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'
import { useSamePeers } from '../../harness/peer.ts'

const LONG = process.env.PSLOCK_LONG === '1'

/** Laws 1 to 4 and 6 over real processes. */
describe('lowdb with a journal, shared by processes', () => {
  const at = useFolder()
  const crew = useSamePeers<LowCommands>('lowdb-worker', 6)
  warnings()
  const running = new Set<ChildProcess>()
  afterEach(() => {
    for (const child of running) child.kill('SIGKILL')
  })

  for (const [what, withJournal] of [
    ['with one', 6],
    ['with one, and without', 3],
  ] as const) {
    it(`processes that count ${what} lose nothing, while the journal is put into the file again and again`, async () => {
      writeFileSync(at('db.json'), JSON.stringify(EMPTY))
      const seed = newSeed()
      const options = (i: number) => ({ sliceMs: 0, journal: i < withJournal })
      const kind = (i: number) => (i === 5 && withJournal < 6 ? 'sync' : 'locked')
      await Promise.all(crew.map((one, i) => one.call('open', kind(i), at('db.json'), options(i))))
      const times = LONG ? 1000 : 30
      let isDone = false
      const counted = Promise.all(crew.map((one, i) => one.call('increment', { times, seed: seed + i })))
      const ended = counted.finally(() => {
        isDone = true
      })
      const db = await LockedJSONFilePreset<Shared>(at('db.json'), EMPTY, { journal: true })
      let [checkpoints, last] = [0, 0]
      while (!isDone) {
        await db.checkpoint()
        assert.ok(db.data.n >= last, `seed ${seed}`)
        last = db.data.n
        checkpoints++
        await sleep(5)
      }
      const errors = (await ended).flatMap((outcome) => outcome.errors)
      await db.checkpoint()
      const { n, handOvers } = fileOf<Shared>(at('db.json'))
      note(`seed ${seed}: ${n} increments, ${handOvers} hand-overs, ${checkpoints} checkpoints`)
      assert.deepEqual([n, errors], [6 * times, []], `seed ${seed}`)
      assert.ok(handOvers >= n / 4, 'they hardly met')
      for (const one of crew) {
        await one.call('read')
        assert.equal((await one.call('data')).n, n)
      }
      assertNoOrphans(at('db.json'))
    })
  }

  it('a writer that is killed leaves what it acknowledged, and nothing by half', async () => {
    const seed = newSeed()
    const next = random(seed)
    const path = at('db.json')
    let torn = 0
    for (let round = 0; round < (LONG ? 200 : 12); round++) {
      const args = [...process.execArgv, fixture('lowdb-writer'), path, 'journal', String(seed + round)]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      running.add(child)
      let said = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
      const closed = once(child, 'close')
      await once(child.stdout, 'data')
      await sleep(next() * 60)
      child.kill('SIGKILL')
      await closed
      running.delete(child)
      const acknowledged = Number(said.trimEnd().split('\n').at(-1))
      const db = await LockedJSONFilePreset<State>(path, { n: 0, payload: '', length: 0 }, { journal: true })
      const { n, payload, length } = db.data
      const shown = `seed ${seed}, round ${round}`
      assert.ok(
        n === acknowledged || n === acknowledged + 1,
        `${shown}: ${acknowledged} acknowledged, found ${n}`,
      )
      assert.equal(payload, String(n % 10).repeat(length), shown)
      // Half of the successors mend it, half of them read it over what is left.
      if (round % 2 === 0) await db.checkpoint()
      await db.close()
      torn = readdirSync(at()).filter((name) => name.includes('.torn-')).length
    }
    note(`seed ${seed}: ${torn} torn units were cut off`)
    const db = await LockedJSONFilePreset<State>(path, { n: 0, payload: '', length: 0 })
    const { n } = db.data
    await db.update((data) => void data.n++)
    assert.deepEqual([fileOf<State>(path).n, existsSync(`${path}.journal`)], [n + 1, false])
  }).timeout(LONG ? 600_000 : 60_000)
})
