import { readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from '../fixtures/code.ts'
import { add, node, type Results, type RunSuite } from './compare.ts'

/** The test suite of lowdb. @param checkout the folder of typicode/lowdb, with its dependencies */
export function lowdbSuite(checkout: string): RunSuite {
  const suite = realpathSync(checkout)
  const tests = readdirSync(join(suite, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts') && !name.includes('browser'))
    .sort()
  return async (locked, folder) => {
    const out = await node(
      [
        ...['--import', import.meta.resolve('tsx')],
        ...['--import', pathToFileURL(join(ROOT, 'test/vanilla-suites/swap-lowdb.mjs')).href],
        ...['--test', '--test-reporter=tap', ...tests.map((name) => join(suite, 'src', name))],
      ],
      {
        cwd: folder,
        env: {
          // For the temporary files of the tests.
          TMPDIR: folder,
          PSLOCK_VANILLA_SUITE: JSON.stringify({
            suite,
            locked: locked ? pathToFileURL(join(ROOT, 'dist/lowdb.js')).href : undefined,
          }),
        },
        timeoutMs: 120_000,
      },
    )
    return resultsOf(out)
  }
}

function resultsOf(out: string): Results {
  const results: Results = new Map()
  for (const [, not, title] of out.matchAll(/^(not )?ok \d+ - (.*)$/gm)) add(results, title ?? '', !not)
  return results
}
