// Makes dist/ but its types (those are rollup.config.js's part).
//
//   core.cjs                          all of src/, once: CommonJS, so that Jest and `require` can have it
//   lock-tree, tree, postgres, tables, stages, stores   parts of it that it loads late
//   index, nedb, nedb-promises .cjs   the entries in CommonJS, on core.cjs
//   index, nedb, nedb-promises .js    the same in ES modules: the names of the .cjs beside
//   lowdb.cjs, lowdb.js               on core.cjs too, but each by itself: lowdb is ES modules only, which Jest cannot require
//   cli/pslock.cjs                    `pslock run` by itself
//   cli/                              the rest of the command line, ES modules; and what both take in of others (with their licences)
//
// So there is one copy of the lock in a process, however many ways lead to it.
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import { defineConfig } from 'rolldown'
import { minifySync } from 'rolldown/utils'

const ROOT = import.meta.dirname
const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(
  readFileSync(resolve(ROOT, 'package.json'), 'utf8'),
)

/** Loaded from the user's node_modules. One file of NeDB's is taken in: see adapters/nedb/model.ts. */
const packages = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })
const external = [/^node:/, ...packages.map((name) => new RegExp(`^${name}(?!/lib/model\\.js$)(/|$)`))]

/** Every name that the adapters and the command line import from src/, and the file that it comes from. */
function namesOfCore() {
  const names = new Map()
  const files = ['adapters', 'cli'].flatMap((folder) =>
    readdirSync(resolve(ROOT, folder), { recursive: true }).map((name) => join(folder, name)),
  )
  for (const file of ['src/index.ts', ...files.filter((name) => name.endsWith('.ts'))]) {
    const source = readFileSync(resolve(ROOT, file), 'utf8')
    for (const [, list, from] of source.matchAll(/^(?:import|export) \{([^}]*)\} from '(\.[^']*)'/gm)) {
      const path = relative(ROOT, resolve(ROOT, dirname(file), from))
      if (!path.startsWith('src/')) continue
      for (const entry of list.split(',')) {
        const [name] = entry.trim().split(' as ')
        if (name === '' || name.startsWith('type ')) continue
        if ((names.get(name) ?? path) !== path) throw new Error(`${name}: of ${names.get(name)} or ${path}?`)
        names.set(name, path)
      }
    }
  }
  return names
}

/** The entry of core.cjs. */
const coreEntry = {
  name: 'core-entry',
  resolveId: (id) => (id === 'core' ? resolve(ROOT, '.core.ts') : undefined),
  load(id) {
    if (id !== resolve(ROOT, '.core.ts')) return undefined
    return [...namesOfCore()].map(([name, path]) => `export { ${name} } from './${path}'`).join('\n')
  },
}

/**
 * Parts of core.cjs that are files of their own, each loaded when something in it is first called: V8 goes through all
 * of a file before it runs it, at 40 to 60 ns a byte. Without this `import 'pslock'` takes 8 ms more, of 24.
 */
const LATE = [
  { name: 'lock-tree', test: /\/src\/(lock-tree\/(?!lock-tree)|os\/range-lock\.ts)/ },
  { name: 'tree', test: /\/src\/store\/json\/(?!values\.)/ },
  { name: 'postgres', test: /\/src\/postgres\/(?!lock\/pg-lock\.)/ },
  { name: 'tables', test: /\/src\/features\/(tables|backup)\// },
  { name: 'stages', test: /\/src\/features\/stages\// },
  {
    name: 'stores',
    test: /\/src\/(features\/hooks\/(?!throttle\.)|store\/(log\/|text\/|(?!adapter|data-file|marks|options|read-|transaction)[\w-]+\.ts))/,
  },
]

/**
 * `require` of a late file becomes a call at each place that uses it. Such a file is a function of the others, so that
 * core.cjs decides which copies of them there are (after `jest.resetModules()`, `require` would give it a second
 * core.cjs). It is in parentheses: V8 then compiles it at once, and does not go through it twice. All are strict, as the
 * ES modules are that are tested: else a write to a frozen object fails in silence.
 */
const lateRequires = {
  name: 'late-requires',
  renderChunk(code, { isEntry }) {
    const taken = []
    let body = code.replace(/^const (require_\w+) = require\("\.\/[\w-]+\.cjs"\);\n/gm, (_, name) => {
      taken.push(name)
      return ''
    })
    for (const name of taken) {
      if (new RegExp(`\\b${name}\\b(?!\\.[\\w$])`).test(body)) throw new Error(`${name} is used as a whole`)
      if (name === 'require_core') continue
      body = body.replace(new RegExp(`\\b${name}(\\.[\\w$]+)`, 'g'), `(${name}()$1)`)
    }
    if (!isEntry) {
      return `'use strict';\nmodule.exports = (function({ ${taken.join(', ')} }) {\nconst exports = {};\n${body}\nreturn exports;\n});`
    }
    const requires = LATE.map(({ name }) => {
      const variable = name.replace('-', '_')
      return `let late_${variable};\nconst require_${variable} = () => late_${variable} ??= require("./${name}.cjs")(late);\n`
    })
    const all = LATE.map(({ name }) => `require_${name.replace('-', '_')}`)
    const named = body.replace(
      /^exports\.([\w$]+) = \((require_\w+\(\)\.[\w$]+)\);$/gm,
      'Object.defineProperty(exports, "$1", { enumerable: true, get: () => $2 });',
    )
    return `'use strict';\n${requires.join('')}const late = { require_core: exports, ${all.join(', ')} };\n${named}`
  },
}

/** Whatever is in src/ comes from core.cjs. */
const onCore = (folder) => ({
  name: 'on-core',
  resolveId(id, importer) {
    if (importer === undefined || !id.startsWith('.')) return undefined
    const path = relative(ROOT, resolve(dirname(importer), id))
    return path.startsWith('src/') ? { id: `${folder}/core.cjs`, external: true } : undefined
  },
})

/** For the command line: the stores as users have them. */
const onAdapters = {
  name: 'on-adapters',
  resolveId(id, importer) {
    if (importer === undefined || !id.startsWith('.')) return undefined
    const [, name] = /^adapters\/([\w-]+)\.ts$/.exec(relative(ROOT, resolve(dirname(importer), id))) ?? []
    return name === undefined ? undefined : { id: `../${name}.js`, external: true }
  },
}

/** Once for both parts of the command line. */
const onCommander = {
  name: 'on-commander',
  resolveId: (id) => (id === 'commander' ? { id: './commander.cjs', external: true } : undefined),
}

const onEveryCommand = {
  name: 'on-every-command',
  resolveId: (id) => (id === './every-command.ts' ? { id: './every-command.js', external: true } : undefined),
}

/** For the command line: a process of the web demo, which has it by itself. */
const onInserter = {
  name: 'on-inserter',
  resolveId: (id) => (id === './inserter.ts' ? { id: './inserter.js', external: true } : undefined),
}

/**
 * ES modules without what Node does to import something that is none. Of its own modules it reads all that they export,
 * which loads their promises, streams and WebCrypto (`node:fs` alone: 3 ms). CommonJS it searches for names before it
 * runs it (core.cjs: 30 ms; commander.cjs: 70 ms of processor time, as V8 compiles that search), but not what that requires.
 */
const plainImports = {
  name: 'plain-imports',
  renderChunk: (code) =>
    code.replace(
      /(?<=^|;)import\s*(\w+)?\s*,?\s*(\{[^}]*\})?\s*from\s*["'](?:(node:[\w/]+)|([./]+)(core|commander)\.cjs)["'];?/gm,
      (_, whole, names, builtin, folder, file) => {
        const module = builtin ? `process.getBuiltinModule('${builtin}')` : file
        return [
          builtin ? '' : `import { ${file} } from '${folder}${file}-of-esm.cjs';`,
          ...[whole, names?.replace(/\s+as\s+/g, ': ')]
            .filter((name) => name !== undefined)
            .map((name) => `const ${name} = ${module};`),
        ].join('')
      },
    ),
}

/** A `require` that is left in a bundle of ES modules fails there (esbuild). */
const builtinsWithoutRequire = {
  name: 'builtins-without-require',
  renderChunk: (code) =>
    code.replace(/\brequire\((["'`])(node:[\w/]+)\1\)/g, "process.getBuiltinModule('$2')"),
}

/** What `plainImports` imports instead of a file. */
const ofEsModules = (name) => ({
  name: 'of-es-modules',
  generateBundle() {
    const source = `exports.${name} = require('./${name}.cjs')\n`
    this.emitFile({ type: 'asset', fileName: `${name}-of-esm.cjs`, source })
  },
})

/** The names of an entry in CommonJS, for ES modules. */
const namesInEsModules = {
  name: 'names-in-es-modules',
  generateBundle(_, bundle) {
    const emit = (fileName, source) => this.emitFile({ type: 'asset', fileName, source })
    for (const { type, isEntry, name, exports } of Object.values(bundle)) {
      if (type !== 'chunk' || !isEntry) continue
      // What is in core.cjs alone needs no file between.
      const from =
        name === 'index'
          ? `import { core as all } from './core-of-esm.cjs'`
          : `import all from './${name}.cjs'`
      emit(`${name}.js`, `${from}\nexport const { ${exports.join(', ')} } = all\n`)
    }
  },
}

/** The licences of the packages that something was taken in from, and of those that another build takes from. */
const licencesWith = (...others) => ({
  name: 'licences',
  generateBundle(_, bundle) {
    const ids = Object.values(bundle).flatMap(({ moduleIds = [] }) => moduleIds)
    const folders = new Set(ids.map((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0]))
    folders.delete(undefined)
    for (const name of others) folders.add(resolve(ROOT, 'node_modules', name))
    if (folders.size === 0) return
    // Of packages whose licences differ in nothing but their holders, the text is there once.
    const groups = new Map()
    for (const folder of [...folders].sort()) {
      const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
      if (file === undefined) throw new Error(`${name} has no licence file`)
      const lines = readFileSync(join(folder, file), 'utf8').trim().split('\n')
      const isHolder = (line) => /^\s*Copyright \S/.test(line)
      const terms = lines.filter((line) => !isHolder(line)).join('\n')
      const words = terms
        .replace(/^\W*(the )?mit license\W*(mit\W*)?/i, '')
        .replace(/[\s'"]+/g, ' ')
        .trim()
      const group = groups.get(words) ?? { packages: [], terms: terms.trim() }
      group.packages.push([`${name} ${version}`, ...lines.filter(isHolder)].join('\n'))
      groups.set(words, group)
    }
    const texts = [...groups.values()].map(({ packages, terms }) => `${packages.join('\n\n')}\n\n${terms}\n`)
    this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source: texts.join(`\n${'-'.repeat(80)}\n\n`) })
  },
})
const licences = licencesWith()

/** What Chart.js asks to be left at the head of a copy. */
function chartNotice() {
  const text = readFileSync(resolve(ROOT, 'node_modules/chart.js/dist/chart.umd.min.js'), 'utf8')
  const [notice] = /^\/\*![\s\S]*?\*\//.exec(text) ?? []
  if (notice === undefined) throw new Error('chart.js has no notice of its licence')
  return notice
}

/** Of cli-progress only what is used: one bar, of text without emoji, whose table is as large as the bar. */
const smallProgress = {
  name: 'small-progress',
  resolveId: (id) => (id === 'cli-progress' || id === 'emoji-regex' ? `\0${id}` : undefined),
  load: (id) =>
    ({
      '\0cli-progress': `export { default as SingleBar } from 'cli-progress/lib/single-bar.js'`,
      '\0emoji-regex': 'module.exports = () => /(?!)/g',
    })[id],
}

/** The one chunk of a build as a compressed file: 50 KB, where the script has 180. */
const compressed = {
  name: 'compressed',
  generateBundle(_, bundle) {
    for (const [fileName, { type, code }] of Object.entries(bundle)) {
      if (type !== 'chunk') continue
      delete bundle[fileName]
      this.emitFile({ type: 'asset', fileName: `${fileName}.br`, source: brotliCompressSync(code) })
    }
  },
}

/** A style sheet without comments and indentation. */
function smallCss(text) {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\n\s*/g, '')
    .replace(/\s*([{}:;,>])\s+/g, '$1')
    .replace(/ \{/g, '{')
    .replace(/;\}/g, '}')
}

/** The scripts and styles of the report page and of the web demo. */
const pageFiles = {
  name: 'page-files',
  generateBundle() {
    for (const path of [
      'cli/stress/page/browser/draw.js',
      'cli/stress/page/browser/page.css',
      'cli/demo/browser/web.js',
      'cli/demo/browser/web.css',
    ]) {
      const text = readFileSync(resolve(ROOT, path), 'utf8')
      const source = path.endsWith('.js') ? minifySync(path, text).code : smallCss(text)
      this.emitFile({ type: 'asset', fileName: basename(path), source })
    }
  },
}

const input = {
  platform: 'node',
  external,
  tsconfig: 'tsconfig.build.json',
  transform: { target: 'node20.19' },
}
/** The names of functions and classes stay, for stack traces that people send. */
const output = {
  dir: 'dist',
  comments: false,
  minify: {
    compress: { keepNames: { function: true, class: true } },
    mangle: { toplevel: true, keepNames: true },
    codegen: { removeWhitespace: true },
  },
}
/** But not those of the lab, the demo and commander, which is 15 KB less. */
const unnamed = { minify: { mangle: { toplevel: true }, codegen: { removeWhitespace: true } } }
const cjs = { ...output, format: 'cjs', entryFileNames: '[name].cjs', chunkFileNames: '[name].cjs' }
const esm = { ...output, format: 'esm', entryFileNames: '[name].js', chunkFileNames: '[name].js' }

export default defineConfig([
  {
    ...input,
    input: { core: 'core' },
    // Of the bundle that it may become a part of: see src/os/modules.ts.
    transform: { ...input.transform, define: { 'import.meta.url': 'undefined' } },
    plugins: [coreEntry, lateRequires, builtinsWithoutRequire, ofEsModules('core')],
    preserveEntrySignatures: 'allow-extension',
    output: { ...cjs, codeSplitting: { includeDependenciesRecursively: false, groups: LATE } },
  },
  {
    ...input,
    input: { index: 'src/index.ts', nedb: 'adapters/nedb.ts', 'nedb-promises': 'adapters/nedb-promises.ts' },
    plugins: [onCore('.'), builtinsWithoutRequire, namesInEsModules, licences],
    output: { ...cjs, codeSplitting: { groups: [{ name: 'nedb-parts', test: /\/adapters\/nedb\// }] } },
  },
  {
    ...input,
    input: { lowdb: 'adapters/lowdb.ts' },
    plugins: [onCore('.'), builtinsWithoutRequire],
    output: cjs,
  },
  { ...input, input: { lowdb: 'adapters/lowdb.ts' }, plugins: [onCore('.'), plainImports], output: esm },
  {
    ...input,
    input: { commander: 'commander' },
    plugins: [ofEsModules('commander')],
    output: { ...cjs, ...unnamed, dir: 'dist/cli' },
  },
  {
    ...input,
    // ES modules would cost it 9 ms of 50, and the other commands' code 10.
    input: { pslock: 'cli/pslock.ts' },
    plugins: [onCore('..'), onCommander, onEveryCommand],
    output: { ...cjs, dir: 'dist/cli' },
  },
  {
    ...input,
    // Each of many processes loads it, and none of them needs the commands.
    input: { worker: 'cli/stress/worker.ts' },
    plugins: [onCore('..'), onAdapters, plainImports],
    output: { ...esm, ...unnamed, dir: 'dist/cli', chunkFileNames: 'worker-[name].js' },
  },
  {
    ...input,
    input: { inserter: 'cli/demo/inserter.ts' },
    plugins: [onCore('..'), onAdapters, plainImports],
    output: { ...esm, ...unnamed, dir: 'dist/cli' },
  },
  {
    ...input,
    input: { 'every-command': 'cli/every-command.ts' },
    preserveEntrySignatures: 'allow-extension',
    plugins: [
      onCore('..'),
      onAdapters,
      onCommander,
      onInserter,
      smallProgress,
      plainImports,
      licencesWith('commander'),
    ],
    output: {
      ...esm,
      ...unnamed,
      dir: 'dist/cli',
      // What every command needs is one file, and so is what the lab alone needs.
      codeSplitting: {
        groups: [
          {
            name: 'base',
            test: /\/cli\/(base\/|run\/(?!on-server)|(?!every-command|pslock)[\w-]+\.ts$)|\/cli\/(status\/status|stress\/(seed|page\/save)|demo\/knobs)\.ts$|node_modules\/picocolors\//,
            priority: 2,
          },
          { name: 'pages', test: /\/cli\/stress\/page\/(assets|html)\.ts$|taggedTemplateLiteral/ },
          { name: 'progress', test: /\/cli\/stress\/progress\.ts$|node_modules/ },
          {
            name: 'lab',
            test: /\/cli\/stress\/(?!worker|stores\/(?!documents|subject|vanilla)|contents|page|command|options|profiles|control|demo|progress|seed|server)/,
          },
        ],
      },
    },
  },
  {
    input: { chart: 'cli/stress/page/browser/chart.js' },
    platform: 'browser',
    plugins: [pageFiles, licences, compressed],
    // Each report is a copy of it.
    output: {
      dir: 'dist/cli/browser',
      format: 'iife',
      comments: false,
      minify: true,
      postBanner: chartNotice(),
    },
  },
])
