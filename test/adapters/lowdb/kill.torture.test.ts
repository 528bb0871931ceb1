import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { fixture } from '../../fixtures/code.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { assertNoOrphans, fileOf } from '../../fixtures/lowdb-tools.ts'
import type { State } from '../../fixtures/lowdb-writer.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

/** Laws 3, 4 and 6 against SIGKILL. */
describe('lowdb writers that are killed', () => {
  const at = useFolder()
  const running = new Set<ChildProcess>()
  afterEach(() => {
    for (const child of running) child.kill('SIGKILL')
  })

  /** Kills a writer in the middle of its work; the last state it was told is saved. */
  async function killed(path: string, how: string, seed: number, afterMs: number): Promise<number> {
    const args = [...process.execArgv, fixture('lowdb-writer'), path, how, String(seed)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    running.add(child)
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const closed = once(child, 'close')
    await once(child.stdout, 'data')
    await sleep(afterMs)
    child.kill('SIGKILL')
    await closed
    running.delete(child)
    return Number(said.trimEnd().split('\n').at(-1))
  }

  it('30 kills during large writes leave a whole file each time, and lose nothing that was acknowledged', async () => {
    const seed = newSeed()
    const next = random(seed)
    let between = 0
    const lane = async (how: string) => {
      const path = at(`${how}.json`)
      for (let round = 0; round < 10; round++) {
        const acknowledged = await killed(path, how, seed + round, next() * 80)
        const { n, payload, length } = fileOf<State>(path)
        const shown = `seed ${seed}, ${how}, round ${round}`
        assert.ok(
          n === acknowledged || n === acknowledged + 1,
          `${shown}: ${acknowledged} acknowledged, ${n} in the file`,
        )
        assert.equal(payload, String(n % 10).repeat(length), shown)
        if (n !== acknowledged) between++
      }
      const db = new LockedLow<State>(path, { n: 0, payload: '', length: 0 }, { timeoutMs: 2000 })
      await db.update((data) => void data.n++)
      assertNoOrphans(path)
    }
    await Promise.all(['update', 'write', 'sync'].map(lane))
    note(`seed ${seed}: 30 kills, ${between} of them between the write and its acknowledgement`)
  })

  it('a stopped writer that holds the lock is waited for, and its update is not lost', async () => {
    const args = [...process.execArgv, fixture('lowdb-writer'), at('db.json'), 'update', '1']
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    running.add(child)
    await once(child.stdout, 'data')
    child.kill('SIGSTOP')
    const db = new LockedLow<State>(at('db.json'), { n: 0, payload: '', length: 0 })
    const before = fileOf<State>(at('db.json')).n
    let after = 0
    const updating = db.update((data) => {
      after = data.n
    })
    await sleep(100)
    child.kill('SIGCONT')
    await updating
    child.kill('SIGKILL')
    running.delete(child)
    assert.ok(after >= before)
  })
})
