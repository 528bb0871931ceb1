import { strict as assert } from 'node:assert'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { hasRangeLocks } from '../src/os/range-lock.ts'
import { ROOT } from './fixtures/code.ts'

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
const snippets = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? '')

/** Inside the package, so that 'pslock/...' means this checkout; outside git. */
const room = join(ROOT, 'dist', 'readme')

describe('README', () => {
  let work: string

  before(() => {
    mkdirSync(room, { recursive: true })
    // Without the path mapping of this checkout: 'pslock/...' must be found through the package's own exports.
    const config = { extends: '../../tsconfig.json', compilerOptions: { paths: {} }, include: ['*.ts'] }
    writeFileSync(join(room, 'tsconfig.json'), JSON.stringify(config))
    work = mkdtempSync(join(tmpdir(), 'pslock-readme-'))
  })

  after(() => {
    rmSync(room, { recursive: true, force: true })
    rmSync(work, { recursive: true, force: true })
  })

  it('has snippets to run', () => assert.ok(snippets.length >= 6))

  for (const [index, snippet] of snippets.entries()) {
    it(`snippet ${index + 1} runs as it stands: ${snippet.split('\n')[0]}`, async function () {
      if (snippet.includes('new LockTree') && !hasRangeLocks) this.skip()
      const file = join(room, `snippet-${index + 1}.ts`)
      writeFileSync(file, snippet)
      const run = promisify(execFile)(process.execPath, ['--import', import.meta.resolve('tsx'), file], {
        cwd: work,
        env: { ...process.env, TSX_TSCONFIG_PATH: join(room, 'tsconfig.json') },
      })
      const { stderr } = await run
      assert.equal(stderr, '')
    })
  }

  it('type-checks its snippets', async () => {
    for (const [index, snippet] of snippets.entries())
      writeFileSync(join(room, `snippet-${index + 1}.ts`), `${snippet}\nexport {}\n`)
    const tsc = join(ROOT, 'node_modules', '.bin', 'tsc')
    const { stdout } = await promisify(execFile)(tsc, ['-p', join(room, 'tsconfig.json')]).catch(
      (error) => error,
    )
    assert.equal(stdout, '')
  })
})
