import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import type { Failed } from '../fixtures/faults/failing.ts'
import { inParallel, underSeam, useLab } from '../fixtures/faults/lab.ts'
import { scenariosOf } from '../fixtures/faults/scenarios.ts'
import { figures } from '../fixtures/figures.ts'
import { newSeed, note } from '../fixtures/random.ts'

const LONG = process.env.PSLOCK_LONG === '1'
/** Failures of each call in a normal run; PSLOCK_LONG=1 tries all there are. */
const EACH = LONG ? 0 : 1

/**
 * What a failure may pass unnoticed in: a name that cannot be resolved is used as it is; a lock file or its state that
 * cannot be looked at is opened anew; what cannot be opened for writing is opened for reading, and so is a lock file
 * whose mode could not be set; flock is asked again, and where unlocking fails the descriptor is closed instead; what
 * close(2) says of a file that was only read, or is synced; what the removal of a temp file says, beside a failure; and a lock
 * file that was made for a dump stays where it cannot be looked at.
 */
const MAY_PASS = new Set([
  'realpath',
  'readlink',
  'stat',
  'lstat',
  'open',
  'fchmod',
  'fchown',
  'flock',
  'close',
  'unlink',
])

describe('a system call that fails', () => {
  const at = useLab()

  for (const family of ['nedb', 'lowdb'] as const) {
    it(`${family}: leaves memory and file equal and whole, an error with a code, and nothing else`, async function () {
      this.timeout(LONG ? 60 * 60_000 : 120_000)
      const seed = newSeed()
      const sum: Failed = { points: 0, rejected: {}, unnoticed: {}, unreached: 0, problems: [] }
      await inParallel(await scenariosOf(family), Math.min(availableParallelism(), 4), async ({ name }) => {
        mkdirSync(at(name))
        const args = underSeam('failing', at(name), name, String(EACH), String(seed))
        const { stdout } = await promisify(execFile)(process.execPath, args, {
          maxBuffer: 2 ** 28,
          timeout: this.timeout(),
        })
        const failed = JSON.parse(stdout) as Failed
        sum.points += failed.points
        sum.unreached += failed.unreached
        sum.problems.push(...failed.problems)
        for (const key of ['rejected', 'unnoticed'] as const) {
          for (const [what, times] of Object.entries(failed[key]))
            sum[key][what] = (sum[key][what] ?? 0) + times
        }
      })
      note(`seed ${seed}: ${sum.points} failures; rejected ${JSON.stringify(sum.rejected)}`)
      note(`unnoticed: ${JSON.stringify(sum.unnoticed)}; never came: ${sum.unreached}`)
      figures(`failing calls, ${family}`, { seed, ...sum })
      assert.deepEqual(sum.problems, [])
      assert.ok(sum.unreached <= sum.points / 50, `${sum.unreached} of ${sum.points} never came`)
      const passed = Object.keys(sum.unnoticed).filter((call) => !MAY_PASS.has(call.split(' ')[0] ?? ''))
      assert.deepEqual(passed, [], 'a write, sync, rename or read failed, and no operation')
    })
  }
})
