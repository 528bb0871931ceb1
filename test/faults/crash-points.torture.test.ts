import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { cutByKill, type Kill, mayChange } from '../fixtures/faults/call.ts'
import {
  assertDamageKept,
  assertNothingElse,
  assertOneOf,
  CORRUPT,
  contentOfDump,
  contents,
  Expected,
} from '../fixtures/faults/expected.ts'
import { inParallel, underSeam, useLab } from '../fixtures/faults/lab.ts'
import { Files } from '../fixtures/faults/scenario.ts'
import { scenariosOf } from '../fixtures/faults/scenarios.ts'
import type { Point } from '../fixtures/faults/writer.ts'
import { figures } from '../fixtures/figures.ts'
import { warnings } from '../fixtures/nedb-tools.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

const LONG = process.env.PSLOCK_LONG === '1'
/** Real kills in a normal run, of each family; PSLOCK_LONG=1 kills at every point there is. */
const KILLS = 30

interface Place {
  readonly expected: Expected
  readonly point: Point
  /** The folder as it is there. */
  readonly copy: string
}

/**
 * What a kill leaves is what is in the page cache at that moment: the same as a copy of the folder that is made there. So
 * one run leaves copies of every point, all of which are looked at, and real kills show that it is so.
 */
describe('a writer that is killed at a system call', () => {
  const at = useLab()
  warnings()

  /** Runs a scenario in a process of its own. @returns what it has said, and the signal that ended it */
  async function run(name: string, files: Files, what: string): Promise<{ said: string; signal: unknown }> {
    const args = underSeam('writer', files.folder, name, what)
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exit = once(child, 'exit')
    const said = await text(child.stdout)
    const [, signal] = await exit
    return { said, signal }
  }

  /** All points of a scenario: before each call, after it, and where that means something in its middle. */
  async function placesOf(expected: Expected): Promise<Place[]> {
    const { name } = expected.scenario
    const files = expected.begin(at(`${name} counted`))
    const copies = at(`${name} copies`)
    mkdirSync(copies)
    const { said, signal } = await run(name, files, copies)
    assert.equal(signal, null, `${name}: ${said}`)
    assertOneOf(await contents(expected.scenario, files), expected.states.slice(-1), name)
    const points = JSON.parse(said.replace(/^\.*/, '')) as Point[]
    return points.map((point) => ({ expected, point, copy: join(copies, String(point.copy)) }))
  }

  /** What another process finds there. @returns how the unmodified library took the file before pslock had mended it */
  async function judge({ expected, point }: Place, files: Files, says: string): Promise<string> {
    const { scenario } = expected
    const { call, kill } = point
    const right = expected.after(point.acknowledged)
    const isCut = kill === 'half' && call.name === 'write'
    // No kill, but a full disk or power loss cuts there; vanilla's part is promised after kills.
    const isUnreal = isCut && cutByKill(call) === undefined
    const vanilla = await contents(scenario, files).then(
      (found) => {
        if (!isUnreal) assertOneOf(found, right, `${says}: vanilla`)
        return 'as it was left'
      },
      (error) => {
        assert.ok(scenario.family === 'nedb' && isCut, `${says}: ${error}`)
        return 'refused, then mended'
      },
    )
    const store = await scenario.open(files).catch((error) => assert.fail(`${says}: ${error}`))
    const seen = { store: await store.read(), dump: await contentOfDump(scenario, files.dump) }
    assertOneOf(seen, right, `${says}: pslock`)
    await store.next()
    await store.close()
    const next = { ...seen, store: scenario.withNext(seen.store) }
    assertOneOf(await contents(scenario, files), [next], `${says}: vanilla after the next operation`)
    assertDamageKept(scenario, files, says)
    assertNothingElse(files, says, scenario.damaged.length > 0 ? [CORRUPT] : [])
    return vanilla
  }

  for (const family of ['nedb', 'lowdb'] as const) {
    it(`${family}: leaves all of an operation or nothing, and nothing acknowledged is lost`, async function () {
      this.timeout(LONG ? 60 * 60_000 : 120_000)
      const seed = newSeed()
      const next = random(seed)
      const scenarios = await scenariosOf(family)
      const places: Place[] = []
      const lanes = Math.min(availableParallelism(), 4)
      await inParallel(scenarios, lanes, async (scenario) => {
        places.push(...(await placesOf(await Expected.of(scenario, at(scenario.name)))))
      })
      const perScenario: Record<string, { points: number; states: number; kills: number }> = {}
      const seen: Record<string, number> = {}
      for (const [index, place] of places.entries()) {
        const { copy, expected } = place
        const { name } = expected.scenario
        const figure = perScenario[name] ?? { points: 0, states: 0, kills: 0 }
        perScenario[name] = figure
        figure.points++
        // At the other points the disk is the same.
        if (copy === places[index - 1]?.copy || next() >= expected.scenario.tried) continue
        figure.states++
        const files = new Files(at(`${family} looked at`))
        cpSync(copy, files.folder, { recursive: true })
        const vanilla = await judge(place, files, describePlace(place))
        rmSync(files.folder, { recursive: true })
        seen[vanilla] = (seen[vanilla] ?? 0) + 1
      }
      // How many calls share a batch depends on the time, and so does the number of a point there.
      const fixed = places.filter(({ expected }) => !expected.scenario.isTogether)
      const order = fixed.map((place) => ({ place, rank: next() + (isChange(place.point) ? 0 : 1) }))
      order.sort((a, b) => a.rank - b.rank)
      const killed = order.slice(0, LONG ? fixed.length : KILLS).map(({ place }) => place)
      await inParallel(killed, lanes, async (place, index) => {
        const { expected, point, copy } = place
        const says = `seed ${seed}, killed ${describePlace(place)}`
        const files = expected.begin(at(`${family} killed ${index}`))
        const fault: Kill = { kill: point.kill, at: point.at }
        const { said, signal } = await run(expected.scenario.name, files, JSON.stringify(fault))
        assert.deepEqual([signal, said.length], ['SIGKILL', point.acknowledged], says)
        assertOneOf(bytesIn(files.folder), [bytesIn(copy)], `${says}: another disk than in the copy`)
        await judge(place, files, says)
        rmSync(files.folder, { recursive: true })
        const figure = perScenario[expected.scenario.name]
        if (figure) figure.kills++
      })
      note(
        `seed ${seed}: ${places.length} points, ${killed.length} real kills; vanilla found ${JSON.stringify(seen)}`,
      )
      for (const [name, numbers] of Object.entries(perScenario)) note(`${name}: ${JSON.stringify(numbers)}`)
      figures(`crash points, ${family}`, {
        seed,
        points: places.length,
        kills: killed.length,
        vanilla: seen,
        perScenario,
      })
    })
  }
})

function isChange({ kill, call }: Point): boolean {
  return kill !== 'before' && mayChange(call)
}

function describePlace({ expected, point: { kill, at, call } }: Place): string {
  return `${kill} call ${at} of ${expected.scenario.name}, ${call.name} ${call.path}`
}

/** The files of a folder, by names in which nothing is random. */
function bytesIn(folder: string): [name: string, bytes: string][] {
  return readdirSync(folder)
    .sort()
    .map((name) => [
      name.replace(/\.[0-9a-f]{8}\.pslock/, '.pslock'),
      // A note of a long hold may be there or not.
      name.endsWith('.lock') ? '' : readFileSync(join(folder, name), 'latin1'),
    ])
}
