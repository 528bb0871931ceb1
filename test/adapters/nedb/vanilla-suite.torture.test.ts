import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ROOT } from '../../fixtures/code.ts'
import { compareRepeatedly } from '../../vanilla-suites/compare.ts'
import { installedNedb, nedbSuite } from '../../vanilla-suites/nedb.ts'

/** What both fail: 1.8 reads `null` as `undefined`, and has internals that are gone. */
const CONTROL = 314

describe("NeDB's own test suite", () => {
  it('with LockedNedb in the place of its Datastore passes all that it passes by itself', async function () {
    if (!existsSync(join(ROOT, 'dist/nedb.js'))) {
      console.log('      skipped: run `npm run build` first')
      return this.skip()
    }
    // nedb 1.8 brings its tests along, @seald-io/nedb does not. `npm run vanilla-suites` runs those.
    const suite = dirname(createRequire(import.meta.url).resolve('nedb/package.json'))
    const { passed, control, worse } = await compareRepeatedly(nedbSuite(suite, installedNedb()), CONTROL)
    assert.deepEqual(worse, [])
    assert.ok(control >= CONTROL, `the control passed ${control}`)
    assert.ok(passed >= control)
  })
})
