import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { underSeam, useLab } from '../fixtures/faults/lab.ts'
import type { Waited } from '../fixtures/faults/waiting.ts'
import { note } from '../fixtures/random.ts'

/** Who stands in line is told by a file of hints. Whatever fails there, once or for ever, no operation notices. */
describe('a system call on the line of waiters that fails', () => {
  const at = useLab()

  it('fails no operation, and keeps none waiting', async function () {
    this.timeout(120_000)
    const { stdout } = await promisify(execFile)(process.execPath, underSeam('waiting', at('line')))
    const { points, failed, problems } = JSON.parse(stdout) as Waited
    note(`${points} failures: ${JSON.stringify(failed)}`)
    assert.deepEqual(problems, [])
    // Which calls come at which place is a matter of time; of reads there are always some.
    assert.ok(failed.read, 'no read has failed')
  })
})
