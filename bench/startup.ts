/**
 * What a short program pays: processor time (user and system, of whole processes and what they start), as medians of
 * rounds in which all are measured one after the other. The package as it is built, by its own name.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { ROOT } from '../test/fixtures/code.ts'
import { Lab, rotated } from './lab/lab.ts'
import { circumstances } from './lab/marked.ts'
import { inRounds, measuredEnv, report, roundOptions } from './lab/rounds.ts'
import { median } from './lab/statistics.ts'

const options = roundOptions('bench:startup', 21)

const CROWD = 50
/** Crowds take seconds: fewer rounds. */
const CROWD_ROUNDS = Math.max(1, Math.round(options.rounds / 3))
const NEDB_RECORDS = 5000
const LOWDB_RECORDS = 500

const lab = new Lab()
const machine = circumstances()

/** Milliseconds of processor time of what a shell runs. */
function cpuMs(script: string): number {
  const { status, stderr } = spawnSync(
    'bash',
    ['-c', `TIMEFORMAT='%U %S'; time { ${script} ; } >/dev/null`],
    { cwd: ROOT, encoding: 'utf8', env: measuredEnv(options) },
  )
  const times = /([\d.]+) ([\d.]+)\n$/.exec(stderr)
  if (status !== 0 || !times) throw new Error(`${script}: ${stderr}`)
  return (Number(times[1]) + Number(times[2])) * 1000
}

const imports = (text: string) => `node --input-type=module -e "${text}"`

/** One process each. */
const SINGLE = {
  nothing: imports(''),
  nedb: imports(`import '@seald-io/nedb'`),
  'nedb-promises': imports(`import 'nedb-promises'`),
  lowdb: imports(`import 'lowdb'; import 'lowdb/node'`),
  pslock: imports(`import { PsLock } from 'pslock'`),
  'pslock/nedb': imports(`import 'pslock/nedb'`),
  'pslock/nedb-promises': imports(`import 'pslock/nedb-promises'`),
  'pslock/lowdb': imports(`import 'pslock/lowdb'`),
  'node -e 0': 'node -e 0',
  'pslock run': `node dist/cli/pslock.cjs run ${lab.path('run')} -- true`,
} as const

/** Fifty at once, on one file. */
const CROWDS = {
  nedb: 'nedb',
  'pslock/nedb': 'nedb',
  lowdb: 'lowdb',
  'lowdb + proper-lockfile': 'lowdb',
  'pslock/lowdb': 'lowdb',
} as const

function nedbFile(path: string): void {
  const lines = Array.from({ length: NEDB_RECORDS }, (_, i) =>
    JSON.stringify({ _id: `r${i}`, text: 'x'.repeat(60), i }),
  )
  writeFileSync(path, `${lines.join('\n')}\n`)
}

function lowdbFile(path: string): void {
  const records = Array.from({ length: LOWDB_RECORDS }, (_, id) => ({ id, text: 'x'.repeat(60) }))
  writeFileSync(path, JSON.stringify({ records }, null, 2))
}

/** @throws where what pslock, or the recipe, has acknowledged is not in the file */
function check(way: string, path: string): void {
  const text = readFileSync(path, 'utf8')
  if (way === 'pslock/lowdb' || way === 'lowdb + proper-lockfile') {
    const { records } = JSON.parse(text) as { records: unknown[] }
    if (records.length !== LOWDB_RECORDS + CROWD)
      throw new Error(`${way} lost some: ${records.length} records`)
  }
  if (way === 'pslock/nedb') {
    const inserted = text.split('\n').filter((line) => line.includes('"inserted"')).length
    const removed = text.split('\n').filter((line) => line.includes('"$$deleted"')).length
    if (inserted !== CROWD / 2 || removed !== CROWD / 2)
      throw new Error(`${way} lost some: ${inserted}, ${removed}`)
  }
}

function crowd(way: keyof typeof CROWDS, round: number): number {
  const path = lab.path(`${way.replaceAll(/\W+/g, '-')}-${round}`, 'data.json')
  mkdirSync(dirname(path), { recursive: true })
  if (CROWDS[way] === 'nedb') nedbFile(path)
  else lowdbFile(path)
  // Without a lock some of them fail, which is what it is for.
  const one = `node bench/startup/short.mjs '${way}' '${path}' $i 2>/dev/null`
  const spent = cpuMs(`for i in $(seq 1 ${CROWD}); do ${one} & done; wait`)
  check(way, path)
  return spent
}

const singles = new Map<string, number[]>()
const crowds = new Map<string, number[]>()
const note = (into: Map<string, number[]>, name: string, value: number) =>
  into.set(name, [...(into.get(name) ?? []), value])

await inRounds(options, (round) => {
  for (const [name, script] of rotated(Object.entries(SINGLE), round)) note(singles, name, cpuMs(script))
  if (round >= CROWD_ROUNDS) return
  for (const way of rotated(Object.keys(CROWDS) as (keyof typeof CROWDS)[], round))
    note(crowds, way, crowd(way, round))
})

const above = (name: keyof typeof SINGLE, other: keyof typeof SINGLE) =>
  median((singles.get(name) ?? []).map((value, round) => value - (singles.get(other)?.[round] ?? Number.NaN)))
const ratio = (name: keyof typeof CROWDS, other: keyof typeof CROWDS) =>
  median((crowds.get(name) ?? []).map((value, round) => value / (crowds.get(other)?.[round] ?? Number.NaN)))
const ms = (value: number) => `${value >= 0 ? '+' : ''}${value.toFixed(1)} ms`
const times = (value: number) => `${value.toFixed(2)}x`

const rows = [
  ['processor time of a short program', 'measured', 'target'],
  ["`import 'pslock/nedb'` above `@seald-io/nedb`", ms(above('pslock/nedb', 'nedb')), 'at most +12 ms'],
  [
    "`import 'pslock/nedb-promises'` above `nedb-promises`",
    ms(above('pslock/nedb-promises', 'nedb-promises')),
    'at most +12 ms',
  ],
  ["`import 'pslock/lowdb'` above `lowdb`", ms(above('pslock/lowdb', 'lowdb')), 'at most +12 ms'],
  [
    "`import { PsLock } from 'pslock'` above an empty module",
    ms(above('pslock', 'nothing')),
    'at most +10 ms',
  ],
  ['`pslock run x -- true` above `node -e 0`', ms(above('pslock run', 'node -e 0')), 'at most +25 ms'],
  [
    `${CROWD} at once on a NeDB file of ${NEDB_RECORDS.toLocaleString('en')} records: by vanilla NeDB`,
    times(ratio('pslock/nedb', 'nedb')),
    'at most 1.0x',
  ],
  [
    `${CROWD} at once on a lowdb file of ${LOWDB_RECORDS} records: by vanilla lowdb`,
    times(ratio('pslock/lowdb', 'lowdb')),
    'at most 1.5x',
  ],
  [
    `the same by lowdb + proper-lockfile`,
    times(ratio('pslock/lowdb', 'lowdb + proper-lockfile')),
    'at most 1.1x',
  ],
]
const empty = median(singles.get('nothing') ?? [])
const how = `\`npm run bench:startup\`, rounds: ${options.rounds} (crowds: ${CROWD_ROUNDS}), binding ${options.binding}; an empty module takes ${empty.toFixed(0)} ms here (the targets in ms are for a machine where it takes 40); counts checked; ${machine}`

const figures = { singles: Object.fromEntries(singles), crowds: Object.fromEntries(crowds) }
report('startup', rows, [1], how, figures, options)
