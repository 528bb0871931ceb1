import { existsSync, readFileSync } from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'

/** What the build leaves beside this module; run from sources, or out of the compiled tests, files are where they come from. */
const BUILT = new URL('./browser/', import.meta.url)
const ROOT = import.meta.url.endsWith('.ts') ? '../../../' : '../../../../'

/** Where the files of pages are among the sources. */
const SOURCES = {
  'draw.js': 'cli/stress/page/browser/',
  'page.css': 'cli/stress/page/browser/',
  'web.js': 'cli/demo/browser/',
  'web.css': 'cli/demo/browser/',
} as const

/** A file of ours for a page. */
export function asset(name: keyof typeof SOURCES): string {
  const built = new URL(name, BUILT)
  const source = new URL(`${ROOT}${SOURCES[name]}${name}`, import.meta.url)
  return readFileSync(existsSync(built) ? built : source, 'utf8')
}

/** Chart.js (MIT) as a script that needs no other: the parts that are used, or where nothing was built yet all of it. */
export function chartLibrary(): string {
  const places = [BUILT, new URL(`${ROOT}dist/cli/browser/`, import.meta.url)]
  const built = places.map((place) => new URL('chart.js.br', place)).find((url) => existsSync(url))
  if (built) return String(brotliDecompressSync(readFileSync(built)))
  const text = readFileSync(new URL('chart.umd.min.js', import.meta.resolve('chart.js')), 'utf8')
  // The map is not there, and a browser would look for it.
  return text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '')
}
