import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../../test/fixtures/code.ts'

/** Rows of cells, the names of the columns first, as a table of Markdown. */
export function markdown(rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const [header = [], ...others] = rows
  return [line(header), line(header.map(() => '---')), ...others.map(line)].join('\n')
}

/** What a figure depends on: machine, what else it does at this moment, system, Node, day. To be asked before a run. */
export function circumstances(): string {
  const model = cpus()[0]?.model ?? process.arch
  const day = new Date().toISOString().slice(0, 10)
  const load = (loadavg()[0] ?? 0).toFixed(1)
  return `${availableParallelism()} cores ${model} (load before the run ${load}), ${process.platform} ${release()}, Node ${process.version}, ${day}`
}

/**
 * Replaces what stands between `<!-- name:start -->` and `<!-- name:end -->` in a file of the package.
 * @throws Error where the markers are not there
 */
export function writeMarked(file: string, name: string, text: string): void {
  const path = join(ROOT, file)
  const old = readFileSync(path, 'utf8')
  const marked = new RegExp(`(<!-- ${name}:start -->\n)[\\s\\S]*?(<!-- ${name}:end -->)`)
  if (!marked.test(old))
    throw new Error(`${file} has no markers <!-- ${name}:start --> and <!-- ${name}:end -->`)
  writeFileSync(
    path,
    old.replace(marked, (_, start: string, end: string) => `${start}${text}\n${end}`),
  )
}
