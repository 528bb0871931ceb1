import assert from 'node:assert/strict'
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { killWhatIsLeft, type Outcome, start } from './cli/run-pslock.ts'
import { ROOT } from './fixtures/code.ts'
import { useFolder } from './fixtures/folder.ts'

const DEPENDENCIES = ['koffi']

/** Projects that have pslock installed, but not all of the stores, which are optional. */
describe('a store that is not installed', () => {
  killWhatIsLeft()
  const at = useFolder()

  /** A project with these packages besides pslock. A copy of that, for a link would see what this repository has. */
  function install(...packages: string[]): void {
    const own = at('node_modules/pslock')
    mkdirSync(own, { recursive: true })
    cpSync(join(ROOT, 'dist'), join(own, 'dist'), {
      recursive: true,
      filter: (path) => !/\.map$|\bbrowser$/.test(path),
    })
    cpSync(join(ROOT, 'package.json'), join(own, 'package.json'))
    for (const name of [...DEPENDENCIES, ...packages]) {
      mkdirSync(dirname(at(join('node_modules', name))), { recursive: true })
      symlinkSync(join(ROOT, 'node_modules', name), at(join('node_modules', name)))
    }
  }

  function pslock(...args: string[]): Promise<Outcome> {
    return run(at('node_modules/pslock/dist/cli/pslock.cjs'), ...args)
  }

  function run(...args: string[]): Promise<Outcome> {
    return start(process.execPath, args, { cwd: at('.') }).outcome
  }

  const demo = () => pslock('demo', '--procs', '2', '--seed', '1')
  const EVERYTHING = 'For all of it: npx -p pslock -p lowdb -p nedb-promises pslock demo\n'

  for (const [store, name] of [
    ['nedb', '@seald-io/nedb'],
    ['nedb-promises', 'nedb-promises'],
    ['lowdb', 'lowdb'],
  ] as const) {
    it(`pslock stress --store ${store} says in one line what to install, and ends with 125`, async () => {
      install()
      const { code, stdout, stderr } = await pslock('stress', '--store', store, '--procs', '2')
      assert.deepEqual([code, stdout], [125, ''])
      assert.equal(
        stderr,
        `pslock: the store ${store} needs the package ${name}, which is not installed: npm install ${name} pslock\n`,
      )
    })
  }

  for (const [entry, name] of [
    ['nedb', '@seald-io/nedb'],
    ['nedb-promises', 'nedb-promises'],
    ['lowdb', 'lowdb'],
  ] as const) {
    it(`an import or a require of pslock/${entry} fails as every one does that finds no ${name}`, async () => {
      install()
      writeFileSync(at('app.mjs'), `await import('pslock/${entry}').catch(({ code }) => console.log(code))`)
      assert.match((await run('app.mjs')).stdout, /^(ERR_)?MODULE_NOT_FOUND\n$/)
      for (const [file, text] of [
        ['app.mjs', `import 'pslock/${entry}'`],
        ['app.cjs', `require('pslock/${entry}')`],
      ] as const) {
        writeFileSync(at(file), text)
        const { code, stderr } = await run(file)
        assert.equal(code, 1)
        assert.match(stderr, new RegExp(`Cannot find (package|module) '${name}'`))
      }
    })
  }

  it('pslock/nedb-promises needs no library but its own where that is out of reach of pslock', async () => {
    install('nedb-promises')
    const text = `import { LockedDatastore } from 'pslock/nedb-promises'
      const db = LockedDatastore.create('data.db')
      await db.insert({ n: 1, at: new Date(5) })
      console.log((await db.findOne({ n: 1 })).at.getTime())`
    writeFileSync(at('app.mjs'), text)
    const { stdout, stderr } = await run('app.mjs')
    assert.equal(stdout, '5\n', stderr)
  })

  it('the demo of nothing says what to type, and ends with 125', async () => {
    install()
    const { code, stdout, stderr } = await demo()
    assert.deepEqual([code, stdout], [125, ''])
    assert.equal(
      stderr,
      `pslock: @seald-io/nedb and lowdb are not installed, so there is nothing to show. ${EVERYTHING}`,
    )
  })

  for (const [there, missing, store] of [
    ['lowdb', '@seald-io/nedb', 'lowdb'],
    ['@seald-io/nedb', 'lowdb', 'nedb'],
  ] as const) {
    it(`the demo runs with ${there} alone, and says what to type for the rest`, async () => {
      install(there)
      const { code, stdout, stderr } = await demo()
      assert.equal(code, 0, stdout + stderr)
      assert.equal(stdout.split('\n').filter((line) => line.startsWith(`${store} `)).length, 2, stdout)
      assert.ok(
        stderr.includes(`pslock: ${missing} is not installed, so the rest was left out. ${EVERYTHING}`),
      )
    })
  }

  it('an old lowdb is none: the demo runs with the other store, and says what to type', async () => {
    install('@seald-io/nedb')
    for (const manifest of [
      { version: '3.0.0', exports: './index.js', type: 'module' },
      { version: '1.0.0', main: 'index.js' },
    ]) {
      mkdirSync(at('node_modules/lowdb'), { recursive: true })
      writeFileSync(at('node_modules/lowdb/package.json'), JSON.stringify({ name: 'lowdb', ...manifest }))
      writeFileSync(at('node_modules/lowdb/index.js'), '')
      const stress = await pslock('stress', '--store', 'lowdb', '--procs', '2')
      assert.equal(stress.code, 125)
      assert.match(stress.stderr, /package lowdb@7, which is not installed: npm install lowdb@7 pslock\n$/)
    }
    const { code, stdout, stderr } = await demo()
    assert.equal(code, 0, stdout + stderr)
    assert.equal(stdout.split('\n').filter((line) => line.startsWith('nedb ')).length, 2, stdout)
    assert.ok(stderr.includes(`pslock: lowdb@7 is not installed, so the rest was left out. ${EVERYTHING}`))
  })

  it('a failure of the command itself is no loss: 125', async () => {
    install('lowdb')
    const { code, stderr } = await pslock(
      'stress',
      '--store',
      'lowdb',
      '--procs',
      '2',
      '--dir',
      at('nowhere'),
    )
    assert.equal(code, 125)
    assert.match(stderr, /^pslock: ENOENT/)
  })
})
