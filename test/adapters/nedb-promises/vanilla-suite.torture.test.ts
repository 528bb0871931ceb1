import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from '../../fixtures/code.ts'
import { temporaryFolder } from '../../fixtures/nedb-tools.ts'

const require = createRequire(import.meta.url)
const vanilla = dirname(require.resolve('nedb-promises'))

describe("nedb-promises' own test suite", () => {
  const file = temporaryFolder()

  it('passes with LockedDatastore in the place of its Datastore', function () {
    const built = join(ROOT, 'dist/nedb-promises.js')
    if (!existsSync(built)) {
      console.log('      skipped: run `npm run build` first')
      return this.skip()
    }
    cpSync(join(vanilla, 'test'), file('test'), { recursive: true })
    mkdirSync(file('src'))
    symlinkSync(join(vanilla, '..'), file('node_modules'))
    // Their tests `require` it, and our class is an ES module: a test file of theirs waits for it before it begins.
    writeFileSync(
      file('preload.mjs'),
      `import { LockedDatastore } from ${JSON.stringify(pathToFileURL(built).href)}\nglobalThis.LockedDatastore = LockedDatastore\n`,
    )
    writeFileSync(file('src/Datastore.js'), 'module.exports = globalThis.LockedDatastore\n')
    writeFileSync(
      file('src/Cursor.js'),
      `module.exports = require(${JSON.stringify(join(vanilla, 'src/Cursor.js'))})\n`,
    )
    const preload = pathToFileURL(file('preload.mjs')).href
    const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, ...env } = process.env
    const done = spawnSync(process.execPath, ['--import', preload, '--test', '--test-reporter=tap'], {
      cwd: file('.'),
      encoding: 'utf8',
      env,
      timeout: 50_000,
    })
    const count = (what: string) => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(done.stdout)?.[1])
    assert.deepEqual([count('tests'), count('pass'), count('fail')], [24, 24, 0], done.stdout + done.stderr)
    assert.equal(done.status, 0)
  })
})
