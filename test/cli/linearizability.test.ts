import assert from 'node:assert/strict'
import { counterContradiction } from '../../cli/stress/linearizability/counter.ts'
import {
  type CounterAct,
  type KeyOperation,
  type RegisterAct,
  step,
} from '../../cli/stress/linearizability/key-operation.ts'
import { registerContradiction } from '../../cli/stress/linearizability/register.ts'
import { ABSENT } from '../../cli/stress/operation.ts'
import { newSeed, note, random as seededRandom } from '../fixtures/random.ts'

type Register = KeyOperation<RegisterAct>
type Counter = KeyOperation<CounterAct>

const NEVER = Number.POSITIVE_INFINITY
let operations = 0

function operation<Act>(act: Act, start: number, end: number | undefined, until = NEVER): KeyOperation<Act> {
  return { worker: 0, index: operations++, act, start, end: end ?? until, isPending: end === undefined }
}

/** `end` undefined: it was never answered; `until`: and its process was dead by then. */
const read = (value: number, start: number, end: number) =>
  operation<RegisterAct>({ kind: 'read', value }, start, end)
const write = (value: number, start: number, end?: number, until?: number) =>
  operation<RegisterAct>({ kind: 'write', value }, start, end, until)
const swap = (from: number, to: number, done: boolean, start: number, end?: number) =>
  operation<RegisterAct>({ kind: 'compareAndSet', from, to, done }, start, end)
const insert = (value: number, done: boolean, start: number, end?: number) =>
  swap(ABSENT, value, done, start, end)
const remove = (done: boolean, start: number, end?: number, until?: number) =>
  operation<RegisterAct>({ kind: 'delete', done }, start, end, until)
const increment = (value: number, start: number, end?: number) =>
  operation<CounterAct>({ kind: 'increment', value }, start, end)
const look = (value: number, start: number, end: number) =>
  operation<CounterAct>({ kind: 'read', value }, start, end)

describe('the linearizability of', () => {
  describe('a register', () => {
    const legal: [string, Register[]][] = [
      ['nothing', []],
      ['a write, and a read of it', [write(5, 0, 1), read(5, 2, 3)]],
      ['a read of nothing before the write', [read(ABSENT, 0, 1), write(5, 2, 3)]],
      [
        'two writes under way at once, read in either order',
        [write(5, 0, 9), write(6, 0, 9), read(6, 10, 11), read(6, 12, 13)],
      ],
      [
        'a read beside a write, of the old and of the new',
        [write(5, 0, 1), write(6, 2, 9), read(6, 3, 4), read(6, 5, 6)],
      ],
      [
        'compare and set, of which one succeeds',
        [write(1, 0, 1), swap(1, 2, true, 2, 9), swap(1, 3, false, 2, 9)],
      ],
      ['an unanswered write that was read', [write(5, 0), read(5, 2, 3)]],
      ['an unanswered write that happened much later', [write(5, 0), read(ABSENT, 2, 3), read(5, 4, 5)]],
      ['an unanswered write that never happened', [write(5, 0), read(ABSENT, 2, 3)]],
      [
        'an unanswered write of a process that died later',
        [write(5, 0, undefined, 4), read(5, 2, 3), read(5, 9, 10)],
      ],
      [
        'a unique key: one success, others refused',
        [insert(1, true, 0, 5), insert(2, false, 0, 5), insert(3, false, 6, 7)],
      ],
      [
        'a unique key deleted and inserted again',
        [
          insert(1, true, 0, 1),
          remove(true, 2, 3),
          insert(2, true, 4, 5),
          remove(true, 6, 7),
          remove(false, 8, 9),
        ],
      ],
      [
        'two successes with an unanswered deletion between',
        [insert(1, true, 0, 1), remove(true, 2), insert(2, true, 4, 5)],
      ],
      [
        'a refusal that only an unanswered insertion explains',
        [insert(1, true, 0), insert(2, false, 3, 4), read(1, 5, 6)],
      ],
    ]
    for (const [what, history] of legal) {
      it(`allows ${what}`, () => assert.equal(registerContradiction(history), undefined))
    }

    const illegal: [string, history: Register[], offending: number[]][] = [
      ['a lost write', [write(5, 0, 1), read(ABSENT, 2, 3)], [0, 1]],
      [
        'a stale read',
        [write(4, 0, 1), write(5, 2, 3), read(5, 4, 5), write(6, 6, 7), read(5, 8, 9)],
        [3, 4],
      ],
      ['a value of nobody', [write(5, 0, 1), read(7, 2, 3), read(5, 4, 5)], [1]],
      ['a value read before it was written', [read(5, 0, 1), write(5, 2, 3)], [0]],
      ['reads that go back in time', [write(4, 0, 1), write(5, 2, 20), read(5, 4, 5), read(4, 6, 7)], [2, 3]],
      [
        'two compare and sets of one value',
        [write(1, 0, 1), swap(1, 2, true, 2, 9), swap(1, 3, true, 2, 9)],
        [1, 2],
      ],
      [
        'a refused compare and set of what was there',
        [write(1, 0, 1), swap(1, 2, false, 2, 9), read(1, 10, 11)],
        [0, 1],
      ],
      ['a unique key given to two', [insert(1, true, 0, 5), insert(2, true, 0, 5)], [0, 1]],
      [
        'a unique key refused that nobody had',
        [insert(1, true, 0, 1), remove(true, 2, 3), insert(2, false, 4, 5)],
        [1, 2],
      ],
      ['a deletion that came back', [insert(1, true, 0, 1), remove(true, 2, 3), read(1, 4, 5)], [1, 2]],
      ['a deletion that two did', [insert(1, true, 0, 1), remove(true, 2, 9), remove(true, 2, 9)], [1, 2]],
      [
        'an unanswered write that took effect after its process was dead',
        [write(5, 0, undefined, 4), read(ABSENT, 6, 7), read(5, 8, 9)],
        [1, 2],
      ],
    ]
    for (const [what, history, offending] of illegal) {
      it(`objects to ${what}, and names it`, () => {
        const found = registerContradiction(history)
        assert.ok(found !== undefined && found !== 'undecided')
        const named = found.operations.map((one) => history.findIndex(({ index }) => index === one.index))
        assert.deepEqual(named.sort(), offending.sort(), found.why)
      })
    }

    it('agrees with trying every order, on random small histories', () => {
      const seed = newSeed()
      const random = seededRandom(seed)
      let illegalOnes = 0
      for (let round = 0; round < 4000; round++) {
        const history = smallHistory(random)
        const expected = everyOrder(history, ABSENT, Number.NEGATIVE_INFINITY)
        if (!expected) illegalOnes++
        const found = registerContradiction(history)
        assert.equal(
          found === undefined,
          expected,
          `seed ${seed}, round ${round}: ${JSON.stringify(history)}`,
        )
        if (found === undefined || found === 'undecided') continue
        assert.ok(found.operations.length > 0)
      }
      note(`seed ${seed}: ${illegalOnes} of 4000 have no order`)
      assert.ok(illegalOnes > 500 && illegalOnes < 3500)
    })

    it('copes with thousands of operations and dozens of killed processes', () => {
      const seed = newSeed()
      const history = longHistory(seededRandom(seed), 5000, 60)
      const began = performance.now()
      assert.equal(registerContradiction(history), undefined)
      const tookMs = performance.now() - began
      const lastRead = history.findLast(({ act }) => act.kind === 'read') as Register
      const spoilt = history.map((one) =>
        one === lastRead ? { ...one, act: { kind: 'read', value: 7 } as const } : one,
      )
      const found = registerContradiction([...spoilt, write(7, 0, 1)])
      assert.ok(found !== undefined && found !== 'undecided')
      const allMs = performance.now() - began
      note(
        `seed ${seed}: ${tookMs.toFixed(0)} ms, ${allMs.toFixed(0)} with the objection (${found.operations.length} named)`,
      )
      assert.ok(found.operations.length <= 4)
    })
  })

  describe('a counter', () => {
    const legal: [string, Counter[]][] = [
      ['nothing', []],
      [
        'increments and reads in order',
        [look(0, 0, 1), increment(1, 2, 3), look(1, 4, 5), increment(2, 6, 7)],
      ],
      ['increments at once, in either order', [increment(2, 0, 9), increment(1, 0, 9), look(2, 10, 11)]],
      ['a read of what is under way', [increment(1, 0, 9), look(1, 3, 4)]],
      ['an unanswered increment that counts', [increment(0, 0), look(1, 2, 3), increment(2, 4, 5)]],
      ['an unanswered increment that does not', [increment(0, 0), increment(1, 4, 5), look(1, 6, 7)]],
      ['one of two unanswered increments', [increment(0, 0), increment(0, 8), look(1, 2, 3), look(1, 9, 10)]],
    ]
    for (const [what, history] of legal) {
      it(`allows ${what}`, () => assert.equal(counterContradiction(history), undefined))
    }

    const illegal: [string, history: Counter[], offending: number[]][] = [
      ['two increments that came to the same', [increment(1, 0, 9), increment(1, 0, 9)], [0, 1]],
      ['a read that missed an increment', [increment(1, 0, 1), look(0, 2, 3)], [0, 1]],
      ['a read that went down', [increment(1, 0, 20), look(1, 2, 3), look(0, 4, 5)], [1, 2]],
      ['a value that nobody can have counted', [increment(1, 0, 1), increment(3, 2, 3)], [1]],
      ['a value counted before it began', [look(1, 0, 1), increment(0, 3)], [0, 1]],
      ['increments against real time', [increment(2, 0, 1), increment(1, 2, 3)], [0, 1]],
      ['an increment lost at the end', [increment(1, 0, 1), increment(2, 2, 3), look(1, 9, 10)], [1, 2]],
    ]
    for (const [what, history, offending] of illegal) {
      it(`objects to ${what}, and names it`, () => {
        const found = counterContradiction(history)
        const named = found?.operations.map((one) => history.indexOf(one))
        assert.deepEqual(named?.sort(), offending, found?.why)
      })
    }

    it('agrees with trying every order, on random small histories', () => {
      const seed = newSeed()
      const random = seededRandom(seed)
      let illegalOnes = 0
      for (let round = 0; round < 4000; round++) {
        const history = smallCounts(random)
        const expected = everyCount(history, 0, Number.NEGATIVE_INFINITY)
        if (!expected) illegalOnes++
        assert.equal(
          counterContradiction(history) === undefined,
          expected,
          `seed ${seed}: ${JSON.stringify(history)}`,
        )
      }
      note(`seed ${seed}: ${illegalOnes} of 4000 have no order`)
      assert.ok(illegalOnes > 500 && illegalOnes < 3500)
    })
  })
})

/** The definition: some order of all the answered ones, and of any of the others, that explains everything. */
function everyOrder(history: readonly Register[], state: number, now: number): boolean {
  return (
    history.every(({ isPending }) => isPending) ||
    history.some((one) => {
      const moment = Math.max(now, one.start)
      const next = step(state, one)
      return (
        moment <= one.end &&
        next !== undefined &&
        everyOrder(
          history.filter((other) => other !== one),
          next,
          moment,
        )
      )
    })
  )
}

function everyCount(history: readonly Counter[], state: number, now: number): boolean {
  return (
    history.every(({ isPending }) => isPending) ||
    history.some((one) => {
      const moment = Math.max(now, one.start)
      const next = one.act.kind === 'increment' ? state + 1 : state
      const fits = moment <= one.end && (one.isPending || next === one.act.value)
      return (
        fits &&
        everyCount(
          history.filter((other) => other !== one),
          next,
          moment,
        )
      )
    })
  )
}

function smallHistory(random: () => number): Register[] {
  const up = (to: number) => Math.floor(random() * to)
  const value = () => up(3) || ABSENT
  return Array.from({ length: 2 + up(5) }, () => {
    const start = up(20)
    const end = random() < 0.2 ? undefined : start + up(10)
    const kind = up(4)
    if (kind === 0) return read(value(), start, end ?? start)
    if (kind === 1) return write(1 + up(2), start, end, start + 1 + up(20))
    if (kind === 2) return swap(value(), 1 + up(2), random() < 0.7, start, end)
    return remove(random() < 0.7, start, end, start + 1 + up(20))
  })
}

function smallCounts(random: () => number): Counter[] {
  const up = (to: number) => Math.floor(random() * to)
  const counted = 2 + up(4)
  return Array.from({ length: counted }, (_, index) => {
    const start = up(20) + 5 * index
    const end = start + up(20)
    if (random() < 0.3) return look(Math.max(0, index + up(3) - 1), start, end)
    return increment(1 + index + (random() < 0.1 ? 1 : 0), start, random() < 0.2 ? undefined : end)
  })
}

/** What eight processes did with one register that was right, a few of them killed now and then. */
function longHistory(random: () => number, count: number, killed: number): Register[] {
  const up = (to: number) => Math.floor(random() * to)
  const free = Array.from({ length: 8 }, () => 0)
  const history: Register[] = []
  let state = ABSENT
  let moment = 10
  for (let made = 0; made < count; made++) {
    const worker = up(8)
    moment += 1 + up(100)
    const start = Math.max(free[worker] as number, moment - up(600))
    if (start > moment) continue
    const end = moment + up(600)
    free[worker] = end + 1
    const value = 10 + made
    const dies = random() < killed / count
    const happens = !dies || random() < 0.5
    const kind = up(5)
    if (dies) {
      history.push(write(value, start, undefined, end))
      if (happens) state = value
    } else if (kind === 0) {
      history.push(write(value, start, end))
      state = value
    } else if (kind === 1) {
      const from = random() < 0.6 ? state : value - 1
      history.push(swap(from, value, from === state, start, end))
      if (from === state) state = value
    } else if (kind === 2) {
      history.push(remove(state !== ABSENT, start, end))
      state = ABSENT
    } else history.push(read(state, start, end))
  }
  return history
}
