import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { FINDING_KINDS } from '../../cli/stress/findings.ts'
import type { Verdict } from '../../cli/stress/verdict.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { type Outcome, pslock, startPslock } from './run-pslock.ts'

const STORES = ['nedb', 'nedb-promises', 'lowdb']

async function stress(...args: string[]): Promise<Outcome & { verdict: Verdict }> {
  const outcome = await pslock('stress', '--json', ...args)
  assert.notEqual(outcome.stdout, '', outcome.stderr)
  return { ...outcome, verdict: JSON.parse(outcome.stdout) as Verdict }
}

describe('pslock stress', () => {
  for (const store of STORES) {
    it(`finds nothing wrong with ${store} under the lock`, async () => {
      const { code, verdict } = await stress('--store', store, '--procs', '4', '--ops', '30', '--seed', '1')
      assert.deepEqual(verdict.findings, [])
      assert.equal(code, 0)
      assert.equal(verdict.verdict, 'clean')
      assert.equal(verdict.acknowledged, 120)
      assert.deepEqual(verdict.workers, { finished: 4, killed: 0, failed: 0 })
    })

    it(`finds the losses of ${store} without a lock`, async () => {
      const { code, verdict } = await stress('--store', store, '--procs', '8', '--seed', '2', '--unlocked')
      assert.equal(code, 1)
      assert.equal(verdict.mode, 'control')
      assert.equal(verdict.verdict, 'damaged')
      assert.ok(verdict.found.lost > 0, JSON.stringify(verdict.found))
      assert.ok(verdict.found.notLinearizable > 0, JSON.stringify(verdict.found))
      assert.ok(verdict.findings.length > 0)
    })

    it(`finds nothing wrong with ${store} when processes are killed`, async () => {
      const args = ['--store', store, '--procs', '6', '--ops', '50', '--kill', '3', '--seed', '3']
      const { code, verdict } = await stress(...args)
      assert.deepEqual(verdict.findings, [])
      assert.equal(code, 0)
      assert.ok(verdict.workers.killed > 0)
      assert.equal(verdict.workers.failed, 0)
    })
  }

  it('is clean with durability "disk"', async () => {
    const { code } = await stress('--procs', '3', '--ops', '20', '--durability', 'disk', '--seed', '4')
    assert.equal(code, 0)
  })

  it('reports everything as one JSON object', async () => {
    const { verdict } = await stress(
      '--procs',
      '3',
      '--ops',
      '20',
      '--seed',
      '5',
      '--think',
      '2',
      '--slice',
      '0',
    )
    assert.equal(verdict.store, 'nedb')
    assert.equal(verdict.mode, 'locked')
    assert.deepEqual(
      [verdict.seed, verdict.procs, verdict.ops, verdict.planned, verdict.thinkMs, verdict.sliceMs],
      [5, 3, 20, 60, 2, 0],
    )
    assert.deepEqual(Object.keys(verdict.found), [...FINDING_KINDS])
    for (const name of ['elapsedMs', 'opsPerSecond', 'handovers', 'handoversPerOperation'] as const) {
      assert.ok(verdict[name] > 0, name)
    }
    assert.ok(verdict.leastTurns >= 1)
    assert.ok(verdict.fairness >= 0 && verdict.fairness <= 1)
    const { count, p50, p99, max } = verdict.latencyMs.all!
    assert.equal(count, 60)
    assert.ok(p50 > 0 && p50 <= p99 && p99 <= max)
    assert.ok(verdict.latencyMs.insert && verdict.latencyMs.increment)
    assert.equal(typeof verdict.refused.taken, 'number')
    assert.equal(verdict.floor?.measure, 'handoversPerOperation')
    assert.equal(verdict.exitCode, 0)
  })

  it('prints a seed of its own choice, and a table, on stdout only', async () => {
    const { code, stdout, stderr } = await pslock('stress', '--procs', '2', '--ops', '20')
    assert.equal(code, 0)
    assert.match(stdout, /seed \d+: pslock stress --store nedb --procs 2 --ops 20 --seed \d+/)
    assert.match(stdout, /lost +0/)
    assert.match(stdout, /CLEAN/)
    assert.doesNotMatch(stderr, /CLEAN/)
  })

  it('says so when there was not enough contention', async () => {
    // Of lowdb, where reads take the lock too: two processes in slices of half a minute, one after the other.
    const few = ['--store', 'lowdb', '--procs', '2', '--ops', '80', '--think', '0', '--slice', '30000']
    const { code, stdout } = await pslock('stress', ...few)
    assert.equal(code, 3)
    assert.match(stdout, /not enough contention/)
  })

  it('asks no contention of a single process', async () => {
    const { code } = await stress('--procs', '1', '--ops', '20')
    assert.equal(code, 0)
  })

  describe('its folder', () => {
    const folder = useFolder()

    it('is removed', async () => {
      await stress('--procs', '2', '--ops', '10', '--dir', folder())
      assert.deepEqual(readdirSync(folder()), [])
    })

    it('is kept on request, and named', async () => {
      const { verdict } = await stress('--procs', '2', '--ops', '10', '--dir', folder(), '--keep')
      const kept = verdict.kept ?? ''
      assert.ok(kept.startsWith(folder()))
      assert.ok(readdirSync(kept).includes('data.db'))
    })

    it('is removed by Ctrl-C, which ends every worker, tells the verdict so far and exits 130', async () => {
      const { child, outcome } = startPslock('stress', '--procs', '3', '--ops', '100000', '--dir', folder())
      await until('a worker works', () => working(folder()))
      const workers = childrenOf(child.pid!)
      child.kill('SIGINT')
      const { code, stdout } = await outcome
      assert.equal(code, 130)
      assert.match(stdout, /lost +0.*\(interrupted: so far\)/s)
      assert.deepEqual(readdirSync(folder()), [])
      for (const pid of workers) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
    })

    it('a worker that hangs is an error', async function () {
      if (process.platform !== 'linux') this.skip()
      const args = ['--procs', '2', '--ops', '20', '--think', '200', '--stall', '1500', '--dir', folder()]
      const { child, outcome } = startPslock('stress', '--json', ...args)
      await until('both workers work', () => working(folder(), 2))
      process.kill(childrenOf(child.pid!)[0]!, 'SIGSTOP')
      const { code, stdout } = await outcome
      const { found, findings } = JSON.parse(stdout) as Verdict
      assert.equal(code, 1)
      assert.equal(found.lost, 0)
      assert.match(findings.map(({ message }) => message).join('\n'), /no progress for 2 s while working/)
    })
  })

  describe('wrong usage exits 2 and says what is wrong', () => {
    const wrong: [name: string, args: string[], message: RegExp][] = [
      ['an unknown store', ['stress', '--store', 'sqlite'], /nedb, nedb-promises, lowdb/],
      ['no process', ['stress', '--procs', '0'], /whole number from 1/],
      ['half an operation', ['stress', '--ops', '1.5'], /whole number/],
      ['killing everybody', ['stress', '--procs', '3', '--kill', '3'], /one of the 3 processes alive/],
      ['no rate', ['stress', '--stop', '5'], /so many times a second, such as 2\/s/],
      ['a rate of another time', ['stress', '--kill', '5/m'], /so many times a second/],
      ['a count and a time', ['stress', '--ops', '5', '--seconds', '5'], /either --ops or --seconds/],
      [
        'compacting lowdb',
        ['stress', '--store', 'lowdb', '--compact', '1/s'],
        /nothing that --compact could/,
      ],
      ['a dump without a lock', ['stress', '--unlocked', '--dump', '1/s'], /--dump needs the lock/],
      ['an unknown profile', ['stress', '--profile', 'calm'], /chaos, torture/],
      ['a negative pause', ['stress', '--think', '-1'], /milliseconds from 0 up/],
      ['an unknown option', ['stress', '--locked'], /unknown option/],
      ['an unknown command', ['stres'], /unknown command/],
      ['a missing file', ['status'], /missing required argument/],
    ]
    for (const [name, args, message] of wrong) {
      it(name, async () => {
        const { code, stdout, stderr } = await pslock(...args)
        assert.equal(code, 2)
        assert.equal(stdout, '')
        assert.match(stderr, message)
      })
    }
  })

  it('--help has the defaults and the exit codes', async () => {
    const { code, stdout } = await pslock('stress', '--help')
    assert.equal(code, 0)
    assert.match(stdout, /--procs <n>.*default: 50/s)
    assert.match(stdout, /0 clean, 1 losses.*3\s+not enough contention.*130 Ctrl-C/s)
    assert.match(stdout, /--kill <n or n\/s>.*--stop <n\/s>.*--clock-jump/s)
  })
})

/** Whether that many workers have written into their ledgers. */
function working(dir: string, count = 1): boolean {
  const [run] = readdirSync(dir)
  if (run === undefined) return false
  const ledgers = readdirSync(join(dir, run)).filter((name) => name.includes('.ledger-'))
  return ledgers.filter((name) => statSync(join(dir, run, name)).size > 0).length >= count
}

function childrenOf(pid: number): number[] {
  if (process.platform !== 'linux') return []
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.trim().split(/\s+/).map(Number)
}
