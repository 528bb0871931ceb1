import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { fixture } from '../fixtures/code.ts'
import { figures } from '../fixtures/figures.ts'
import { useFolder } from '../fixtures/folder.ts'
import { type History, objections, readOperations, waitOf } from '../fixtures/model-history.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

const WORKER = fixture('model-worker')
const PROCESSES = 8
/** PSLOCK_MODEL_SECONDS=60 for the long run. */
const SECONDS = Number(process.env.PSLOCK_MODEL_SECONDS) || 8

/**
 * The lock as a model: whatever random processes do with it (ask in any form, wait, give up, re-enter, stop, die), what
 * they wrote down must be something that a lock allows.
 */
describe('what random processes do with one lock', function () {
  this.timeout((SECONDS + 60) * 1000)
  const at = useFolder()
  let children: ChildProcess[] = []

  afterEach(() => {
    for (const child of children) child.kill('SIGKILL')
    children = []
  })

  function nowMs(): number {
    return Number(process.hrtime.bigint()) / 1e6
  }

  interface Run {
    seconds: number
    /** The file that the process of this number locks. */
    fileOf: (index: number) => string
    seed: number
    kills: boolean
  }

  async function play({ seconds, fileOf, seed, kills }: Run): Promise<History> {
    const next = random(seed)
    const pids: number[] = []
    const killed: { pid: number; atMs: number }[] = []
    const ended: Promise<void>[] = []

    async function start(): Promise<ChildProcess> {
      const log = at(`log-${pids.length}`)
      const own = String(Math.floor(next() * 2 ** 31))
      const child = fork(WORKER, [fileOf(pids.length), log, own], {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      })
      children.push(child)
      pids.push(child.pid as number)
      ended.push(
        once(child, 'exit').then(([code, signal]) => {
          const isOurs = signal === 'SIGKILL' && killed.some(({ pid }) => pid === child.pid)
          assert.ok(code === 0 || isOurs, `process ${child.pid} ended with ${code ?? signal}`)
        }),
      )
      await once(child, 'message')
      return child
    }

    const crew = await Promise.all(Array.from({ length: PROCESSES }, start))
    const endMs = nowMs() + seconds * 1000
    for (const child of crew) child.send({ endMs })
    while (kills && nowMs() < endMs - 1500) {
      await sleep(100 + next() * 600)
      const index = Math.floor(next() * crew.length)
      const victim = crew[index] as ChildProcess
      if (next() < 0.5) {
        victim.kill('SIGSTOP')
        await sleep(next() * 200)
        victim.kill('SIGCONT')
      } else {
        killed.push({ pid: victim.pid as number, atMs: nowMs() })
        victim.kill('SIGKILL')
        const substitute = await start()
        substitute.send({ endMs })
        crew[index] = substitute
      }
    }
    await Promise.all(ended)
    const operations = pids.flatMap((pid, i) => readOperations(pid, readFileSync(at(`log-${i}`), 'utf8')))
    return { operations, kills: killed }
  }

  function describeRun({ operations, kills }: History, seed: number): object {
    const granted = operations.filter(({ grantedMs }) => grantedMs !== undefined)
    const inOrder = granted.toSorted((a, b) => Number(a.grantedMs) - Number(b.grantedMs))
    const handOvers = inOrder.filter(({ pid }, i) => i > 0 && pid !== inOrder[i - 1]?.pid).length
    const longestMs = Math.max(...granted.map(waitOf))
    note(
      `seed ${seed}: ${operations.length} operations, ${granted.length} granted, ${handOvers} hand-overs, ` +
        `${kills.length} kills, longest wait ${longestMs.toFixed(0)} ms`,
    )
    return { seed, operations: operations.length, granted: granted.length, handOvers, kills: kills.length }
  }

  it(`admits a legal order: ${PROCESSES} processes, ${SECONDS} s, with kills and standstills`, async () => {
    const seed = newSeed()
    const history = await play({ seconds: SECONDS, fileOf: () => at('data'), seed, kills: true })
    figures('random operations on one lock', describeRun(history, seed))
    assert.deepEqual(objections(history).slice(0, 10), [])
    assert.ok(history.kills.length > 0, 'nobody was killed')
    assert.ok(
      history.operations.filter(({ grantedMs }) => grantedMs !== undefined).length > 50 * SECONDS,
      'too little happened to prove anything',
    )
    new PsLock(at('data')).tryAcquire()!.release()
  })

  it('does not admit one where every process locks a file of its own: this test can fail', async () => {
    const seed = newSeed()
    const history = await play({ seconds: 1, fileOf: (index) => at(`data-${index}`), seed, kills: false })
    describeRun(history, seed)
    const found = objections(history)
    note(`${found.length} objections, such as: ${found[0]}`)
    assert.ok(found.length > 10)
    assert.ok(found.every((text) => text.includes('held beside')))
  })
})
