import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { promisify } from 'node:util'
import { CorruptStoreError } from '../../src/index.ts'
import { Disk, type Entry } from '../fixtures/faults/disk.ts'
import {
  assertDamageKept,
  assertNothingElse,
  assertOneOf,
  CORRUPT,
  contentOfDump,
  contents,
  Expected,
} from '../fixtures/faults/expected.ts'
import { EXTREMES, randomFate } from '../fixtures/faults/fate.ts'
import { underSeam, useLab } from '../fixtures/faults/lab.ts'
import { Files } from '../fixtures/faults/scenario.ts'
import { scenariosOf } from '../fixtures/faults/scenarios.ts'
import { figures } from '../fixtures/figures.ts'
import { warnings } from '../fixtures/nedb-tools.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

const LONG = process.env.PSLOCK_LONG === '1'
/** Random fates at each moment, besides the extremes. */
const RANDOM = LONG ? 50 : 1

interface Figure {
  moments: number
  disks: number
  refused: number
  lost: number
}

function hasZeros(path: string): boolean {
  return existsSync(path) && readFileSync(path).includes(0)
}

describe('power loss', () => {
  const at = useLab()
  warnings()

  async function recorded({ scenario }: Expected, files: Files): Promise<Entry[]> {
    const args = underSeam('recording', files.folder, scenario.name)
    const { stdout } = await promisify(execFile)(process.execPath, args, {
      maxBuffer: 2 ** 28,
    })
    return JSON.parse(stdout) as Entry[]
  }

  /** Opens what power loss has left. @returns how many acknowledged steps are gone; undefined where it is refused */
  async function judge(
    expected: Expected,
    files: Files,
    acknowledged: number,
    says: string,
  ): Promise<number | undefined> {
    const { scenario } = expected
    const began = expected.states.slice(0, scenario.isTogether ? undefined : acknowledged + 2)
    const right = scenario.durability === 'disk' ? began.slice(acknowledged) : began
    const hasHoles = scenario.name.startsWith('nedb') && hasZeros(files.store)
    const written = hasHoles ? readFileSync(files.store, 'utf8').split('\n') : []
    let seen: unknown
    try {
      const store = await scenario.open(files)
      seen = await store.read()
      await store.next()
      await store.close()
    } catch (error) {
      // A new file whose first sector never came is zeros, as a file of another kind, or a store that the disk has eaten,
      // might be: nothing is guessed, and `pslock repair` is left to the user.
      const isNewFile = scenario.name.startsWith('nedb: creation')
      const mayBeLost = scenario.durability === 'process' || acknowledged === 0
      // Lines with holes that have whole ones behind them count under NeDB's `corruptAlertThreshold`.
      const isRefused = error instanceof CorruptStoreError && mayBeLost && (isNewFile || hasHoles)
      assert.ok(isRefused, `${says}: ${error}`)
      return undefined
    }
    const states = right.map(({ store }) => store)
    const isPart = hasHoles && !states.some((state) => JSON.stringify(state) === JSON.stringify(seen))
    if (isPart) assertMixed(seen, states, written, `${says}: pslock, behind a hole`)
    else assertOneOf(seen, states, `${says}: pslock`)
    // What can be read beside zeros the library by itself passes over.
    if (!hasZeros(files.store)) {
      const after = await contents(scenario, files)
      assertOneOf(after.store, [scenario.withNext(seen)], `${says}: vanilla after the next operation`)
    }
    // A dump is synced whatever the durability of its store.
    assertOneOf(
      await contentOfDump(scenario, files.dump),
      began.slice(acknowledged).map(({ dump }) => dump),
      `${says}: the dump`,
    )
    // A rewrite keeps beside the file what could not be read of it.
    assertDamageKept(scenario, files, says)
    assertNothingElse(files, says, hasHoles || scenario.damaged.length > 0 ? [CORRUPT] : [])
    // Of what was acknowledged with 'disk' nothing is gone then, see `assertMixed`.
    if (isPart) return scenario.durability === 'disk' ? 0 : 1
    const newest = began.findLastIndex(({ store }) => JSON.stringify(store) === JSON.stringify(seen))
    return Math.max(0, acknowledged - newest)
  }

  /**
   * Of units that were not synced, with holes in them and something whole behind, what can be read is read: it cannot be told
   * from an edit by hand. But every record is one that was written, and those are there that all states have.
   */
  function assertMixed(
    seen: unknown,
    states: readonly unknown[],
    lines: readonly string[],
    says: string,
  ): void {
    const written = new Set(lines.map((line) => line.trim()))
    const textsOf = (state: unknown) => {
      assert.ok(Array.isArray(state), says)
      return state.map((record) => JSON.stringify(record))
    }
    const all = states.map(textsOf)
    const found = textsOf(seen)
    for (const text of found)
      assert.ok(written.has(text) || all.some((texts) => texts.includes(text)), `${says}: ${text} never was`)
    for (const text of all[0] ?? [])
      if (all.every((texts) => texts.includes(text)))
        assert.ok(found.includes(text), `${says}: ${text} is lost`)
  }

  for (const family of ['nedb', 'lowdb'] as const) {
    it(`${family}: takes nothing that was acknowledged with 'disk', and only the newest with 'process'`, async function () {
      this.timeout(LONG ? 60 * 60_000 : 120_000)
      const seed = newSeed()
      const next = random(seed)
      const perScenario: Record<string, Figure> = {}
      for (const scenario of await scenariosOf(family)) {
        const expected = await Expected.of(scenario, at(scenario.name))
        const files = expected.begin(at(`${scenario.name} recorded`))
        const disk = new Disk(files.folder)
        const tried = new Set<string>()
        const figure: Figure = { moments: 0, disks: 0, refused: 0, lost: 0 }
        let acknowledged = 0
        for (const [index, entry] of (await recorded(expected, files)).entries()) {
          disk.apply(entry)
          if (entry.kind === 'acknowledged') acknowledged++
          figure.moments++
          const fates = disk.isSynced
            ? EXTREMES.slice(0, 1)
            : [...EXTREMES, ...Array.from({ length: RANDOM }, () => randomFate(next))]
          for (const fate of fates) {
            const lost = new Files(at(`${family} lost`))
            mkdirSync(lost.folder)
            const image = `${acknowledged} ${disk.lose(fate, lost.folder)}`
            if (!tried.has(image) && next() < scenario.tried) {
              tried.add(image)
              const says = `seed ${seed}, ${scenario.name}, after entry ${index} (${entry.kind})`
              const gone = await judge(expected, lost, acknowledged, says)
              figure.disks++
              if (gone === undefined) figure.refused++
              else if (gone > 0) figure.lost++
            }
            rmSync(lost.folder, { recursive: true })
          }
        }
        perScenario[scenario.name] = figure
      }
      note(`seed ${seed}`)
      for (const [name, numbers] of Object.entries(perScenario)) note(`${name}: ${JSON.stringify(numbers)}`)
      const all = Object.values(perScenario)
      const sum = (of: keyof Figure) => all.reduce((total, figure) => total + figure[of], 0)
      const [moments, disks, refused] = [sum('moments'), sum('disks'), sum('refused')]
      figures(`power loss, ${family}`, { seed, moments, disks, refused, perScenario })
      const durable = Object.entries(perScenario).filter(([name]) => name.includes('durable'))
      assert.ok(durable.length > 0 && durable.every(([, { lost }]) => lost === 0))
      assert.ok(
        sum('lost') > 0,
        "with 'process' nothing was ever lost: the power was never off at the right moment",
      )
    })
  }
})
