import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { fixture } from '../../fixtures/code.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

const KILLS = process.env.PSLOCK_LONG === '1' ? 400 : 12

/** A process with a document of its own, and the last state of it that was acknowledged to it. */
class Worker {
  readonly name: string
  acknowledged = 0
  #child: ChildProcess
  readonly #start: () => ChildProcess

  constructor(name: string, filename: string) {
    this.name = name
    this.#start = () => {
      const args = [...process.execArgv, fixture('compacting-worker'), filename, name]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      let rest = ''
      child.stdout.on('data', (bytes: Buffer) => {
        const lines = (rest + bytes).split('\n')
        rest = lines.pop() ?? ''
        const last = lines.at(-1)
        if (last !== undefined) this.acknowledged = Number(last)
      })
      return child
    }
    this.#child = this.#start()
  }

  async kill(): Promise<void> {
    // `close`: all that it has said has been read.
    const closed = once(this.#child, 'close')
    this.#child.kill('SIGKILL')
    await closed
  }

  async killAndStartAnew(): Promise<void> {
    await this.kill()
    this.#child = this.#start()
  }
}

describe('processes that are killed while a NeDB file is compacted by need', () => {
  const at = useFolder()

  it('have lost nothing they were told was done', async function () {
    this.timeout(KILLS * 10_000)
    const filename = at('jobs.db')
    const seed = newSeed()
    const next = random(seed)
    const workers = ['a', 'b', 'c'].map((name) => new Worker(name, filename))
    const files = new Set<number>()
    const watch = setInterval(() => {
      const ino = statSync(filename, { throwIfNoEntry: false })?.ino
      if (ino !== undefined) files.add(ino)
    }, 2)
    try {
      while (workers.some(({ acknowledged }) => acknowledged === 0)) await sleep(20)
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(50 + next() * 200)
        await workers[Math.floor(next() * workers.length)]?.killAndStartAnew()
      }
      while (files.size < 3) await sleep(20)
    } finally {
      clearInterval(watch)
      await Promise.all(workers.map((worker) => worker.kill()))
    }
    const sum = workers.reduce((total, { acknowledged }) => total + acknowledged, 0)
    note(`seed ${seed}: ${KILLS} kills, ${sum} updates acknowledged, ${files.size - 1} compactions seen`)
    const db = new LockedNedb<{ _id: string; n: number }>({ filename })
    await db.loadDatabaseAsync()
    for (const { name, acknowledged } of workers) {
      const { n } = await db.findOneAsync({ _id: name })
      assert.ok(n >= acknowledged && n <= acknowledged + 1, `${name}: ${n}, acknowledged ${acknowledged}`)
    }
    await db.close()
  })
})
