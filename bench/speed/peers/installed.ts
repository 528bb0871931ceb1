import { createRequire } from 'node:module'
import { join } from 'node:path'
import { ROOT } from '../../../test/fixtures/code.ts'

/**
 * A package of bench/package.json, which only the benchmarks need: `npm --prefix bench ci`.
 * @throws Error of `require` where it is not installed
 */
export function installed(name: string): unknown {
  return createRequire(join(ROOT, 'bench/package.json'))(name)
}
