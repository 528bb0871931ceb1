import { cpSync, mkdirSync, readdirSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from '../fixtures/code.ts'
import { add, node, type Results, type RunSuite } from './compare.ts'

const require = createRequire(import.meta.url)

/**
 * A test suite of NeDB.
 * @param suite the folder of the package whose tests run: a checkout of seald/nedb, or nedb 1.8
 * @param library the folder of the @seald-io/nedb that they run with, and that LockedNedb is based on
 * @param server the url of an empty database: then every file of LockedNedb is a store there
 */
export function nedbSuite(suite: string, library: string, server?: string): RunSuite {
  const tests = readdirSync(join(suite, 'test')).filter((name) => name.endsWith('.test.js'))
  return async (locked, folder) => {
    mkdirSync(join(folder, 'workspace'))
    // Some write into their own folder, others start programs from the second.
    for (const name of ['test', 'test_lac'])
      cpSync(join(suite, name), join(folder, name), { recursive: true })
    const swap = join(ROOT, 'test/vanilla-suites/swap-nedb.mjs')
    const out = await node(
      [
        ...[
          require.resolve('mocha/bin/mocha.js'),
          '--no-config',
          '--exit',
          '--timeout',
          '20000',
          '--reporter',
          'json',
          '--require',
          swap,
        ],
        ...tests.map((name) => join(folder, 'test', name)),
      ],
      {
        cwd: folder,
        env: {
          // For the programs that the tests start, too.
          NODE_OPTIONS: `--import=${pathToFileURL(swap).href}`,
          PSLOCK_VANILLA_SUITE: JSON.stringify({
            tests: realpathSync(folder),
            suite: realpathSync(suite),
            library: realpathSync(library),
            locked: locked ? pathToFileURL(join(ROOT, 'dist/nedb.js')).href : undefined,
            server,
          }),
        },
        timeoutMs: 180_000,
      },
    )
    return resultsOf(out)
  }
}

/** The @seald-io/nedb that is installed here. */
export function installedNedb(): string {
  return dirname(require.resolve('@seald-io/nedb'))
}

interface Report {
  readonly passes: readonly { readonly fullTitle: string }[]
  readonly failures: readonly { readonly fullTitle: string }[]
}

function resultsOf(out: string): Results {
  const results: Results = new Map()
  // The tests may print something before it.
  const begin = `\n${out}`.lastIndexOf('\n{\n  "stats":')
  const { passes, failures } = JSON.parse(out.slice(begin)) as Report
  for (const { fullTitle } of passes) add(results, fullTitle, true)
  for (const { fullTitle } of failures) add(results, fullTitle, false)
  return results
}
