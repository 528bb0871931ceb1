import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { note } from '../fixtures/random.ts'

/** Law 8: everyone gets a turn, first come, first served. Ratios count, not times: the machine has other work. */
const FAIR = 0.5

describe('fairness', () => {
  const crew = useCrew()
  const at = useFolder()

  /** How often the lock changed hands, per process: a turn is a run of sections by one process. */
  function turnsOf(log: string): Map<string, number> {
    const turns = new Map<string, number>()
    let last = ''
    for (const pid of readFileSync(log, 'utf8').trim().split('\n')) {
      if (pid !== last) turns.set(pid, (turns.get(pid) ?? 0) + 1)
      last = pid
    }
    return turns
  }

  function summary(results: { turns: number; longestMs: number }[]): { ratio: number; longestMs: number } {
    const sections = results.map(({ turns }) => turns)
    const ratio = Math.min(...sections) / Math.max(...sections)
    const longestMs = Math.max(...results.map((result) => result.longestMs))
    note(
      `sections ${sections.join(' ')}: fewest/most ${ratio.toFixed(2)}, longest wait ${longestMs.toFixed(0)} ms`,
    )
    return { ratio, longestMs }
  }

  it('ten processes that want it again and again get equally many turns, and none starves', async () => {
    const mates = await crew.processes(10)
    const results = await Promise.all(
      mates.map((mate) => mate.call('contend', at('data'), { forMs: 3000, log: at('log') })),
    )
    const { longestMs } = summary(results)
    const turns = [...turnsOf(at('log')).values()]
    const ratio = Math.min(...turns) / Math.max(...turns)
    note(`hand-overs per process ${turns.join(' ')}: fewest/most ${ratio.toFixed(2)}`)
    assert.equal(turns.length, 10)
    assert.ok(Math.min(...turns) >= 5, 'the run proves something only with contention')
    assert.ok(ratio >= FAIR, `fewest/most ${ratio}`)
    assert.ok(longestMs < 1500, `somebody waited ${longestMs} ms of 3000`)
  })

  it('of fifty processes each gets half as many turns as any other, and waits at most ten times the mean', async function () {
    this.timeout(60_000)
    const forMs = 5000
    const mates = await crew.processes(50)
    // All have waited once, so that no start-up is measured.
    await Promise.all(mates.map((mate) => mate.call('contend', at('data'), { forMs: 300 })))
    const results = await Promise.all(
      mates.map((mate) => mate.call('contend', at('data'), { forMs, log: at('log') })),
    )
    const { longestMs } = summary(results)
    const turns = [...turnsOf(at('log')).values()]
    const ratio = Math.min(...turns) / Math.max(...turns)
    const meanMs = forMs / (turns.reduce((sum, n) => sum + n, 0) / turns.length)
    note(
      `hand-overs per process ${turns.join(' ')}: fewest/most ${ratio.toFixed(2)}, one in ${meanMs.toFixed(0)} ms`,
    )
    assert.equal(turns.length, 50)
    assert.ok(Math.min(...turns) >= 5, 'the run proves something only with contention')
    assert.ok(ratio >= FAIR, `fewest/most ${ratio}`)
    assert.ok(longestMs <= 10 * meanMs, `somebody waited ${longestMs} ms, the mean is ${meanMs} ms`)
  })

  it('ten processes with 5 ms of work each time get equally many sections', async () => {
    const mates = await crew.processes(10)
    const results = await Promise.all(
      mates.map((mate) => mate.call('contend', at('data'), { forMs: 3000, holdMs: 5 })),
    )
    const { ratio, longestMs } = summary(results)
    assert.ok(ratio >= FAIR, `fewest/most ${ratio}`)
    assert.ok(longestMs < 1500, `somebody waited ${longestMs} ms of 3000`)
  })

  it('a process with many tasks does not keep out a process with one', async () => {
    const [crowd, single] = await crew.processes(2)
    const busy = Array.from({ length: 30 }, () =>
      crowd!.call('contend', at('data'), { forMs: 1500, holdMs: 1 }),
    )
    await sleep(50)
    const result = await single!.call('contend', at('data'), { forMs: 1200, holdMs: 1 })
    await Promise.all(busy)
    note(`the single one: ${result.turns} sections, longest wait ${result.longestMs.toFixed(0)} ms`)
    assert.ok(result.turns >= 20, `only ${result.turns} sections beside 30 tasks`)
    assert.ok(result.longestMs < 700, `it waited ${result.longestMs} ms`)
  })
})
