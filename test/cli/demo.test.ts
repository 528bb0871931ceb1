import assert from 'node:assert/strict'
import { pslock } from './run-pslock.ts'

describe('pslock demo', () => {
  it('ends in one table of four runs, and its exit code is that of the locked ones', async () => {
    const { code, stdout, stderr } = await pslock('demo', '--procs', '6', '--seed', '1')
    assert.equal(code, 0, stdout + stderr)
    const rows = stdout.split('\n').filter((line) => /^(nedb|lowdb) /.test(line))
    assert.equal(rows.length, 4)
    for (const row of rows.filter((line) => / locked /.test(line))) assert.match(row, /\b0 +0\/0\/0 .*clean$/)
    assert.match(stdout, /seed 1, [\d.]+ s in all/)
  })
})
