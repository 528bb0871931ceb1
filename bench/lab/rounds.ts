import { Command, Option } from 'commander'
import pc from 'picocolors'
import { wholeNumber } from '../../cli/base/arguments.ts'
import { table } from '../../cli/base/table.ts'
import { say } from './lab.ts'
import { markdown, writeMarked } from './marked.ts'

/** The options of a bench that measures whole processes of the built package. */
export interface RoundOptions {
  readonly rounds: number
  readonly binding: string
  readonly json?: true
  readonly write?: true
}

/** Reads the command line. @param rounds how many unless told */
export function roundOptions(command: string, rounds: number): RoundOptions {
  const binding = new Option('--binding <name>', 'koffi is what an install brings along')
  return new Command(command)
    .option('--rounds <n>', 'how often all is measured', wholeNumber(1), rounds)
    .addOption(binding.choices(['koffi', 'fs-ext', 'native']).default('koffi'))
    .option('--json', 'every figure, for programs')
    .option('--write', 'write the table into docs/performance.md')
    .parse()
    .opts<RoundOptions>()
}

/** The environment of what is measured. */
export function measuredEnv({ binding }: RoundOptions): NodeJS.ProcessEnv {
  return { ...process.env, NODE_OPTIONS: '', PSLOCK_BINDING: binding }
}

export async function inRounds(
  { rounds }: RoundOptions,
  run: (round: number) => void | Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    if (process.stderr.isTTY) process.stderr.write(`\rround ${round + 1} of ${rounds}`)
    await run(round)
  }
  if (process.stderr.isTTY) say('')
}

/**
 * Shows what was found, and writes it where the options say so.
 * @param part the name of its markers in docs/performance.md
 * @param rows the names of the columns first
 * @param right the columns of figures
 * @param how it was measured
 */
export function report(
  part: string,
  rows: readonly (readonly string[])[],
  right: readonly number[],
  how: string,
  figures: object,
  { json, write }: RoundOptions,
): void {
  const shown = rows.map((row, i) => (i === 0 ? row.map((cell) => pc.bold(cell)) : [...row]))
  if (json) console.log(JSON.stringify({ how, ...figures }, null, 2))
  else console.log(`${table(shown, { right: [...right] })}\n${how}`)
  if (write) writeMarked('docs/performance.md', part, `${markdown(rows)}\n\n(${how})`)
}
