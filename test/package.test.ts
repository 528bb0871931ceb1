import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
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
    const costly = () => ${JSON.stringify(COSTLY)}.filter((name) => process.moduleLoadList.includes('NativeModule ' + name))
  `

  it('is small: 80 files and 900 KB at most', () => {
    const [packed] = JSON.parse(
      execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
        cwd: ROOT,
        encoding: 'utf8',
      }),
    ) as [{ entryCount: number; unpackedSize: number }]
    assert.ok(packed.entryCount <= 80, `${packed.entryCount} files`)
    assert.ok(packed.unpackedSize <= 900_000, `${packed.unpackedSize} bytes`)
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
    it(`an import of ${name} loads neither the command line, nor a binding, nor what is costly`, () => {
      // NeDB itself loads the whole of node:crypto.
      const found = printed(`${LOADED}
        await import(${JSON.stringify(entryUrl(name))})
        console.log(JSON.stringify({ cli: files().filter((path) => path.includes('/cli/')), natives: natives(), costly: costly() }))`)
      assert.deepEqual(found, { cli: [], natives: [], costly: [] })
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
      console.log(JSON.stringify({ before, isLoaded: natives().length > 0, costly: costly().filter((name) => name !== 'worker_threads') }))`)
    assert.deepEqual(found, { before: 0, isLoaded: true, costly: [] })
  })

  it('README shows every way to load it that the matrix tries', () => {
    const read = (name: string) => readFileSync(join(ROOT, name), 'utf8')
    const cases = /^const CASES = \{$([\s\S]*?)^\}$/m.exec(read('test/matrix/run.mjs'))?.[1] ?? ''
    const names = [...cases.matchAll(/^ {4}(?:'([^']+)'|(\w+)): /gm)].map(
      ([, quoted, plain]) => quoted ?? plain,
    )
    assert.ok(names.length > 20)
    const shown = /<!-- matrix:start -->\n([\s\S]*?)<!-- matrix:end -->/.exec(read('README.md'))?.[1] ?? ''
    const cells = [...shown.matchAll(/^\| [^|]+ \| (.*) \|$/gm)].slice(1).map(([, cell]) => cell)
    assert.equal(cells.join(', '), names.join(', '))
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
