/**
 * Loaded before a test suite of lowdb: the library that our adapter is based on is the one whose tests run, and where our
 * adapter's URL is given, what those tests import as the library's classes and presets are ours.
 */
import { register } from 'node:module'
import { pathToFileURL } from 'node:url'

/** `suite`: the package whose tests run. */
const { suite, locked } = JSON.parse(process.env.PSLOCK_VANILLA_SUITE)

/** The files of lowdb whose exports we have too, by their place in `src`. */
const SWAPPED = {
  'core/Low': 'export { LockedLow as Low, LockedLowSync as LowSync }',
  'adapters/node/JSONFile': 'export { JSONFile, JSONFileSync }',
  'presets/node':
    'export { LockedJSONFilePreset as JSONFilePreset, LockedJSONFileSyncPreset as JSONFileSyncPreset }',
}

const hooks = `
const source = ${JSON.stringify(`${pathToFileURL(suite).href}/src/`)}
const locked = ${JSON.stringify(locked)}
const swapped = ${JSON.stringify(SWAPPED)}

export async function resolve(specifier, context, next) {
  if (specifier === 'lowdb') return next(source + 'index.ts', context)
  if (specifier === 'lowdb/node') return next(source + 'node.ts', context)
  const { parentURL = '' } = context
  if (locked && parentURL.startsWith(source) && parentURL.includes('.test.')) {
    const asked = new URL(specifier, parentURL).href.slice(source.length).replace(/\\.[jt]s$/, '')
    const exports = specifier.startsWith('.') && swapped[asked]
    if (exports) {
      const code = exports + ' from ' + JSON.stringify(locked)
      return { url: 'data:text/javascript,' + encodeURIComponent(code), shortCircuit: true }
    }
  }
  return next(specifier, context)
}
`
register(`data:text/javascript,${encodeURIComponent(hooks)}`)
