import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from '../fixtures/code.ts'
import { useFolder } from '../fixtures/folder.ts'
import { note } from '../fixtures/random.ts'
import { usePostgres } from '../harness/postgres.ts'
import { compare } from '../vanilla-suites/compare.ts'
import { installedNedb, nedbSuite } from '../vanilla-suites/nedb.ts'

const require = createRequire(import.meta.url)

/**
 * What cannot hold on a server, by its title without "async", which the newest suite has everything twice with. All of
 * it is about a file: nothing here says what a store does.
 */
const ABOUT_THE_FILE: Readonly<Record<string, readonly string[]>> = {
  'they write the data file with fs, and then load it': [
    'Database Autoloading Can autoload a database and query it right away',
    'Database Autoloading Throws if autoload fails',
    'Database Using indexes ensureIndex and index initialization in database loading ensureIndex can be called right after a loadDatabase and be initialized and filled correctly',
    'Database Using indexes ensureIndex and index initialization in database loading ensureIndex can be called before a loadDatabase and still be initialized and filled correctly',
    'Database Using indexes ensureIndex and index initialization in database loading ensureIndex can be called after the data set was modified and the index still be correct',
    'Database Using indexes ensureIndex and index initialization in database loading Can initialize multiple indexes on a database load',
    'Database Using indexes ensureIndex and index initialization in database loading If a unique constraint is not respected, database loading will not work and no data will be inserted',
    'Persistence Calling loadDatabase after the datafile was removed will reset the database',
    'Persistence Calling loadDatabase after the datafile was modified loads the new data',
    'Persistence When treating raw data, refuse to proceed if too much data is corrupt, to avoid data loss',
  ],
  'they read the data file with fs, and count its lines': [
    'Database Insert Can insert an array of documents at once',
    'Database Insert If a bulk insert violates a constraint, all changes are rolled back',
    'Database #getCandidates Can set a TTL index that expires documents',
    'Persistence Compact database on load',
    'Persistence Serialization hooks A serialization hook can be used to transform data before writing new state to disk',
    'Persistence Serialization hooks Use serialization hook when persisting cached database or compacting',
    'Persistence Serialization hooks Deserialization hook is correctly used when loading data',
    'Persistence Serialization hooks beforeDeserialization hooks can throw synchronously without triggering an uncaught exception',
  ],
  'they want the data file to exist, or the temporary one (file~) not to': [
    'Persistence Prevent dataloss when persisting data If both temp and current datafiles exist, ensureDatafileIntegrity will use the datafile, as it means that the write of the temp file failed',
    'Persistence Prevent dataloss when persisting data persistCachedDatabase should update the contents of the datafile and leave a clean state',
    'Persistence Prevent dataloss when persisting data After a persistCachedDatabase, there should be no temp or old filename',
    'Persistence Prevent dataloss when persisting data persistCachedDatabase should update the contents of the datafile and leave a clean state even if there is a temp datafile',
    'Persistence Prevent dataloss when persisting data Persistence works as expected when everything goes fine',
    'Persistence Prevent dataloss when persisting data If system crashes during a loadDatabase, the former version is not lost',
    // After what they say, which is in store.processes.test.ts, too.
    'Persistence dropDatabase check that we can reload and insert afterwards',
    'Persistence dropDatabase Check that TTL indexes are reset',
  ],
  'the permission bits of the data file': [
    'permissions Setting nothing',
    'permissions Setting only fileMode',
    'permissions Setting only dirMode',
    'permissions Setting fileMode & dirMode',
  ],
}

/** They give a store 30 ms from its constructor to its first record, and may fail on a busy machine. */
const IN_30_MS = /timestampData/

describe('the test suites of the libraries, on a server', () => {
  const server = usePostgres()
  const file = useFolder()

  before(function () {
    if (existsSync(join(ROOT, 'dist/nedb.js'))) return
    console.log('      skipped: run `npm run build` first')
    this.skip()
  })

  it("NeDB's own: all but what is about the file", async function () {
    this.timeout(240_000)
    // nedb 1.8 brings its tests along. Those of the newest: PSLOCK_NEDB_SUITE=<checkout of seald/nedb, with its dependencies>.
    const { PSLOCK_NEDB_SUITE: checkout } = process.env
    const suite = checkout ?? dirname(require.resolve('nedb/package.json'))
    const run = nedbSuite(suite, checkout ?? installedNedb(), await server().database())
    const { passed, control, worse } = await compare(run)
    note(`passed ${passed}, control passed ${control}`)
    const titles = new Set(worse.map((title) => title.replace(/^(Database|Persistence) async /, '$1 ')))
    const leftOut = Object.values(ABOUT_THE_FILE).flat()
    assert.deepEqual(
      [...titles].filter((title) => !leftOut.includes(title) && !IN_30_MS.test(title)),
      [],
    )
    assert.ok(control >= (checkout ? 549 : 314), `the control passed ${control}`)
    assert.ok(passed >= (checkout ? 489 : 288), `passed ${passed}`)
    // Else it is in the list, and was left out for nothing.
    if (checkout)
      assert.deepEqual([...titles].filter((title) => !IN_30_MS.test(title)).sort(), [...leftOut].sort())
  })

  it("nedb-promises' own: all but that there is a file", async function () {
    this.timeout(90_000)
    const vanilla = dirname(require.resolve('nedb-promises'))
    cpSync(join(vanilla, 'test'), file('test'), { recursive: true })
    mkdirSync(file('src'))
    symlinkSync(join(vanilla, '..'), file('node_modules'))
    const built = pathToFileURL(join(ROOT, 'dist/nedb-promises.js')).href
    const url = await server().database()
    // Their tests `require` it, and our class is an ES module: a test file of theirs waits for it before it begins.
    writeFileSync(
      file('preload.mjs'),
      `import { LockedDatastore } from ${JSON.stringify(built)}
      let stores = 0
      const onServer = (given) => {
        const { filename, ...options } = typeof given === 'string' ? { filename: given } : (given ?? {})
        if (filename === undefined || options.inMemoryOnly) return given
        globalThis.storesOnServer = ++stores
        return { ...options, url: ${JSON.stringify(url)}, name: process.pid + ' ' + stores + ' ' + filename }
      }
      globalThis.LockedDatastore = class Datastore extends LockedDatastore {
        static create(given, ...more) { return super.create(onServer(given), ...more) }
      }
      process.on('exit', () => {
        if (stores > 0) console.log('# stores on the server: ' + stores)
      })
      `,
    )
    writeFileSync(file('src/Datastore.js'), 'module.exports = globalThis.LockedDatastore\n')
    writeFileSync(
      file('src/Cursor.js'),
      `module.exports = require(${JSON.stringify(join(vanilla, 'src/Cursor.js'))})\n`,
    )
    const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, ...env } = process.env
    const preload = pathToFileURL(file('preload.mjs')).href
    const child = spawn(process.execPath, ['--import', preload, '--test', '--test-reporter=tap'], {
      cwd: file(),
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 80_000,
    })
    let out = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (out += text))
    const [code] = await once(child, 'close')
    const count = (what: string) => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(out)?.[1])
    assert.deepEqual([count('tests'), count('pass'), count('fail')], [24, 22, 2], out)
    assert.equal(code, 1)
    // All that they say is that there is a file of this name afterwards.
    assert.match(out, /not ok \d+ - should create foo.db based on string filename/)
    assert.match(out, /not ok \d+ - sould create bar.db based on object parameters/)
    const [[stores]] = (await server().sql('select count(*) from pslock.store', url)) as [[string]]
    note(`stores on the server: ${stores}`)
    assert.ok(Number(stores) > 0, 'none of them was on the server')
  })
})
