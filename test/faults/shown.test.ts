import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Disk } from '../fixtures/faults/disk.ts'
import { EXTREMES, randomFate } from '../fixtures/faults/fate.ts'
import { underSeam, useLab } from '../fixtures/faults/lab.ts'
import type { ShownRecord } from '../fixtures/faults/shown.ts'
import { SHOWN } from '../fixtures/faults/shown-cases.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

/**
 * What a store with 'disk' has shown or confirmed is what power loss leaves, whoever wrote it, and with which durability.
 * The power is off at the moment of the answer: what is synced a moment later does not count.
 */
describe("power loss right after an answer of a store with 'disk' leaves what it has shown", () => {
  const at = useLab()
  const seed = newSeed()
  const next = random(seed)
  let records: ShownRecord[]

  before(async function () {
    this.timeout(60_000)
    note(`seed ${seed}`)
    mkdirSync(at('run'))
    const args = underSeam('shown', at('run'))
    const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 28 })
    records = JSON.parse(stdout) as ShownRecord[]
  })

  for (const [index, tried] of SHOWN.entries()) {
    it(tried.name, async () => {
      mkdirSync(at('empty'))
      const disk = new Disk(at('empty'), at(`run/${index}`))
      rmSync(at('empty'), { recursive: true })
      const { log, shown } = records[index] as ShownRecord
      const right = [...shown]
      assert.ok(right.length > 0)
      for (const entry of log) {
        disk.apply(entry)
        if (entry.kind === 'acknowledged') await judge(tried, disk, right.shift())
      }
    })
  }

  async function judge({ path, read }: (typeof SHOWN)[number], disk: Disk, right: unknown): Promise<void> {
    const tried = new Set<string>()
    for (const fate of [...EXTREMES, randomFate(next), randomFate(next)]) {
      mkdirSync(at('lost'))
      const image = disk.lose(fate, at('lost'))
      const store = join(at('lost'), path)
      if (!tried.has(image)) assert.deepEqual(existsSync(store) ? await read(store) : [], right)
      tried.add(image)
      rmSync(at('lost'), { recursive: true })
    }
  }
})
