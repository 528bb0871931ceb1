import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { CALM } from '../../cli/stress/chaos/options.ts'
import { DEFAULTS, type StressOptions } from '../../cli/stress/options.ts'
import { stress } from '../../cli/stress/stress.ts'
import type { Verdict } from '../../cli/stress/verdict.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'
import { killWhatIsLeft, pslock, startPslock } from './run-pslock.ts'

describe('pslock stress in trouble', () => {
  const folder = useFolder()
  killWhatIsLeft()

  for (const store of ['nedb', 'lowdb']) {
    it(`finds nothing wrong with ${store} under all kinds of trouble at once`, async () => {
      const seed = String(newSeed())
      const often = [
        '--dump',
        '4/s',
        '--vanilla-open',
        '4/s',
        ...(store === 'nedb' ? ['--compact', '8/s'] : []),
      ]
      const size = ['--procs', '6', '--seconds', '4', '--kill', '3/s', '--seed', seed]
      const args = ['--store', store, '--profile', 'chaos', ...size, ...often]
      const { code, stdout, stderr } = await pslock('stress', '--json', ...args)
      assert.notEqual(stdout, '', stderr)
      const { findings, disturbed, linearizability, workers } = JSON.parse(stdout) as Verdict
      note(`seed ${seed}: ${JSON.stringify(disturbed)} ${JSON.stringify(linearizability)}`)
      assert.deepEqual(findings, [])
      assert.equal(code, 0)
      assert.deepEqual(workers, { finished: 6, killed: 0, failed: 0 })
      assert.ok(disturbed.kills > 3 && disturbed.restarts > 3, `${disturbed.kills} kills`)
      for (const name of ['stops', 'dumps', 'copies'] as const) assert.ok(disturbed[name] > 0, name)
      assert.equal(disturbed.compactions > 0, store === 'nedb')
      assert.equal(disturbed.compactionsByNeed > 0, store === 'nedb')
      assert.ok(linearizability.histories > 0 && linearizability.operations > 0)
      assert.equal(linearizability.undecided, 0)
    })
  }

  it('with a number of operations every worker does all of its own, however often it is killed', async () => {
    const args = ['--procs', '4', '--ops', '60', '--think', '20', '--kill', '4/s', '--seed', '11']
    const { code, stdout } = await pslock('stress', '--json', ...args)
    const { acknowledged, disturbed, findings } = JSON.parse(stdout) as Verdict
    assert.deepEqual(findings, [])
    assert.equal(code, 0)
    assert.ok(disturbed.kills > 0, 'nobody was killed')
    // What a kill cut short is not done again.
    assert.ok(acknowledged <= 240 && acknowledged >= 240 - disturbed.kills, `${acknowledged}`)
  })

  it('can disturb the control too, and leaves out what the vanilla library has not', async () => {
    const args = ['--unlocked', '--profile', 'chaos', '--procs', '4', '--seconds', '2', '--seed', '12']
    const { code, stdout } = await pslock('stress', '--json', ...args)
    const { disturbed, found } = JSON.parse(stdout) as Verdict
    assert.equal(code, 1)
    assert.ok(found.lost > 0)
    assert.deepEqual([disturbed.dumps, disturbed.copies, disturbed.compactions], [0, 0, 0])
  })

  describe('leaves no process behind', () => {
    const trouble = ['--procs', '4', '--seconds', '600', '--stop', '40/s', '--kill', '2/s']
    const start = () => startPslock('stress', '--json', ...trouble, '--dir', folder())
    /** The workers of this run that live, by what they were started with. */
    const workers = () => processesWith(folder())

    it('at Ctrl-C, and says what was found so far', async function () {
      if (process.platform !== 'linux') this.skip()
      const { child, outcome } = start()
      await until('one is stopped', () => workers().some(({ state }) => state === 'T'), 30_000)
      child.kill('SIGINT')
      const { code, stdout } = await outcome
      assert.equal(code, 130)
      const verdict = JSON.parse(stdout) as Verdict
      assert.deepEqual(verdict.findings, [])
      assert.ok(verdict.interrupted && verdict.acknowledged > 0 && verdict.disturbed.stops > 0)
      assert.deepEqual(workers(), [])
      assert.deepEqual(readdirSync(folder()), [])
    })

    it('when it is killed itself: who was stopped goes on, and ends', async function () {
      if (process.platform !== 'linux') this.skip()
      const { child, outcome } = start()
      await until('one is stopped', () => workers().some(({ state }) => state === 'T'), 30_000)
      child.kill('SIGKILL')
      await outcome
      await until('all workers have ended', () => workers().length === 0)
    })
  })

  it('has the data of a run afterwards: who did what when, who had the lock, and what was done to whom', async () => {
    const options: StressOptions = {
      ...DEFAULTS,
      procs: 3,
      ops: Number.POSITIVE_INFINITY,
      seconds: 3,
      chaos: { ...CALM, killsPerSecond: 1, stopsPerSecond: 2 },
      seed: 13,
      unlocked: false,
      kill: 0,
      sliceMs: undefined,
      dir: folder(),
      keep: false,
    }
    const { verdict, record } = await stress(options)
    assert.deepEqual(verdict.findings, [])
    assert.deepEqual(JSON.parse(JSON.stringify(record.findings)), [])
    // Not by the three seconds: on a busy machine all three are dead for the last of them. It counts from where they
    // began together, the verdict from the first operation.
    assert.ok(record.elapsedMs >= verdict.elapsedMs && verdict.elapsedMs > 0)
    assert.equal(record.workers.length, 3)
    assert.equal(
      record.workers.reduce((sum, { restarts }) => sum + restarts, 0),
      verdict.disturbed.restarts,
    )
    const kills = record.disturbances.filter(({ what }) => what === 'kill')
    assert.equal(kills.length, verdict.disturbed.kills)
    assert.ok(kills.length > 0)
    for (const { what, atMs, untilMs } of record.disturbances) {
      assert.ok(atMs > 0 && atMs < 10_000, `${what} at ${atMs}`)
      if (what === 'stop') assert.ok(untilMs === undefined || untilMs > atMs + 5)
    }
    const answered = record.workers.flatMap(({ operations }) =>
      operations.filter(({ toMs }) => toMs !== undefined),
    )
    assert.equal(answered.length, verdict.acknowledged)
    const exclusive = record.workers.flatMap(({ holds }) => holds.filter(({ mode }) => mode === 'exclusive'))
    assert.ok(exclusive.length > 20)
    for (const { askedMs, grantedMs, releasedMs } of exclusive) {
      assert.ok(askedMs <= grantedMs && grantedMs <= (releasedMs ?? Number.POSITIVE_INFINITY))
    }
    assert.ok(!existsSync(join(folder(), 'pslock-stress')))
  })
})

/** The live processes that have this in their command line, as `/proc` has them; `T` is stopped. */
function processesWith(text: string): { pid: number; state: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      if (!/^\d+$/.test(name) || !statSync(`/proc/${name}`).isDirectory()) return []
      const isOne = readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(`${text}/pslock-stress`)
      const state = /^\S+ \(.*\) (\S)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1] as string
      return isOne && state !== 'Z' ? [{ pid: Number(name), state }] : []
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}
