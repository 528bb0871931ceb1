/** Runs the demo and writes its table into README.md between the markers: nobody types a figure. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { type Demo, demoRows } from '../cli/stress/demo.ts'

const MARKED = /(<!-- verdict:start -->\n)[\s\S]*(<!-- verdict:end -->)/

const seed = process.argv[2] ?? '7'
const cli = fileURLToPath(new URL('../dist/cli/pslock.cjs', import.meta.url))
const json = execFileSync(process.execPath, [cli, 'demo', '--json', '--seed', seed], { encoding: 'utf8' })
const result = JSON.parse(json) as Demo
if (!result.clean) throw new Error('a locked run was not clean: the README is left as it is')
const [header = [], ...rows] = demoRows(result)
const line = (cells: readonly string[]) => `| ${cells.map(stripVTControlCharacters).join(' | ')} |`
const table = [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n')
const how = `\`npm start -- --seed ${seed}\`, Node ${process.version}, ${availableParallelism()} cores, ${(result.elapsedMs / 1000).toFixed(0)} s`

const path = fileURLToPath(new URL('../README.md', import.meta.url))
const text = readFileSync(path, 'utf8')
writeFileSync(
  path,
  text.replace(MARKED, (_, start: string, end: string) => `${start}${table}\n\n(${how})\n${end}`),
)
