import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PsLock } from '../src/lock/lock.ts'
import { killWhatIsLeft, PSLOCK, start } from './cli/run-pslock.ts'
import { ROOT } from './fixtures/code.ts'
import { until, useFolder } from './fixtures/folder.ts'

const EXAMPLES = join(ROOT, 'examples/')
const TSX = import.meta.resolve('tsx')

describe('examples', () => {
  killWhatIsLeft()
  const at = useFolder()
  const run = (name: string, ...args: string[]) =>
    start(process.execPath, ['--import', TSX, EXAMPLES + name, ...args], { cwd: at() }).outcome

  it('stay short', () => {
    // Those in folders are larger programs, with tests of their own.
    const names = readdirSync(EXAMPLES, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name)
    assert.ok(names.length >= 3)
    for (const name of names) {
      assert.ok(readFileSync(EXAMPLES + name, 'utf8').split('\n').length <= 30, name)
    }
  })

  describe('cron-job.sh', () => {
    const job = () => {
      const PATH = `${at('bin')}:${process.env.PATH}`
      return start('sh', [`${EXAMPLES}cron-job.sh`, 'orders.log', 'totals.log'], { cwd: at(), env: { PATH } })
        .outcome
    }
    const totals = () => (existsSync(at('totals.log')) ? readFileSync(at('totals.log'), 'utf8') : '')

    beforeEach(() => {
      // As npm puts it there.
      mkdirSync(at('bin'))
      writeFileSync(at('bin/pslock'), `#!/bin/sh\nexec '${process.execPath}' '${PSLOCK}' "$@"\n`, {
        mode: 0o755,
      })
      writeFileSync(at('orders.log'), 'apples\npears\n')
    })

    it('does its work', async () => {
      const { code, stdout, stderr } = await job()
      assert.deepEqual([code, stdout, stderr], [0, '', ''])
      assert.match(totals(), /^\S+Z 2 orders\n$/)
    })

    it('ends quietly when the last run is still at work', async () => {
      const held = await new PsLock(at('totals.log')).acquire()
      const { code, stdout, stderr } = await job()
      held.release()
      assert.deepEqual([code, stdout, stderr, totals()], [0, '', '', ''])
    })

    it('reports any other failure', async () => {
      writeFileSync(at('bin/wc'), '#!/bin/sh\nexit 3\n', { mode: 0o755 })
      assert.equal((await job()).code, 3)
    })
  })

  it('shared-config.ts: what several processes set at once is all there', async () => {
    const keys = Array.from({ length: 5 }, (_, i) => `key${i}`)
    // All of them meet at the lock: left to themselves they would start one after another, and miss each other.
    await using lock = new PsLock(at('config.json'))
    using held = await lock.acquire()
    const edits = keys.map((key) => run('shared-config.ts', 'config.json', key, `of ${key}`))
    const waiting = () => lock.holders().filter(({ state }) => state === 'waiting').length
    await until('all of them wait', () => waiting() === keys.length, 30_000)
    held.release()
    const outcomes = await Promise.all(edits)
    for (const { code, stderr } of outcomes) assert.deepEqual([code, stderr], [0, ''])
    const config = JSON.parse(readFileSync(at('config.json'), 'utf8'))
    assert.deepEqual(Object.keys(config).sort(), keys)
    const { stdout } = await run('shared-config.ts', 'config.json')
    for (const key of keys) assert.match(stdout, new RegExp(`${key}: 'of ${key}'`))
  })

  it('cluster-counter.ts: no count is lost', async () => {
    const { code, stdout, stderr } = await run('cluster-counter.ts', 'count.txt')
    assert.deepEqual([code, stdout, stderr], [0, '4 workers x 100 = 400\n', ''])
  })
})
