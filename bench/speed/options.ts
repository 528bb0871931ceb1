import { Command, InvalidArgumentError, Option } from 'commander'
import { seconds, wholeNumber } from '../../cli/base/arguments.ts'
import { newSeed } from '../../test/fixtures/random.ts'
import { PEERS, type PeerName } from './peers.ts'
import { SOLOS, type SoloName } from './solos.ts'
import { WORKLOADS, type WorkloadName } from './workloads.ts'

/** What the bench can be told. */
export interface SpeedOptions {
  readonly only?: readonly (WorkloadName | SoloName)[]
  readonly peers?: readonly PeerName[]
  readonly processes?: readonly number[]
  readonly records?: readonly number[]
  /** Given in milliseconds. */
  readonly seconds?: number
  readonly rounds?: number
  readonly seed: number
  readonly quick: boolean
  readonly cold: boolean
  readonly json: boolean
  readonly write: boolean
}

/** Reads the command line; ends the process where it cannot be understood. */
export function speedOptions(): SpeedOptions {
  const names = [...Object.keys(WORKLOADS), ...Object.keys(SOLOS)]
  return new Command('bench')
    .description('Measures pslock and its peers side by side, interleaved, in one run.')
    .addOption(new Option('--only <names...>', 'only these').choices(names))
    .addOption(
      new Option(
        '--peers <names...>',
        'only these, also in several processes where they are made for one',
      ).choices(Object.keys(PEERS)),
    )
    .option('--processes <list>', 'so many, such as 1,2,10,50, instead of those of the plan', wholeNumbers(1))
    .option('--records <list>', 'in the store at first, instead of those of the plan', wholeNumbers(0))
    .option(
      '--seconds <n>',
      'of each measurement; 4 where fairness is asked, 1.5 otherwise',
      seconds(0.05, 600),
    )
    .option('--rounds <n>', 'how often all is measured; 5, with --quick 1', wholeNumber(1))
    .option('--seed <n>', 'of what is read and written', wholeNumber(1), newSeed())
    .option('--quick', 'the most important lines, short and hardly warmed up: for a look', false)
    .option('--cold', 'only the first operations of new processes', false)
    .option('--json', 'every figure, for programs', false)
    .addOption(
      new Option('--write', 'write the tables into README.md and docs/performance.md')
        .default(false)
        .conflicts(['only', 'peers', 'processes', 'records', 'quick']),
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 measured, whatever the targets; 1 a run was void: something acknowledged was not there.',
    )
    .parse()
    .opts<SpeedOptions>()
}

function wholeNumbers(from: number): (text: string) => number[] {
  const one = wholeNumber(from)
  return (text) => {
    const all = text.split(',').map(one)
    if (new Set(all).size < all.length) throw new InvalidArgumentError('One of them is there twice.')
    return all
  }
}
