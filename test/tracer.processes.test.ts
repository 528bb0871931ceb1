import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { codeFile, LOADER, ROOT } from './fixtures/code.ts'
import type { Figures } from './harness/trace.ts'

type Limits = Pick<Figures, 'files' | 'moves' | 'promises' | 'wholeTexts'>

/**
 * What a steady operation may cost, at most. Whoever makes the path shorter lowers its line here; nobody raises one.
 * `npm run trace -- exclusive` shows the path itself.
 */
const ALLOWED: Readonly<Record<string, Limits>> = {
  exclusive: { files: 5, moves: 12, promises: 7, wholeTexts: 0 },
  insertAsync: { files: 17, moves: 42, promises: 4, wholeTexts: 0 },
  updateAsync: { files: 17, moves: 45, promises: 4, wholeTexts: 0 },
  findOneAsync: { files: 14, moves: 20, promises: 5, wholeTexts: 0 },
  'LockedLow.update': { files: 24, moves: 106, promises: 38, wholeTexts: 1 },
  'LockedLow.update, journal': { files: 26, moves: 124, promises: 38, wholeTexts: 0 },
}

describe('the path of a steady operation', function () {
  this.timeout(120_000)
  let measured: Record<string, Figures> = {}
  before(() => {
    const trace = [...LOADER, codeFile('test/harness/trace'), '--json']
    measured = JSON.parse(
      execFileSync(process.execPath, trace, {
        cwd: ROOT,
        encoding: 'utf8',
        env: { ...process.env, PSLOCK_BINDING: 'koffi' },
      }),
    )
    console.table(measured)
  })

  it('every operation has its limits', () => {
    assert.deepEqual(Object.keys(measured), Object.keys(ALLOWED))
  })

  for (const [operation, allowed] of Object.entries(ALLOWED)) {
    it(`${operation} is not longer than it was`, function () {
      // Other systems have other ways to lock and to write.
      if (process.platform !== 'linux') return this.skip()
      for (const [what, limit] of Object.entries(allowed) as [keyof Limits, number][]) {
        // What Node makes of one `await` is its own matter, version by version.
        if (what === 'promises' && !process.version.startsWith('v20.')) continue
        const found = measured[operation]?.[what] as number
        assert.ok(found <= limit, `${what}: ${found}, allowed are ${limit}`)
        if (found < limit) console.log(`        ${operation}: lower its ${what} to ${found} in ALLOWED`)
      }
    })
  }
})
