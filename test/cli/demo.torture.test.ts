import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { demoExitCode } from '../../cli/stress/demo.ts'
import { useFolder } from '../fixtures/folder.ts'
import { madeUpRun } from './made-up-run.ts'
import { drawn } from './report-drawings.ts'
import { pslock } from './run-pslock.ts'

describe('pslock demo', () => {
  const folder = useFolder()

  it('ends with the code of losses only where there are some', () => {
    const run = (exitCode: number, mode: 'locked' | 'control' = 'locked') =>
      madeUpRun({ mode, workers: [], verdict: { exitCode } }).verdict
    const control = run(1, 'control')
    for (const [locked, code] of [
      [[0, 0], 0],
      [[0, 3], 3],
      [[3], 3],
      [[3, 1], 1],
      [[1, 0], 1],
      [[], 125],
    ] as const) {
      assert.equal(demoExitCode([control, ...locked.map((exitCode) => run(exitCode))]), code)
    }
  })

  it('ends in one table of four runs, and its exit code is that of the locked ones; a report has them all', async () => {
    const { code, stdout, stderr } = await pslock(
      ...['demo', '--procs', '6', '--seed', '1', '--report', folder('demo.html')],
    )
    assert.equal(code, 0, stdout + stderr)
    const rows = stdout.split('\n').filter((line) => /^(nedb|lowdb) /.test(line))
    assert.equal(rows.length, 4)
    for (const row of rows.filter((line) => / locked /.test(line))) assert.match(row, /\b0 +0\/0\/0 .*clean$/)
    assert.match(stdout, /seed 1, [\d.]+ s in all/)
    assert.match(stdout, /\n\nThe same in a browser.*: pslock demo --web\n$/)
    const page = readFileSync(folder('demo.html'), 'utf8')
    assert.match(page, /<h1 class="good">Nothing lost<[\s\S]*<h2>NeDB<[\s\S]*<h2>lowdb</)
    assert.equal(drawn(page, 'waits').length, 4)
    assert.equal(
      drawn(page, 'lanes').filter(({ bars }) => bars.some(({ what }) => what === 'exclusive')).length,
      2,
    )
  })
})
