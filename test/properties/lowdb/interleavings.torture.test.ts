import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { useFolder } from '../../fixtures/folder.ts'
import { note } from '../../fixtures/random.ts'
import type { StepCommands } from '../../fixtures/step-worker.ts'
import { useSamePeers } from '../../harness/peer.ts'
import { ordersOf } from '../orders.ts'
import { holds } from '../runs.ts'
import { SHARED, stepOf } from './generators.ts'
import { applyOp, type Op, type Step, statement, type Tree } from './steps.ts'

/** A step in one of the processes. */
type Move = readonly [process: number, step: Step]

const move: fc.Arbitrary<Move> = fc
  .integer({ min: 0, max: 2 })
  .chain((process) => stepOf(process).map((step): Move => [process, step]))
/** Moves of different processes that are under way at the same time; one alone, most of the time. */
const round: fc.Arbitrary<readonly Move[]> = fc.oneof(
  { weight: 4, arbitrary: move.map((one) => [one]) },
  {
    weight: 1,
    arbitrary: fc.uniqueArray(move, { minLength: 2, maxLength: 3, selector: ([process]) => process }),
  },
)

/** The file, and the edits that each process has not written yet: they are made to whatever is in the file then. */
class Model {
  file: Tree = structuredClone(SHARED)
  pending: (readonly Op[])[] = [[], [], []]

  clone(): Model {
    return Object.assign(new Model(), structuredClone({ file: this.file, pending: this.pending }))
  }

  /** @returns what a view sees */
  perform([process, step]: Move): unknown {
    const mine = this.pending[process] as readonly Op[]
    switch (step[0]) {
      case 'edit':
        this.pending[process] = [...mine, step[1]]
        return
      case 'read':
        this.pending[process] = []
        return
      case 'view':
        return this.#with(mine)
      case 'write':
        return this.#save(process, mine)
      case 'update':
      case 'transaction': {
        const parts = step[1].flatMap((part) =>
          part[0] !== 'savepoint' ? [part] : part[2] === 'commit' ? part[1] : [],
        )
        if (step[2] === 'commit') this.#save(process, [...mine, ...parts])
        return
      }
      default:
        throw new Error(`${step[0]} is no step of several processes`)
    }
  }

  #save(process: number, ops: readonly Op[]): void {
    this.file = this.#with(ops)
    this.pending[process] = []
  }

  #with(ops: readonly Op[]): Tree {
    const tree = structuredClone(this.file)
    for (const op of ops) applyOp(tree, op)
    return tree
  }
}

function script(rounds: readonly (readonly Move[])[]): string {
  const lines = rounds.map((moves) => {
    const statements = moves.map(([process, step]) => statement(step, `db[${process}]`))
    return moves.length === 1
      ? statements[0]
      : `await Promise.all([\n${statements.map((text) => `(async () => {\n${text}\n})(),`).join('\n')}\n])`
  })
  return [
    '// Each of the three is a process of its own; here they are store objects.',
    "import { LockedJSONFilePreset } from 'pslock/lowdb'",
    `const open = () => LockedJSONFilePreset('case.json', ${JSON.stringify(SHARED)})`,
    'const db = await Promise.all([open(), open(), open()])',
    ...lines,
    'for (const each of db) { await each.read(); console.log(each.data) }',
  ].join('\n')
}

describe('random calls and edits of 3 processes on a lowdb store', () => {
  const at = useFolder()
  // Dates, undefined, -0 and holes get through.
  const processes = useSamePeers<StepCommands>('step-worker', 3, { serialization: 'advanced' })

  it('do what one process would do in some order of those that overlap', async function () {
    this.timeout(30 * 60_000)
    let cases = 0
    let overlaps = 0
    let reordered = 0
    await holds(
      fc.array(round, { minLength: 1, maxLength: 12 }),
      async (rounds) => {
        const path = at(`${++cases}.json`)
        writeFileSync(path, JSON.stringify(SHARED))
        const onDisk = () => JSON.parse(readFileSync(path, 'utf8')) as Tree
        await Promise.all(processes.map((each) => each.call('openLow', path, SHARED)))
        try {
          let model = new Model()
          for (const moves of rounds) {
            const seen = await Promise.all(
              moves.map(([process, step]) => processes[process]!.call('low', step)),
            )
            if (moves.length > 1) overlaps++
            const tried: unknown[] = []
            const orders = ordersOf([...moves.keys()])
            const fitting = orders.findIndex((order) => {
              const candidate = model.clone()
              const expected: unknown[] = []
              for (const index of order) expected[index] = candidate.perform(moves[index] as Move)
              tried.push({ seen: expected, file: candidate.file })
              if (!isDeepStrictEqual({ seen: expected, file: candidate.file }, { seen, file: onDisk() }))
                return false
              model = candidate
              return true
            })
            const shown = moves.map(([process, step]) => `${process}: ${statement(step)}`).join('\n')
            if (fitting === -1)
              assert.deepEqual({ seen, file: onDisk() }, tried[0], `no order explains\n${shown}`)
            assert.notEqual(fitting, -1)
            if (fitting > 0) reordered++
          }
          for (const [index, each] of processes.entries()) {
            await each.call('low', ['read'])
            assert.deepEqual(await each.call('lowMemory'), model.file, `what process ${index} reads`)
          }
        } finally {
          await Promise.all(processes.map((each) => each.call('closeLow')))
        }
      },
      { name: 'lowdb, steps of 3 processes', runs: 40, script },
    )
    note(
      `${overlaps} rounds of several processes at once, ${reordered} of them in another order than they were sent`,
    )
  })
})
