import assert from 'node:assert/strict'
import { contentionFloor, type Measures, measure } from '../../cli/stress/contention.ts'
import type { History } from '../../cli/stress/history.ts'
import { DEFAULTS, type StressOptions } from '../../cli/stress/options.ts'

/** A history of reads that end at these milliseconds, each of which took half a millisecond. */
function history(worker: number, ends: readonly number[], ended: History['ended'] = 'finished'): History {
  const entries = ends.map((ms, index) => ({
    index,
    operation: { kind: 'readCount' } as const,
    start: (ms - 0.5) * 1e6,
    end: ms * 1e6,
    answer: { said: 'done' } as const,
  }))
  return { worker, entries, ended }
}

describe('the contention of a run', () => {
  it('is what the ledgers say, merged by time', () => {
    const measures = measure([history(0, [1, 2, 5, 6]), history(1, [3, 4, 7, 8])])
    assert.equal(measures.acknowledged, 8)
    assert.equal(measures.handovers, 3)
    assert.equal(measures.handoversPerOperation, 3 / 8)
    assert.equal(measures.leastTurns, 2)
    assert.equal(measures.elapsedMs, 7.5)
    assert.equal(measures.latencyMs.all?.p99, 0.5)
    assert.equal(measures.latencyMs.read?.count, 8)
  })

  it('shows who starved at half time, though all did the same in the end', () => {
    assert.equal(measure([history(0, [1, 2, 3, 4]), history(1, [5, 6, 7, 8])]).fairness, 0)
    assert.equal(measure([history(0, [1, 3, 5, 7]), history(1, [2, 4, 6, 8])]).fairness, 1)
  })

  it('asks nothing of the killed', () => {
    const measures = measure([
      history(0, [1, 3, 5, 7]),
      history(1, [2, 4, 6, 8]),
      history(2, [2.5], 'killed'),
    ])
    assert.equal(measures.leastTurns, 4)
    assert.equal(measures.fairness, 1)
  })

  it('survives a run in which nothing was done', () => {
    assert.equal(measure([history(0, [])]).opsPerSecond, 0)
  })

  describe('must reach', () => {
    const options = {
      ...DEFAULTS,
      seed: 1,
      unlocked: false,
      kill: 0,
      sliceMs: undefined,
      dir: '',
      keep: false,
    }
    const floor = (changed: Partial<StressOptions>, measures: Partial<Measures>) =>
      contentionFloor({ ...options, ...changed }, measures as Measures)

    it('0.25 hand-overs per operation with pauses, or without time slices', () => {
      assert.equal(floor({}, { handoversPerOperation: 0.24 })?.reached, false)
      assert.equal(floor({}, { handoversPerOperation: 0.25 })?.reached, true)
      assert.equal(floor({ thinkMs: 0, sliceMs: 0 }, { handoversPerOperation: 0.24 })?.reached, false)
    })

    it('20 turns for each with time slices, fewer where there is less work', () => {
      assert.deepEqual(floor({ thinkMs: 0, ops: 1000 }, { leastTurns: 19 }), {
        measure: 'leastTurns',
        least: 20,
        reached: false,
      })
      assert.equal(floor({ thinkMs: 0, ops: 40 }, { leastTurns: 10 })?.reached, true)
    })

    it('nothing in the control, or with one process', () => {
      assert.equal(floor({ unlocked: true }, {}), undefined)
      assert.equal(floor({ procs: 1 }, {}), undefined)
    })
  })
})
