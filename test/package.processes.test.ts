import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from './fixtures/code.ts'
import { useFolder } from './fixtures/folder.ts'

const DIST = join(ROOT, 'dist')
const ENTRIES = ['index', 'lowdb', 'nedb', 'nedb-promises']

/** What of Node's own an import must not load: a program pays a millisecond or several for each. */
const COSTLY = [
  'net',
  'zlib',
  'worker_threads',
  'child_process',
  'internal/crypto/webcrypto',
  'internal/mime',
]

/** Parts of the code that only some programs need: see rolldown.config.js. */
const LATE = ['lock-tree', 'tree', 'postgres', 'tables', 'stores']

/** The package as it is built. */
describe('the package', () => {
  const at = useFolder()

  before(function () {
    if (existsSync(join(DIST, 'index.js'))) return
    console.log('      skipped: run `npm run build` first')
    this.skip()
  })

  /** Runs a module, which prints JSON. */
  function printed(text: string): unknown {
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text, at('data')], {
      cwd: ROOT,
      encoding: 'utf8',
      env: { ...process.env, PSLOCK_BINDING: 'koffi' },
    })
    assert.notEqual(stdout, '', stderr)
    return JSON.parse(stdout)
  }

  const entryUrl = (name: string) => pathToFileURL(join(DIST, `${name}.js`)).href
  /** What is loaded by a program, in it. */
  const LOADED = `
    import { createRequire } from 'node:module'
    const cache = createRequire(${JSON.stringify(pathToFileURL(join(DIST, 'x')).href)}).cache
    const files = () => Object.keys(cache)
    const natives = () => files().filter((path) => /koffi|fs-ext/.test(path))
    const late = () => ${JSON.stringify(LATE)}.filter((name) => files().some((path) => path.endsWith('/dist/' + name + '.cjs')))
    const costly = () => ${JSON.stringify(COSTLY)}.filter((name) => process.moduleLoadList.includes('NativeModule ' + name))
  `

  it('is small: 80 files and 1 MB at most', () => {
    const [packed] = JSON.parse(
      execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
        cwd: ROOT,
        encoding: 'utf8',
      }),
    ) as [{ entryCount: number; unpackedSize: number }]
    assert.ok(packed.entryCount <= 80, `${packed.entryCount} files`)
    assert.ok(packed.unpackedSize <= 1_000_000, `${packed.unpackedSize} bytes`)
  })

  it('has no install script, and neither has what it installs', () => {
    const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<
        string,
        { hasInstallScript?: true; dependencies?: object; optionalDependencies?: object }
      >
    }
    const own = lock.packages['']!
    assert.equal(own.dependencies, undefined)
    const names = Object.keys(own.optionalDependencies ?? {})
    assert.ok(names.length > 3)
    const withScript = names.filter((name) => lock.packages[`node_modules/${name}`]?.hasInstallScript)
    assert.deepEqual(withScript, [])
  })

  for (const name of ENTRIES) {
    it(`an import of ${name} loads neither the command line, nor a binding, nor what is costly, nor what comes late`, () => {
      // NeDB itself loads the whole of node:crypto.
      const found = printed(`${LOADED}
        await import(${JSON.stringify(entryUrl(name))})
        console.log(JSON.stringify({ cli: files().filter((path) => path.includes('/cli/')), natives: natives(), costly: costly(), late: late() }))`)
      assert.deepEqual(found, { cli: [], natives: [], costly: [], late: [] })
    })

    it(`${name} gives the same names to import and to require`, () => {
      const names = printed(`
        import { createRequire } from 'node:module'
        const required = createRequire(import.meta.url)(${JSON.stringify(join(DIST, `${name}.cjs`))})
        const imported = await import(${JSON.stringify(entryUrl(name))})
        console.log(JSON.stringify([Object.keys(required).sort(), Object.keys(imported).filter((key) => key !== 'default' && key !== 'module.exports').sort()]))`) as [
        string[],
        string[],
      ]
      assert.ok(names[0].length > 1)
      assert.deepEqual(names[0], names[1])
    })
  }

  it('a binding is loaded by the first lock, and not before', () => {
    const found = printed(`${LOADED}
      const { PsLock } = await import(${JSON.stringify(entryUrl('index'))})
      const lock = new PsLock(process.argv[1])
      const before = natives().length
      await lock.exclusive(() => {})
      console.log(JSON.stringify({ before, isLoaded: natives().length > 0, costly: costly().filter((name) => name !== 'worker_threads'), late: late() }))`)
    assert.deepEqual(found, { before: 0, isLoaded: true, costly: [], late: [] })
  })

  it('a store loads what it needs, not what is for others', () => {
    const found = printed(`${LOADED}
      const { LockedNedb } = await import(${JSON.stringify(entryUrl('nedb'))})
      const db = new LockedNedb({ filename: process.argv[1], autoload: true })
      await db.insertAsync({ _id: 'a' })
      console.log(JSON.stringify(late()))`)
    assert.deepEqual(found, ['stores'])
  })

  it('a store in a file loads nothing of what is for those on a server', () => {
    const found = printed(`${LOADED}
      const { LockedLow } = await import(${JSON.stringify(entryUrl('lowdb'))})
      for (const journal of [false, true]) {
        const low = new LockedLow(process.argv[1] + journal, { n: 0 }, { journal })
        await low.update((data) => { data.n++ })
      }
      const file = late()
      try { new LockedLow({ url: 'postgres://host/database' }, {}) } catch (error) { if (error.name !== 'TypeError') throw error }
      console.log(JSON.stringify({ file, server: late() }))`)
    assert.deepEqual(found, { file: ['tree', 'stores'], server: ['tree', 'postgres', 'stores'] })
  })

  it('what is loaded late works', () => {
    const found = printed(`
      import { LockTree, PgLock } from ${JSON.stringify(entryUrl('index'))}
      import { JSONFile, LockedLow } from ${JSON.stringify(entryUrl('lowdb'))}
      import { LockedNedb } from ${JSON.stringify(entryUrl('nedb'))}
      import { readFileSync } from 'node:fs'
      const path = process.argv[1]
      const held = []
      if (process.platform === 'linux')
        await new LockTree(path).exclusive('a/b', () => held.push('a/b'))
      const nedb = new LockedNedb({ filename: path + '.db', autoload: true })
      const notes = nedb.table('notes')
      await notes.create({ text: { type: 'string' } })
      await notes.insert({ text: 'a' })
      await nedb.dump(path + '.dump')
      await nedb.transaction((tx) => tx.insertAsync({ _id: 'c' }))
      const low = new LockedLow(new JSONFile(path + '.json'), { notes: [] }, { journal: true })
      await low.update(({ notes }) => { notes.push('b') })
      await low.close()
      const away = new PgLock('postgres://127.0.0.1:1/a#b', { timeoutMs: 0 })
      const { code, cause } = await away.acquire().catch((error) => error)
      console.log(JSON.stringify({ server: [code, cause.code], dumped: readFileSync(path + '.dump', 'utf8').includes('"text":"a"'), count: (await nedb.findAsync({})).length, low: low.data, held }))`)
    const held = process.platform === 'linux' ? ['a/b'] : []
    const server = ['PSLOCK_UNAVAILABLE', 'ECONNREFUSED']
    assert.deepEqual(found, { server, dumped: true, count: 2, low: { notes: ['b'] }, held })
  })

  it('what is loaded late is of the copy that asks for it, whatever has become of the registry of modules', () => {
    const found = printed(`${LOADED}
      import { writeFileSync } from 'node:fs'
      const require = createRequire(import.meta.url)
      const { LockedLow, JSONFile } = require(${JSON.stringify(join(DIST, 'lowdb.cjs'))})
      const { CorruptStoreError } = require(${JSON.stringify(join(DIST, 'index.cjs'))})
      // As jest.resetModules() does.
      for (const path of files()) delete cache[path]
      writeFileSync(process.argv[1], '{')
      const db = new LockedLow(new JSONFile(process.argv[1]), {})
      const error = await db.read().then(() => undefined, (thrown) => thrown)
      console.log(JSON.stringify({ isOurs: error instanceof CorruptStoreError }))`)
    assert.deepEqual(found, { isOurs: true })
  })

  it('docs/ways-to-load.md shows every way to load it that the matrix tries', () => {
    const read = (name: string) => readFileSync(join(ROOT, name), 'utf8')
    const cases = /^const CASES = \{$([\s\S]*?)^\}$/m.exec(read('test/matrix/run.mjs'))?.[1] ?? ''
    const names = [...cases.matchAll(/^ {4}(?:'([^']+)'|(\w+)): /gm)].map(
      ([, quoted, plain]) => quoted ?? plain,
    )
    assert.ok(names.length > 20)
    const shown =
      /<!-- matrix:start -->\n([\s\S]*?)<!-- matrix:end -->/.exec(read('docs/ways-to-load.md'))?.[1] ?? ''
    const cells = [...shown.matchAll(/^\| [^|]+ \| (.*) \|$/gm)].slice(1).map(([, cell]) => cell)
    assert.equal(cells.join(', '), names.join(', '))
  })

  it('pslock run loads its own file alone, and no ES module', () => {
    const look = at('look.cjs')
    writeFileSync(
      look,
      `process.on('exit', () => {
        const files = Object.keys(require.cache).filter((path) => path.startsWith(${JSON.stringify(DIST)}))
        const names = files.map((path) => path.slice(${DIST.length + 1}))
        const isEsm = process.moduleLoadList.includes('NativeModule internal/modules/esm/load')
        require('node:fs').writeSync(1, JSON.stringify({ names, isEsm }))
      })`,
    )
    const words = ['--require', look, join(DIST, 'cli/pslock.cjs'), 'run', at('data'), '--', 'true']
    const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' })
    assert.notEqual(stdout, '', stderr)
    const names = ['cli/pslock.cjs', 'cli/commander.cjs', 'core.cjs']
    assert.deepEqual(JSON.parse(stdout), { names, isEsm: false })
  })

  it('no entry refers to the command line', () => {
    const seen = new Set<string>()
    const follow = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      for (const [, name] of readFileSync(join(DIST, file), 'utf8').matchAll(
        /(?:from ?|require\(|import\()["'`]\.\/([^"'`]+)["'`]/g,
      )) {
        follow(name as string)
      }
    }
    for (const name of ENTRIES) for (const extension of ['js', 'cjs']) follow(`${name}.${extension}`)
    assert.ok(seen.has('core.cjs'))
    assert.deepEqual(
      [...seen].filter((file) => file.startsWith('cli/')),
      [],
    )
  })
})
