/**
 * Runs `suite.mjs` and the library in a context of its own, as Jest and vitest do, without either:
 * `node --experimental-vm-modules in-context.mjs <folder of the compiled code>`. Prints what fails.
 */
import { readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import vm from 'node:vm'

const compiled = process.argv[2]
const tests = []
const ends = []

/** What is no part of the language; Jest and vitest hand it in like this. */
const GIVEN = [
  ...[
    'process',
    'Buffer',
    'console',
    'URL',
    'AbortController',
    'AbortSignal',
    'structuredClone',
    'performance',
  ],
  ...[
    'setTimeout',
    'clearTimeout',
    'setInterval',
    'clearInterval',
    'setImmediate',
    'clearImmediate',
    'queueMicrotask',
  ],
  ...['TextEncoder', 'TextDecoder', 'Event', 'EventTarget'],
]
const context = vm.createContext({
  ...Object.fromEntries(GIVEN.map((name) => [name, globalThis[name]])),
  test: (name, run) => tests.push([name, run]),
  afterAll: (run) => ends.push(run),
})

const loaded = new Map()
/** What no context has a loader for. */
const COMMONJS = /\/node_modules\/(@seald-io|nedb-promises)\//

/** One module of each URL, whoever asks for it first. */
function load(url) {
  const known = loaded.get(url)
  if (known) return known
  const module = url.startsWith('node:') || COMMONJS.test(url) ? asItIs(url) : loadFile(url)
  loaded.set(url, module)
  return module
}

async function asItIs(url) {
  const exports = await import(url)
  const names = Object.keys(exports)
  return new vm.SyntheticModule(
    names,
    function () {
      for (const name of names) this.setExport(name, exports[name])
    },
    { context, identifier: url },
  )
}

async function loadFile(url) {
  return new vm.SourceTextModule(readFileSync(fileURLToPath(url), 'utf8'), {
    context,
    identifier: url,
    initializeImportMeta: (meta) => {
      meta.url = url
    },
    importModuleDynamically: (specifier) => ready(resolve(specifier, url)),
  })
}

function resolve(specifier, from) {
  if (builtinModules.includes(specifier)) return `node:${specifier}`
  if (specifier.startsWith('node:')) return specifier
  const [, entry] = /^pslock(?:\/(.*))?$/.exec(specifier) ?? []
  if (specifier === 'pslock') return pathToFileURL(join(compiled, 'src/index.js')).href
  if (entry) return pathToFileURL(join(compiled, `adapters/${entry}.js`)).href
  if (specifier.startsWith('.')) return new URL(specifier, from).href
  return import.meta.resolve(specifier)
}

async function ready(url) {
  const module = await load(url)
  if (module.status === 'unlinked')
    await module.link((specifier, { identifier }) => load(resolve(specifier, identifier)))
  await module.evaluate()
  return module
}

await ready(new URL('suite.mjs', import.meta.url).href)
for (const [name, run] of tests) {
  try {
    await run()
    console.log(`passed: ${name}`)
  } catch (error) {
    console.log(`failed: ${name}\n${error.stack}`)
    process.exitCode = 1
  }
}
for (const end of ends) end()
