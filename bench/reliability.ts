/**
 * The full run of the fault lab: `npm run reliability -- --torture 3600`. Writes its figures into docs/reliability.md between
 * the markers: nobody types a figure. Nothing is written where a test fails or a run of the stress test is not clean.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const TESTS = [
  'faults',
  'store/transaction/kill.test.js',
  'store/log/kill.test.js',
  'store/log/unit-vanilla.test.js',
  'lock/model.test.js',
  'properties',
  'fuzz',
]

interface Figures {
  readonly [part: string]: Readonly<Record<string, unknown>>
}

interface Stress {
  readonly store: string
  readonly seed: number
  readonly procs: number
  readonly seconds: number
  readonly acknowledged: number
  readonly disturbed: Readonly<Record<string, number>>
  readonly linearizability: {
    readonly histories: number
    readonly operations: number
    readonly undecided: number
  }
  readonly clean: boolean
}

const { values } = parseArgs({
  options: {
    /** Seconds of `--profile torture` a store; the profile's own is an hour. */
    torture: { type: 'string', default: '3600' },
    /** The bounded tests of `npm test` instead of all of them. */
    short: { type: 'boolean', default: false },
    /** Takes from here what is there already: what the tests have said, and runs of the stress test (`stress, nedb`). */
    figures: { type: 'string' },
  },
})

const root = fileURLToPath(new URL('..', import.meta.url))
const room = mkdtempSync(join(tmpdir(), 'pslock-reliability-'))
const figuresPath = values.figures ?? join(room, 'figures.json')

function run(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  stdout: 'inherit' | 'pipe',
): string {
  const done = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', stdout, 'inherit'],
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  })
  if (done.status === 0) return done.stdout ?? ''
  throw new Error(
    `${command} ${args.join(' ')} ended with ${done.status ?? done.signal}: nothing was written`,
  )
}

function tested(): Figures {
  if (!existsSync(figuresPath)) {
    const mocha = ['mocha', '--config', 'test/compiled.json', ...TESTS.map((name) => `build/test/${name}`)]
    const long = values.short ? {} : { PSLOCK_LONG: '1', PSLOCK_MODEL_SECONDS: '60' }
    run('npx', mocha, { ...long, PSLOCK_FIGURES: figuresPath }, 'inherit')
  }
  return JSON.parse(readFileSync(figuresPath, 'utf8')) as Figures
}

function tortured(store: string): Stress {
  const args = ['stress', '--store', store, '--profile', 'torture', '--seconds', values.torture, '--json']
  return JSON.parse(run(process.execPath, ['dist/cli/pslock.cjs', ...args], {}, 'pipe')) as Stress
}

/** The numbers of one part of the figures, in words; what is not a number is a detail for the JSON. */
function inWords(numbers: Readonly<Record<string, unknown>>): string {
  const words: string[] = []
  for (const [name, value] of Object.entries(numbers)) {
    if (name === 'seed') continue
    if (typeof value === 'number') words.push(`${value.toLocaleString('en')} ${spaced(name)}`)
    else if (Array.isArray(value)) words.push(`${value.length} ${spaced(name)}`)
    else if (name === 'vanilla') {
      for (const [how, times] of Object.entries(value as object)) words.push(`vanilla: ${times} ${how}`)
    }
  }
  return words.join(', ')
}

function spaced(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}

const known = tested()
const kept = (store: string) => known[`stress, ${store}`] as unknown as Stress | undefined
const runs = ['nedb', 'lowdb'].map((store) => kept(store) ?? tortured(store))
const figures = Object.entries(known).filter(([part]) => !part.startsWith('stress, '))
rmSync(room, { recursive: true, force: true })

const rows = figures.map(([part, numbers]) => [part, inWords(numbers), String(numbers.seed ?? '')])
for (const { store, seconds, procs, acknowledged, disturbed, linearizability, seed } of runs) {
  const { undecided, ...checked } = linearizability
  const words = [
    `${acknowledged.toLocaleString('en')} acknowledged`,
    inWords(disturbed),
    `linearizable: ${inWords(checked)}${undecided > 0 ? `, ${undecided} undecided` : ''}`,
    'nothing lost, torn, duplicated or stale',
  ]
  rows.push([
    `\`pslock stress --profile torture\`, ${store}, ${procs} processes, ${seconds} s`,
    words.join('; '),
    String(seed),
  ])
}
const table = [['part', 'tried', 'seed'], ['---', '---', '---'], ...rows].map(
  (cells) => `| ${cells.join(' | ')} |`,
)
const how = `\`npm run reliability\`${values.short ? ' with `--short`' : ''}${values.figures ? ', its parts run by themselves' : ''}, Node ${process.version}, ${availableParallelism()} cores, ${new Date().toISOString().slice(0, 10)}`
const path = join(root, 'docs/reliability.md')
const MARKED = /(<!-- figures:start -->\n)[\s\S]*(<!-- figures:end -->)/
writeFileSync(
  path,
  readFileSync(path, 'utf8').replace(
    MARKED,
    (_, start: string, end: string) => `${start}${table.join('\n')}\n\n(${how})\n${end}`,
  ),
)
