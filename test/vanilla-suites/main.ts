/**
 * `npm run vanilla-suites -- --nedb <checkout of seald/nedb> --lowdb <checkout of typicode/lowdb>`
 *
 * Runs the newest test suites of the libraries with our classes in the place of theirs, and once more as they are. Exit
 * code 0: ours fail nothing that the library passes.
 */
import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../fixtures/code.ts'
import { compare, type RunSuite } from './compare.ts'
import { lowdbSuite } from './lowdb.ts'
import { nedbSuite } from './nedb.ts'

const USAGE =
  'usage: npm run vanilla-suites -- [--nedb <checkout of seald/nedb>] [--lowdb <checkout of typicode/lowdb>]'

function checkoutOf(name: string, given: string, file: string): string {
  const folder = resolve(given)
  if (statSync(join(folder, file), { throwIfNoEntry: false })) return folder
  throw new Error(`--${name}: ${folder} is no checkout, it has no ${file}\n${USAGE}`)
}

function suites(): [string, RunSuite][] {
  const { values } = parseArgs({ options: { nedb: { type: 'string' }, lowdb: { type: 'string' } } })
  const all: [string, RunSuite][] = []
  if (values.nedb !== undefined) {
    const folder = checkoutOf('nedb', values.nedb, 'test/db.async.test.js')
    all.push(['nedb', nedbSuite(folder, folder)])
  }
  if (values.lowdb !== undefined)
    all.push(['lowdb', lowdbSuite(checkoutOf('lowdb', values.lowdb, 'src/core/Low.test.ts'))])
  if (all.length === 0) throw new Error(USAGE)
  if (!existsSync(join(ROOT, 'dist/nedb.js'))) throw new Error('run `npm run build` first')
  return all
}

let failed = false
try {
  for (const [name, run] of suites()) {
    const { passed, failed: notPassed, control, worse } = await compare(run)
    console.log(
      `${name}: passed ${passed} of ${passed + notPassed}, failed ${notPassed}, control passed ${control}`,
    )
    for (const title of worse) console.log(`  only the control passes: ${title}`)
    // A suite that did not get as far as its tests proves nothing.
    failed ||= worse.length > 0 || control === 0
    if (control === 0) console.log('  nothing ran: does `npm install --ignore-scripts` in the checkout help?')
  }
} catch (error) {
  console.error((error as Error).message)
  failed = true
}
process.exitCode = failed ? 1 : 0
