/**
 * PsLock beside other locks, as ratios: all in one run, in rounds, one after the other in each, since absolute times
 * mean nothing on a shared machine.
 */
import { table } from '../cli/base/table.ts'
import { random } from '../test/fixtures/random.ts'
import { contend } from './lab/contention.ts'
import { handOver } from './lab/hand-over.ts'
import { Lab, reasonOf, rotated, say, within } from './lab/lab.ts'
import { circumstances, markdown, writeMarked } from './lab/marked.ts'
import type { Mate } from './lab/mate.ts'
import { labOptions } from './lab/options.ts'
import { CONTENDERS, type Contender } from './locks/contenders.ts'
import { nextAfterKill } from './locks/death.ts'
import { isVoid, type Measured, ratioRows } from './locks/report.ts'

const SMALL_CROWD = 8
const ALONE_MS = 500
const HAND_OVERS_A_ROUND = 15
const HOLD_MS = 20
/** No measure takes as long, but one that hangs. */
const HANGS_MS = 120_000

const options = labOptions(
  'bench:locks',
  CONTENDERS.map(({ name }) => name),
  'docs/comparison.md',
)
const where = circumstances()
const next = random(options.seed)
/** A hold time that no pace of asking is in step with. */
const hold = () => HOLD_MS * (0.75 + next() / 2)
const lab = new Lab()
const crews = new Map<Contender['language'], Mate[]>()

/** The processes of a language, started at the first use. */
function crewOf({ language }: Contender): Mate[] {
  let crew = crews.get(language)
  if (!crew) {
    crew = lab.begin(options.procs, language)
    crews.set(language, crew)
  }
  return crew
}

async function open(contender: Contender): Promise<Measured> {
  const empty = {
    contender,
    alone: { async: [], sync: [] },
    crowds: { small: [], large: [] },
    handOverMs: [],
    afterKillMs: [],
  }
  try {
    const crew = crewOf(contender)
    const [version] = await Promise.all(crew.map((mate) => mate.call('load', contender.name)))
    return { ...empty, version: version ?? undefined }
  } catch (error) {
    const leftOut = reasonOf(error)
    say(`left out: ${contender.name} (${leftOut})`)
    return { ...empty, leftOut }
  }
}

async function measure(measured: Measured, isLast: boolean): Promise<void> {
  const { contender, alone, crowds, handOverMs, afterKillMs } = measured
  const { name } = contender
  const crew = crewOf(contender)
  const [holder, waiter] = crew as [Mate, Mate]
  const path = lab.path(name)
  const step = <T>(what: string, run: Promise<T>) => within(`${name}, ${what}`, HANGS_MS, run)
  for (const form of ['async', 'sync'] as const) {
    const perSecond = await step('alone', holder.call('alone', name, path, form, ALONE_MS))
    if (perSecond != null) alone[form].push(perSecond)
  }
  if (!contender.isBetweenProcesses) return
  const forMs = options.seconds * 1000
  crowds.small.push(await step('small crowd', contend(crew.slice(0, SMALL_CROWD), name, path, forMs)))
  crowds.large.push(await step('large crowd', contend(crew, name, path, forMs)))
  for (let i = 0; i < HAND_OVERS_A_ROUND; i++) {
    handOverMs.push(await step('hand-over', handOver(holder, waiter, name, path, hold())))
  }
  const kills = isLast ? contender.kills - afterKillMs.length : Math.floor(contender.kills / options.rounds)
  for (let i = 0; i < kills; i++) {
    afterKillMs.push(await step('kill -9', nextAfterKill(lab, contender, waiter, path, hold())))
  }
}

try {
  say(`seed ${options.seed}`)
  const wanted = CONTENDERS.filter(({ name }) => options.only?.includes(name) ?? true)
  const all: Measured[] = []
  for (const contender of wanted) all.push(await open(contender))
  const there = all.filter(({ leftOut }) => leftOut === undefined)
  const control = await contend(crews.get('node') ?? [], 'none', lab.path('none'), 1000)
  if (control.lost === 0) throw new Error('the control without a lock lost nothing: the counts prove nothing')
  for (let round = 0; round < options.rounds; round++) {
    for (const measured of rotated(there, round)) {
      if (isVoid(measured)) continue
      say(`round ${round + 1}/${options.rounds}: ${measured.contender.name}`)
      await measure(measured, round === options.rounds - 1)
    }
  }
  const rows = ratioRows(all, Math.min(SMALL_CROWD, options.procs), options.procs)
  const about = all.map(({ contender: { title }, version, leftOut }) => {
    if (leftOut) return `; ${title} left out: ${leftOut}`
    return version ? `; ${title} ${version}` : ''
  })
  const how =
    `crowds for ${options.seconds} s, rounds: ${options.rounds}, seed ${options.seed}; every count checked, where the ` +
    `control without a lock lost ${control.lost} of ${control.count}; ${where}${about.join('')}`
  if (options.json) console.log(JSON.stringify({ how, control, results: all }, null, 2))
  else console.log(`${table(rows, { right: all.map((_, i) => i + 1) })}\n\n${how}`)
  if (all.some(isVoid)) process.exitCode = 1
  else if (options.write)
    writeMarked('docs/comparison.md', 'locks', `${markdown(rows)}\n\n(\`npm run bench:locks\`: ${how})`)
} finally {
  await lab.close()
}
