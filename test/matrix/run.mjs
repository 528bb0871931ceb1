/**
 * The package as its users have it: `node run.mjs <tarball> [--write] [case ...]` installs it with each tool that people
 * build, test and run with, and prints a table of what worked; with `--write` it is put into docs/ways-to-load.md. Ends with 1
 * where something did not.
 */
import { spawn } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const HERE = import.meta.dirname
const STORES = ['lowdb@7', '@seald-io/nedb@4', 'nedb-promises@6']
const TOOLS = [
  ...['jest@29', 'vitest@3', 'esbuild@0.28', 'webpack@5', 'vite@8', 'typescript@5', '@types/node@20'],
  ...['rollup@4', '@rollup/plugin-node-resolve@16', '@rollup/plugin-commonjs@29', '@rollup/plugin-json@6'],
  ...['bun@1', 'deno@2'],
]

const isWritten = process.argv.includes('--write')
const [given, ...wanted] = process.argv.slice(2).filter((word) => !word.startsWith('--'))
if (given === undefined) {
  console.error('usage: node run.mjs <tarball> [--write] [case ...]')
  process.exit(2)
}
const tarball = resolve(given)
const place = mkdtempSync(join(tmpdir(), 'pslock-matrix-'))
process.on('exit', () => rmSync(place, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

/** @returns what it printed @throws with all of it where it fails, or ends otherwise than `works` */
function run(command, args, { cwd, env = {} }) {
  return new Promise((done, failed) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, CI: 'true', NO_COLOR: '1', NODE_OPTIONS: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 300_000,
    })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (piece) => {
        text += piece
      })
    }
    child.on('error', failed)
    child.on('close', (code, signal) => {
      if (code === 0) done(text)
      else failed(new Error(`${command} ${args.join(' ')}: ${signal ?? code}\n${text}`))
    })
  })
}

function write(folder, name, text) {
  writeFileSync(join(folder, name), text)
}

/** A folder with a package.json, and these files of ours. */
function project(name, files, manifest = {}) {
  const folder = join(place, name)
  mkdirSync(folder, { recursive: true })
  write(folder, 'package.json', JSON.stringify({ name, private: true, type: 'module', ...manifest }))
  for (const file of files) copyFileSync(join(HERE, file), join(folder, file))
  return folder
}

const npm = (folder, packages) =>
  run(
    'npm',
    ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel', 'error', tarball, ...packages],
    {
      cwd: folder,
    },
  )

/** Where most of it runs: everything that npm installs is here, and each case has a folder inside. */
const shared = project('shared', [])

function inShared(name, files, manifest) {
  return project(join('shared', name), files, manifest)
}

const bin = (name) => join(shared, 'node_modules/.bin', name)

/** A program that its package would put into .bin by an install script. */
function inPackage(scope, name) {
  const folder = join(shared, 'node_modules', scope)
  const [found] = readdirSync(folder, { recursive: true }).filter((path) => path.split('/').at(-1) === name)
  if (found === undefined) throw new Error(`${name} is not in ${folder}`)
  return join(folder, found)
}

/** The tests of suite.mjs for a runner of CommonJS, without lowdb's: lowdb is ES modules only. */
function suiteInCommonJs() {
  return readFileSync(join(HERE, 'suite.mjs'), 'utf8')
    .replace(/^import (.*) from ('.*')$/gm, 'const $1 = require($2)')
    .replace(/await import\(/g, 'await Promise.resolve(require(')
    .replace(/(require\('node:fs'\))\.then/, '$1).then')
    .replace(/^const .* = require\('pslock\/lowdb'\)\n/m, '')
    .replace(/^test\('lowdb: [\s\S]*?^}\)\n/m, '')
}

async function jest(name, isEsm) {
  const folder = inShared(name, [], isEsm ? {} : { type: 'commonjs' })
  if (isEsm) copyFileSync(join(HERE, 'suite.mjs'), join(folder, 'suite.mjs'))
  else write(folder, 'suite.js', suiteInCommonJs())
  await run(bin('jest'), ['--ci', '--rootDir', folder, '--testMatch', '**/suite.*', '--transform', '{}'], {
    cwd: folder,
    env: isEsm ? { NODE_OPTIONS: '--experimental-vm-modules' } : {},
  })
}

async function vitest(pool) {
  const folder = inShared(`vitest-${pool}`, ['suite.mjs'])
  const isIsolated = pool === 'vmForks'
  // Only there are errors of Node's of another context.
  if (!isIsolated) {
    const suite = readFileSync(join(HERE, 'suite.mjs'), 'utf8')
    write(folder, 'suite.mjs', suite.replace(/^test\('it runs in a context [\s\S]*?^}\)\n/m, ''))
  }
  write(
    folder,
    'vitest.config.mjs',
    `export default { test: { pool: '${pool}', globals: true, include: ['suite.mjs'] } }\n`,
  )
  await run(bin('vitest'), ['run', '--root', folder], { cwd: folder })
}

async function nodeTest() {
  const folder = inShared('node-test', [])
  const suite = readFileSync(join(HERE, 'suite.mjs'), 'utf8')
  write(
    folder,
    'suite.test.mjs',
    `import { after as afterAll, test } from 'node:test'\n${suite.replace(/^test\('it runs in a context [\s\S]*?^}\)\n/m, '')}`,
  )
  await run(process.execPath, ['--test', 'suite.test.mjs'], { cwd: folder })
}

async function tsc(moduleResolution) {
  const folder = inShared(`tsc-${moduleResolution}`, ['types.ts'])
  copyFileSync(join(HERE, 'types.ts'), join(folder, 'required.cts'))
  const isNode = moduleResolution.startsWith('node1') && moduleResolution !== 'node10'
  const module =
    isNode || moduleResolution === 'nodenext'
      ? moduleResolution
      : moduleResolution === 'bundler'
        ? 'esnext'
        : 'commonjs'
  // A `require` of lowdb, which is ES modules only, is what TypeScript refuses under node16 whatever the types say.
  const files = module === 'node16' || module === 'esnext' ? ['types.ts'] : ['types.ts', 'required.cts']
  for (const skipLibCheck of [true, false]) {
    write(
      folder,
      'tsconfig.json',
      JSON.stringify({
        compilerOptions: {
          ...{
            module,
            moduleResolution,
            skipLibCheck,
            target: 'es2022',
            lib: ['es2023', 'esnext.disposable'],
          },
          ...{
            strict: true,
            noEmit: true,
            exactOptionalPropertyTypes: true,
            esModuleInterop: true,
            types: ['node'],
          },
        },
        files,
      }),
    )
    await run(bin('tsc'), ['-p', '.'], { cwd: folder })
  }
}

/** Runs a bundle that lies in out/ of its project. */
async function bundled(name, file, bundle) {
  const folder = inShared(name, ['app.mjs'])
  await bundle(folder)
  const printed = await run(process.execPath, [join('out', file), join(folder, 'data')], { cwd: folder })
  if (printed !== 'works\n') throw new Error(printed)
}

const esbuild = (format, file) =>
  bundled(`esbuild-${format}`, file, (folder) =>
    run(
      bin('esbuild'),
      [
        'app.mjs',
        '--bundle',
        '--platform=node',
        `--format=${format}`,
        `--outfile=out/${file}`,
        ...banner(format),
      ],
      { cwd: folder },
    ),
  )

/** What esbuild's own documentation gives for `require` of Node's modules in a bundle of ES modules (NeDB has such). */
function banner(format) {
  if (format === 'cjs') return []
  return [
    "--banner:js=import { createRequire } from 'module'; const require = createRequire(import.meta.url);",
  ]
}

/** Nothing but pslock and lowdb, since NeDB needs the banner above for itself. */
async function esbuildAlone() {
  const folder = inShared('esbuild-alone', [])
  write(
    folder,
    'app.mjs',
    `import { spawnSync } from 'node:child_process'
    import { PsLock } from 'pslock'
    import { LockedLow } from 'pslock/lowdb'
    const low = new LockedLow('low.json', { n: 0 })
    await low.update((data) => { data.n++ })
    const isKeptOut = () => spawnSync('flock', ['-n', 'data.lock', 'true']).status === 1
    const wasKeptOut = await new PsLock('data').exclusive(isKeptOut)
    console.log(low.data.n === 1 && wasKeptOut && !isKeptOut() ? 'works' : low.data)`,
  )
  const args = ['app.mjs', '--bundle', '--platform=node', '--format=esm', '--outfile=out/app.mjs']
  await run(bin('esbuild'), args, { cwd: folder })
  const printed = await run(process.execPath, ['out/app.mjs'], { cwd: folder })
  if (printed !== 'works\n') throw new Error(printed)
}

const rollup = (format, file) =>
  bundled(`rollup-${format}`, file, async (folder) => {
    write(
      folder,
      'rollup.config.mjs',
      `import commonjs from '@rollup/plugin-commonjs'
      import json from '@rollup/plugin-json'
      import nodeResolve from '@rollup/plugin-node-resolve'
      export default {
        input: 'app.mjs',
        plugins: [nodeResolve({ preferBuiltins: true }), commonjs(), json()],
        output: { file: 'out/${file}', format: '${format}', inlineDynamicImports: true },
      }`,
    )
    await run(bin('rollup'), ['-c', 'rollup.config.mjs', '--silent'], { cwd: folder })
  })

const webpack = (format, file) =>
  bundled(`webpack-${format}`, file, async (folder) => {
    const isEsm = format === 'esm'
    write(
      folder,
      'build.cjs',
      `require('webpack')(
        {
          mode: 'production', target: 'node', context: __dirname, entry: './app.mjs',
          experiments: { outputModule: ${isEsm} },
          output: { path: __dirname + '/out', filename: '${file}', module: ${isEsm} },
        },
        (error, stats) => {
          if (error || stats.hasErrors()) { console.error(error ?? stats.toString()); process.exitCode = 1 }
        },
      )`,
    )
    await run(process.execPath, ['build.cjs'], { cwd: folder })
  })

const vite = (format, file) =>
  bundled(`vite-${format}`, file, async (folder) => {
    write(
      folder,
      'vite.config.mjs',
      `export default {
        logLevel: 'error',
        ssr: { noExternal: true },
        build: {
          ssr: 'app.mjs', outDir: 'out',
          rollupOptions: { output: { format: '${format}', entryFileNames: '${file}' } },
        },
      }`,
    )
    await run(bin('vite'), ['build'], { cwd: folder })
  })

async function program(name, command, args, files = ['app.mjs'], manifest = {}) {
  const folder = inShared(name, files, manifest)
  const printed = await run(command, [...args, files[0], join(folder, 'data')], { cwd: folder })
  if (!printed.endsWith('works\n')) throw new Error(printed)
}

async function commandLine() {
  const folder = inShared('command-line', [])
  const printed = await run(
    bin('pslock'),
    ['run', 'data', '--', 'sh', '-c', 'flock -n data.lock true || echo works'],
    { cwd: folder },
  )
  if (printed !== 'works\n') throw new Error(printed)
  await run(bin('pslock'), ['stress', '--store', 'lowdb', '--procs', '4', '--ops', '20'], {
    cwd: folder,
  }).catch((error) => {
    // Four processes may have met too seldom.
    if (!/pslock stress .*: 3\n/.test(error.message)) throw error
  })
}

async function next() {
  const folder = project('next', ['app.mjs'], { type: undefined })
  mkdirSync(join(folder, 'app/works'), { recursive: true })
  write(
    folder,
    'next.config.mjs',
    `export default {
      output: 'standalone',
      serverExternalPackages: ['pslock'],
      outputFileTracingIncludes: { '/*': ['./node_modules/@koromix/**'] },
    }`,
  )
  write(folder, 'app/layout.js', 'export default ({ children }) => <html><body>{children}</body></html>\n')
  write(folder, 'app/page.js', 'export default () => <p>page</p>\n')
  const app = readFileSync(join(HERE, 'app.mjs'), 'utf8').replace(/^const \[program[\s\S]*/m, '')
  write(
    folder,
    'app/works/route.js',
    `${app}
    const folder = process.cwd() + '/data'
    // It is not bundled: the other process has the package from node_modules.
    const again = () => String(spawnSync('sh', ['-c', 'node app.mjs "$0" other', folder]).stdout)
    export const dynamic = 'force-static'
    export const GET = async () => new Response(await works(folder, again))`,
  )
  await npm(folder, [...STORES, 'next@16', 'react@19', 'react-dom@19'])
  await run('npx', ['next', 'build'], { cwd: folder, env: { NEXT_TELEMETRY_DISABLED: '1' } })
  const answer = readFileSync(join(folder, '.next/server/app/works.body'), 'utf8')
  if (answer !== 'works') throw new Error(answer)
  const alone = readdirSync(join(folder, '.next/standalone/node_modules'), { recursive: true })
  for (const needed of ['pslock/dist/core.cjs', 'koffi.node']) {
    if (!alone.some((path) => path.endsWith(needed)))
      throw new Error(`the standalone server has no ${needed}`)
  }
}

/** @param again the same install once more, by the lock file */
async function installed(name, commands, { files = {}, runs } = {}) {
  const folder = project(name, ['app.mjs'])
  for (const [file, text] of Object.entries(files)) write(folder, file, text)
  for (const [command, ...args] of commands) await run(command, args, { cwd: folder })
  const [command, ...args] = runs ?? [process.execPath]
  const printed = await run(command, [...args, 'app.mjs', join(folder, 'data')], { cwd: folder })
  if (!printed.endsWith('works\n')) throw new Error(printed)
}

const yarnBerry = ['npx', '--yes', '@yarnpkg/cli-dist@4']
const pnpm = ['npx', '--yes', 'pnpm@12']
const withPackages = (add) => [...add, tarball, ...STORES]

/** What is shown together in the table, and each case by its name there. */
const CASES = {
  'Test runners': {
    'Jest 29 (ES modules)': () => jest('jest-esm', true),
    'Jest 29 (CommonJS, but lowdb)': () => jest('jest-cjs', false),
    'vitest 3 forks': () => vitest('forks'),
    'vitest 3 threads': () => vitest('threads'),
    'vitest 3 vmForks': () => vitest('vmForks'),
    'node:test': nodeTest,
  },
  TypeScript: {
    nodenext: () => tsc('nodenext'),
    node16: () => tsc('node16'),
    bundler: () => tsc('bundler'),
    node10: () => tsc('node10'),
  },
  Bundlers: {
    'esbuild (ESM)': () => esbuild('esm', 'app.mjs'),
    'esbuild (ESM, without a banner, but NeDB)': esbuildAlone,
    'esbuild (CommonJS)': () => esbuild('cjs', 'app.cjs'),
    'rollup (ESM)': () => rollup('es', 'app.mjs'),
    'rollup (CommonJS)': () => rollup('cjs', 'app.cjs'),
    'webpack (ESM)': () => webpack('esm', 'app.mjs'),
    'webpack (CommonJS)': () => webpack('cjs', 'app.cjs'),
    'Vite (ESM)': () => vite('es', 'app.mjs'),
    'Vite (CommonJS)': () => vite('cjs', 'app.cjs'),
    'Next 16': next,
  },
  Programs: {
    'node (import)': () => program('node', process.execPath, []),
    'node (require beside import)': () => program('both', process.execPath, [], ['both.cjs']),
    'pslock run': () => commandLine(),
    Bun: () => program('bun', inPackage('@oven', 'bun'), ['run']),
    Deno: () =>
      program('deno', inPackage('@deno', 'deno'), [
        'run',
        '--allow-all',
        '--node-modules-dir=manual',
        '--quiet',
      ]),
  },
  'Package managers': {
    'npm --omit=optional --ignore-scripts': () =>
      installed('npm-omit', [
        withPackages(['npm', 'install', '--omit=optional', '--ignore-scripts', '--no-audit']),
      ]),
    'pnpm, and --frozen-lockfile': () =>
      installed('pnpm', [
        withPackages([...pnpm, 'add']),
        ['rm', '-rf', 'node_modules'],
        [...pnpm, 'install', '--frozen-lockfile'],
      ]),
    'yarn 1': () => installed('yarn1', [withPackages(['npx', '--yes', 'yarn@1', 'add', '--no-progress'])]),
    'yarn 4 (PnP)': () =>
      installed('yarn4', [withPackages([...yarnBerry, 'add'])], {
        files: { 'yarn.lock': '', '.yarnrc.yml': 'nodeLinker: pnp\nenableGlobalCache: false\n' },
        runs: [...yarnBerry, 'node'],
      }),
  },
}

const chosen = (name) =>
  wanted.length === 0 || wanted.some((word) => name.toLowerCase().includes(word.toLowerCase()))
const all = Object.entries(CASES).flatMap(([group, cases]) =>
  Object.entries(cases)
    .filter(([name]) => chosen(name))
    .map(([name, check]) => ({ group, name, check })),
)
/** The long ones too, so they are begun first, while the others' packages are still on their way. */
const hasOwnInstall = ({ group, name }) => group === 'Package managers' || name === 'Next 16'
const queue = [...all.filter(hasOwnInstall), ...all.filter((next) => !hasOwnInstall(next))]
const installing = all.every(hasOwnInstall) ? undefined : npm(shared, [...STORES, ...TOOLS])
const results = new Map()
await Promise.all(
  Array.from({ length: Math.min(2, availableParallelism()) }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      if (!hasOwnInstall(next)) await installing
      const start = Date.now()
      const error = await next.check().then(
        () => undefined,
        (error) => error,
      )
      results.set(next.name, error === undefined)
      console.log(
        `${error ? 'failed' : 'works '}  ${next.name} (${((Date.now() - start) / 1000).toFixed(1)} s)`,
      )
      if (error) console.log(String(error.stack ?? error).replace(/^/gm, '    '))
    }
  }),
)

if (isWritten) {
  const rows = Object.entries(CASES).map(
    ([group, cases]) =>
      `| ${group} | ${Object.keys(cases)
        .map((name) => (results.get(name) ? name : `${name}: **no**`))
        .join(', ')} |`,
  )
  const path = join(HERE, '../../docs/ways-to-load.md')
  const text = readFileSync(path, 'utf8')
  const table = ['| | works, as tested |', '| --- | --- |', ...rows].join('\n')
  writeFileSync(
    path,
    text.replace(/(<!-- matrix:start -->\n)[\s\S]*?(?=<!-- matrix:end -->)/, `$1${table}\n\n`),
  )
}

const failures = [...results.values()].filter((worked) => !worked).length
console.log(`\n${results.size - failures} of ${results.size} ways to load the package work`)
if (failures > 0) process.exitCode = 1
