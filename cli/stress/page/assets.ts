import { existsSync, readFileSync } from 'node:fs'

/** What the build leaves beside this module; run from sources, or out of the compiled tests, files are where they come from. */
const BUILT = new URL('./browser/', import.meta.url)
const ROOT = import.meta.url.endsWith('.ts') ? '../../../' : '../../../../'

/** A file of ours for the page. */
export function asset(name: 'draw.js' | 'page.css'): string {
  const built = new URL(name, BUILT)
  const source = new URL(`${ROOT}cli/stress/page/browser/${name}`, import.meta.url)
  return readFileSync(existsSync(built) ? built : source, 'utf8')
}

/** Chart.js (MIT) as a script that needs no other: the parts that are used, or from sources all of it. */
export function chartLibrary(): string {
  const built = new URL('chart.js', BUILT)
  const whole = () => new URL('chart.umd.min.js', import.meta.resolve('chart.js'))
  const text = readFileSync(existsSync(built) ? built : whole(), 'utf8')
  // The map is not there, and a browser would look for it.
  return text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '')
}
