import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Verdict } from '../../cli/stress/verdict.ts'
import { killWhatIsLeft, pslock, startPslock } from '../cli/run-pslock.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { usePostgres } from '../harness/postgres.ts'

describe('pslock stress of a store on a server', () => {
  const server = usePostgres({ password: 'tops3cret' })
  const file = useFolder()
  killWhatIsLeft()
  let url = ''
  before(async () => {
    url = await server().database()
  })

  const stores = async () => (await server().sql('select name from pslock.store', url)).flat()

  async function stress(...args: string[]) {
    const { code, stdout, stderr } = await pslock('stress', '--json', '--url', url, '--dir', file(), ...args)
    assert.notEqual(stdout, '', stderr)
    assert.doesNotMatch(stdout + stderr, /tops3cret/)
    return { code, verdict: JSON.parse(stdout) as Verdict }
  }

  for (const store of ['nedb', 'nedb-promises']) {
    it(`finds nothing wrong with ${store}, and leaves nothing behind`, async function () {
      this.timeout(60_000)
      const { code, verdict } = await stress('--store', store, '--procs', '4', '--ops', '40', '--seed', '1')
      assert.deepEqual(verdict.findings, [])
      assert.deepEqual([code, verdict.acknowledged], [0, 160])
      assert.match(verdict.server ?? '', /#pslock-stress-[0-9a-f]+$/)
      assert.ok(verdict.linearizability.histories > 0)
      assert.deepEqual(await stores(), [])
    })
  }

  it('chaos: workers are killed and go on, dumps are checked', async function () {
    this.timeout(90_000)
    // A killed worker is away for a while on a busy machine.
    const args = ['--profile', 'chaos', '--procs', '6', '--seconds', '8']
    const { code, verdict } = await stress(...args, '--kill', '1/s', '--dump', '4/s', '--seed', '2')
    assert.deepEqual(verdict.findings, [])
    assert.equal(code, 0)
    const { kills, restarts, stops, dumps, copies, compactions } = verdict.disturbed
    assert.ok(kills > 2 && restarts > 2 && stops > 0 && dumps > 0, JSON.stringify(verdict.disturbed))
    assert.deepEqual([copies, compactions], [0, 0])
    assert.deepEqual(await stores(), [])
  })

  it('Ctrl-C: the store is removed; the password is in no argument', async function () {
    this.timeout(60_000)
    const { child, outcome } = startPslock(
      'stress',
      '--url',
      url,
      '--dir',
      file(),
      '--procs',
      '3',
      '--seconds',
      '50',
    )
    await until('the workers work', async () => (await stores()).length === 1, 20_000)
    const workers = execFileSync('ps', ['-axww', '-o', 'args='], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => /worker\.js/.test(line) && line.includes(file()))
    assert.equal(workers.length, 3)
    assert.doesNotMatch(workers.join(), /tops3cret/)
    child.kill('SIGINT')
    assert.equal((await outcome).code, 130)
    assert.deepEqual(await stores(), [])
  })

  it('--keep leaves it; the report says that there is no control', async function () {
    this.timeout(60_000)
    const page = file('out.html')
    const args = ['--procs', '2', '--ops', '40', '--keep', '--report', page, '--seed', '3']
    const { code, stdout, stderr } = await pslock('stress', '--url', url, '--dir', file(), ...args)
    assert.equal(code, 0, stdout + stderr)
    assert.match(stderr, /there is no control without a lock on a server/)
    assert.match(stdout, /kept in .* and postgres:\/\/127\.0\.0\.1:\d+\/\w+#pslock-stress-/)
    assert.match(stdout, /--url postgres:\/\/127/)
    assert.equal((await stores()).length, 1)
    assert.doesNotMatch(readFileSync(page, 'utf8'), /tops3cret/)
  })

  it('wrong usage', async () => {
    for (const args of [
      ['--url', `${url}#a`],
      ['--url', 'x'],
      ['--url', url, '--unlocked'],
      ['--url', url, '--store', 'lowdb'],
      ['--url', url, '--vanilla-open', '1/s'],
    ]) {
      const { code, stderr } = await pslock('stress', ...args)
      assert.equal(code, 2, args.join(' '))
      assert.doesNotMatch(stderr, /tops3cret/)
    }
  })
})
