import { existsSync, readFileSync } from 'node:fs'

/** What the build leaves beside this module (see `build` in package.json). */
const BUILT = new URL('./browser/', import.meta.url)
const ROOT = import.meta.url.endsWith('.ts') ? '../../../' : '../../../../'

/** A file of ours for the page. */
export function asset(name: 'draw.js' | 'page.css'): string {
  return read(name, () => new URL(`${ROOT}cli/stress/page/browser/`, import.meta.url))
}

/** Chart.js (MIT, with its notice) as a script that needs no other. */
export function chartLibrary(): string {
  const text = read('chart.umd.min.js', () => import.meta.resolve('chart.js'))
  // The map is not there, and a browser would look for it.
  return text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '')
}

/** Built, a file is beside this module; run from sources, or out of the compiled tests, where it comes from. */
function read(name: string, source: () => string | URL): string {
  const built = new URL(name, BUILT)
  return readFileSync(existsSync(built) ? built : new URL(name, source()), 'utf8')
}
