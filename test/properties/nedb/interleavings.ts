import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { note } from '../../fixtures/random.ts'
import type { StepCommands } from '../../fixtures/step-worker.ts'
import { useSamePeers } from '../../harness/peer.ts'
import { ordersOf } from '../orders.ts'
import { holds } from '../runs.ts'
import { sharedStep } from './generators.ts'
import { Model, type State } from './model.ts'
import { type Outcome, perform, type Step, statement } from './steps.ts'

/** A step in one of the processes. */
type Move = readonly [process: number, step: Step]

const move: fc.Arbitrary<Move> = fc.tuple(fc.integer({ min: 0, max: 2 }), sharedStep)
/** Moves that are under way at the same time; one alone, most of the time. */
const round: fc.Arbitrary<readonly Move[]> = fc.oneof(
  { weight: 4, arbitrary: move.map((one) => [one]) },
  { weight: 1, arbitrary: fc.array(move, { minLength: 2, maxLength: 3 }) },
)

function script(rounds: readonly (readonly Move[])[]): string {
  const lines = rounds.map((moves) =>
    moves.length === 1
      ? moves.map(([process, step]) => statement(step, `db[${process}]`)).join('\n')
      : `await Promise.all([\n${moves.map(([process, step]) => `  (async () => {\n${statement(step, `db[${process}]`, '  ')}\n  })(),`).join('\n')}\n])`,
  )
  return [
    '// Each of the three is a process of its own; here they are store objects.',
    "import { LockedNedb } from 'pslock/nedb'",
    "const db = [0, 1, 2].map(() => new LockedNedb({ filename: 'case.db', autoload: true }))",
    ...lines,
    'for (const each of db) console.log(await each.findAsync({}))',
  ].join('\n')
}

/**
 * The property, for the `describe` that calls it.
 * @param pathOf where the store of a case is
 * @param stateAt what the unmodified library finds there
 */
export function testInterleavings(
  pathOf: (name: string) => string,
  stateAt: (path: string) => Promise<State>,
  runs: number,
): void {
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
        const filename = pathOf(`${++cases}.db`)
        await Promise.all(processes.map((each) => each.call('openNedb', filename)))
        try {
          let model = await Model.from({ docs: [], indexes: [] })
          for (const moves of rounds) {
            const outcomes = await Promise.all(
              moves.map(([process, step]) => processes[process]!.call('nedb', step)),
            )
            if (moves.length > 1) overlaps++
            const found = await orderThatExplains(model, moves, outcomes)
            if (found.index > 0) reordered++
            model = found.model
          }
          const everything: Step = ['find', {}]
          const expected = { ok: model.state.docs }
          for (const [index, each] of processes.entries()) {
            assert.deepEqual(await each.call('nedb', everything), expected, `what process ${index} finds`)
            assert.deepEqual(await each.call('nedbMemory'), model.state, `the memory of process ${index}`)
          }
          assert.deepEqual(await stateAt(filename), model.state, 'the vanilla library sees something else')
        } finally {
          await Promise.all(processes.map((each) => each.call('closeNedb')))
        }
      },
      { name: 'NeDB, steps of 3 processes', runs, script },
    )
    note(
      `${overlaps} rounds of several processes at once, ${reordered} of them in another order than they were sent`,
    )
  })

  /** The model after an order of the moves in which each has the outcome that was seen. */
  async function orderThatExplains(model: Model, moves: readonly Move[], outcomes: readonly Outcome[]) {
    const { state } = model
    const tried: unknown[] = []
    for (const [index, order] of ordersOf([...moves.keys()]).entries()) {
      const candidate = order.length === 1 ? model : await Model.from(state)
      const expected: Outcome[] = []
      for (const at of order) expected[at] = await perform(candidate, moves[at]![1])
      if (isDeepStrictEqual(expected, outcomes)) {
        await processes[0]!.call('nedb', ['find', {}])
        const seen = await processes[0]!.call('nedbMemory')
        if (isDeepStrictEqual(seen, candidate.state)) return { model: candidate, index }
        tried.push(seen)
      } else tried.push(expected)
    }
    assert.deepEqual(
      outcomes,
      tried[0],
      `no order explains ${moves.map(([p, s]) => `${p}: ${statement(s)}`).join('\n')}`,
    )
    throw new Error(
      `no order explains what is in the file after ${JSON.stringify(moves)}: ${JSON.stringify(tried)}`,
    )
  }
}
