/**
 * What NeDB's commonest operations cost in processor time, the first 2,000 of a new process and later ones, by
 * better-sqlite3 (WAL) in the same run: one process at a time, in turns, the package as it is built.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { ROOT } from '../test/fixtures/code.ts'
import { Lab, rotated } from './lab/lab.ts'
import { circumstances } from './lab/marked.ts'
import { inRounds, measuredEnv, report, roundOptions } from './lab/rounds.ts'
import { median } from './lab/statistics.ts'

const options = roundOptions('bench:cold', 5)

const OPERATIONS = {
  insert: { title: 'insert', cold: 2.2, warm: 0.9 },
  inc: { title: '`$inc` by `_id`', cold: 3.2, warm: 1.3 },
  find: { title: 'find by `_id`', cold: 2, warm: 1.5 },
} as const
type Operation = keyof typeof OPERATIONS

interface Spent {
  readonly cold: number
  readonly warm: number
}

const lab = new Lab()
const machine = circumstances()

function spent(who: string, operation: Operation, round: number): Spent {
  const args = [
    join(ROOT, 'bench/cold/process.cjs'),
    who,
    operation,
    lab.path(`${who}-${operation}-${round}`),
  ]
  const env = measuredEnv(options)
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', env })) as Spent
}

const found = new Map<string, Spent[]>()
await inRounds(options, (round) => {
  for (const operation of Object.keys(OPERATIONS) as Operation[])
    for (const who of rotated(['sqlite', 'pslock'], round)) {
      const key = `${who} ${operation}`
      found.set(key, [...(found.get(key) ?? []), spent(who, operation, round)])
    }
})

const of = (who: string, operation: Operation, when: keyof Spent) =>
  median((found.get(`${who} ${operation}`) ?? []).map((each) => each[when]))
const ratio = (operation: Operation, when: keyof Spent) =>
  `${(of('pslock', operation, when) / of('sqlite', operation, when)).toFixed(1)}x`

const rows = [
  ['processor time by better-sqlite3', 'first 2,000', 'target', 'once warm', 'target'],
  ...Object.entries(OPERATIONS).map(([operation, { title, cold, warm }]) => [
    title,
    ratio(operation as Operation, 'cold'),
    `at most ${cold}x`,
    ratio(operation as Operation, 'warm'),
    `at most ${warm}x`,
  ]),
]
const how = `\`npm run bench:cold\`, medians of ${options.rounds} rounds, binding ${options.binding}, one process; warm: 40,000 operations after 12,000; counts checked; ${machine}`

report('cold', rows, [1, 3], how, { found: Object.fromEntries(found) }, options)
