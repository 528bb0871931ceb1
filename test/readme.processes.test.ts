import { strict as assert } from 'node:assert'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { hasRangeLocks } from '../src/os/range-lock.ts'
import { ROOT } from './fixtures/code.ts'
import { PAGES } from './fixtures/pages.ts'
import { usePostgres } from './harness/postgres.ts'

const pages = PAGES.map((page) => ({
  page,
  snippets: [...readFileSync(join(ROOT, page), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(
    ([, snippet]) => snippet as string,
  ),
})).filter(({ snippets }) => snippets.length > 0)

/** Inside the package, so that 'pslock/...' means this checkout; outside git. */
const room = join(ROOT, 'build', 'readme')
const fileOf = (page: string, index: number) => `${page.replace(/\W+/g, '-')}-${index + 1}.ts`

describe('the snippets of README and docs', () => {
  before(() => {
    mkdirSync(room, { recursive: true })
    // Without the path mapping of this checkout: 'pslock/...' must be found through the package's own exports.
    const config = { extends: '../../tsconfig.json', compilerOptions: { paths: {} }, include: ['*.ts'] }
    writeFileSync(join(room, 'tsconfig.json'), JSON.stringify(config))
  })

  after(() => rmSync(room, { recursive: true, force: true }))

  it('are there to run', () => {
    assert.ok(pages.find(({ page }) => page === 'README.md')?.snippets.length)
    assert.ok(pages.flatMap(({ snippets }) => snippets).length >= 16)
  })

  for (const { page, snippets } of pages) {
    describe(page, () => {
      let work: string
      // Whoever shows a server asks for it by this name.
      const server = snippets.some((snippet) => snippet.includes('DATABASE_URL')) ? usePostgres() : undefined
      let database: string | undefined

      before(async () => {
        work = mkdtempSync(join(tmpdir(), 'pslock-readme-'))
        database = await server?.().database()
      })

      after(() => rmSync(work, { recursive: true, force: true }))

      for (const [index, snippet] of snippets.entries()) {
        it(`snippet ${index + 1} runs as it stands: ${snippet.split('\n')[0]}`, async function () {
          if (snippet.includes('new LockTree') && !hasRangeLocks) this.skip()
          const file = join(room, fileOf(page, index))
          writeFileSync(file, snippet)
          const run = promisify(execFile)(process.execPath, ['--import', import.meta.resolve('tsx'), file], {
            cwd: work,
            env: { ...process.env, DATABASE_URL: database, TSX_TSCONFIG_PATH: join(room, 'tsconfig.json') },
          })
          const { stderr } = await run
          assert.equal(stderr, '')
        })
      }
    })
  }

  it('type-check', async () => {
    for (const { page, snippets } of pages) {
      for (const [index, snippet] of snippets.entries())
        writeFileSync(join(room, fileOf(page, index)), `${snippet}\nexport {}\n`)
    }
    const tsc = join(ROOT, 'node_modules', '.bin', 'tsc')
    const { stdout } = await promisify(execFile)(tsc, ['-p', join(room, 'tsconfig.json')]).catch(
      (error) => error,
    )
    assert.equal(stdout, '')
  })
})
