import { Command, InvalidArgumentError } from 'commander'
import { wholeNumber } from '../../cli/base/arguments.ts'
import { newSeed } from '../../test/fixtures/random.ts'

/** What both benches can be told. */
export interface LabOptions {
  readonly only?: readonly string[]
  readonly procs: number
  readonly seconds: number
  readonly rounds: number
  readonly seed: number
  readonly json?: boolean
  readonly write?: boolean
}

/**
 * Reads the command line.
 * @param names what `--only` may name
 * @param file where `--write` puts the table
 */
export function labOptions(command: string, names: readonly string[], file: string): LabOptions {
  const some = (text: string) => {
    const wanted = text.split(',')
    const unknown = wanted.filter((name) => !names.includes(name))
    if (unknown.length > 0) throw new InvalidArgumentError(`Not known: ${unknown.join(', ')}.`)
    return wanted
  }
  return new Command(command)
    .option('--only <names>', `some of ${names.join(',')}`, some)
    .option('--procs <n>', 'processes in the (large) crowd', wholeNumber(3), 50)
    .option('--seconds <n>', 'how long a crowd contends', wholeNumber(1), 5)
    .option('--rounds <n>', 'how often all is measured', wholeNumber(1), 3)
    .option('--seed <n>', 'of the hold times', wholeNumber(1), newSeed())
    .option('--json', 'every figure, for programs')
    .option('--write', `write the table into ${file}`)
    .parse()
    .opts<LabOptions>()
}
